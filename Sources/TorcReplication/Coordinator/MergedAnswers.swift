// What the answers to a read come to, so far.

import NIOCore
import TorcModel

struct MergedAnswers: Sendable {
    let object: VersionedObject
    /// Its canonical bytes.
    let body: ByteBuffer
    let hash: ContentHash
    /// Replicas that hold exactly this.
    var current: ReplicaSet
    /// Replicas that were sent it.
    var repaired = ReplicaSet()
    /// Hashes of what it was before: a replica that answers one of them is stale, and has nothing to add.
    var earlier: [ContentHash] = []

    /// With one answer that is not the same.
    func merged(with answer: MergedAnswers, hash: (ByteBuffer) -> ContentHash) -> MergedAnswers {
        let joined = object.merged(with: answer.object)
        var next = self
        if joined == object {
            next.earlier.append(answer.hash)
        } else if joined == answer.object {
            next = answer
            next.earlier = earlier + [self.hash]
        } else {
            let body = joined.encoded
            next = MergedAnswers(object: joined, body: body, hash: hash(body), current: ReplicaSet())
            next.earlier = earlier + [self.hash, answer.hash]
        }
        return next
    }
}
