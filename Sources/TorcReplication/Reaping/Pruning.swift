// Which entries of a version vector are of no use any more. A vector grows by one for each replica and each of its
// incarnations that rewrites a key, and by itself never shrinks: an entry that is cut may be the only thing that says
// of a version which comes back from somewhere that it was overwritten.
//
// It may be cut under the proof under which a tombstone is reaped, which is one for each entry:
//
// - all replicas held exactly this object once, and no version of it was of the entry's actor: what the entry has seen of
//   that actor is overwritten at all of them, synced;
// - no member keeps a hint, and every message that carries what was read before is too old to be merged: it is nowhere else;
// - no replica mints with the actor, and one that does not never begins to: nothing of that actor comes into being again.
//
// So from then on no version is anywhere that the entry would keep out, and objects with and without it merge alike. What
// may bring the entry itself back does no harm:
//
// - a client's context that was read before: a put's clock joins it. Nothing stands for it, and the next walk finds it.
// - a replica that is asked to prune after another, and meanwhile passes its vector on: the next walk finds it.
// - a question to prune that comes late, or twice: the proof holds for ever, and is about exactly these entries. What a
//   replica has taken since it held the object makes no difference, as long as it has seen no more of the actor.
//
// A condition on a context from before holds as it did: what the object has seen, the context has (`WriteCondition`).
// In mode `lww` causality removes nothing, so there nothing can come back; entries go under the same proof.
//
// What the proof does not cover is what it does not for tombstones: a node that is started with an older copy of its folder.

import NIOCore
import TorcModel

enum Pruning {
    /// What a round would be about, as far as this replica alone can tell; nil: too few entries are dead.
    static func note(of record: Record, _ key: ObjectKey, seed: HashSeed, least: Int) -> PruneNote? {
        guard let object = try? record.object(), object.clock.entries.count >= least else { return nil }
        let minting = Mutation.pruneMintingActor.isActive ? nil : record.header.minting?.actor
        let actors = object.deadActors.filter { $0 != minting }
        guard !actors.isEmpty, actors.count >= least else { return nil }
        return PruneNote(
            object: seed.contentHash(key: key, body: record.body),
            entries: actors.map { Dot(actor: $0, counter: object.clock[$0]) })
    }

    /// An entry of a round, without the actors with which replicas mint; nil: none is left. Few are pruned, too: a round
    /// that ends with nothing done would be begun again by every walk.
    static func entry(_ entry: ReapEntry, without minting: Set<Actor>) -> ReapEntry? {
        // The round's own.
        guard !minting.isEmpty, var note = try? PruneNote(decoding: entry.version) else { return entry }
        note.entries.removeAll { minting.contains($0.actor) }
        guard !note.entries.isEmpty else { return nil }
        return ReapEntry(key: entry.key, version: note.encoded)
    }
}
