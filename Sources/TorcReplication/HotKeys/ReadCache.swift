// What a coordinator has read lately, for reads at ONE of buckets that allow it (`one_cache_ms`).
//
// A read at ONE promises what one replica held while it was read. A bucket may promise a little less: what one replica held
// so many milliseconds ago at most. Then this node can answer from memory what it has answered just now, and a hot key's
// replicas are asked some times a second, however many ask for it. A node that holds no replica spares the network, too.
//
//   read k ─► replica: v1 (read began at t)       read k ─► replica: v1, kept       read k ─► v1, until t + 100 ms
//
// How old an answer is counts from the instant at which the read of it began: whatever the replica held, it held it
// no earlier. The clock is the lane's monotonic one. All requests for a key that come to a node come to one lane, and so do
// all writes of its partition, so what this lane sees of a key is all that its node does.
//
// What is kept goes when anything newer is seen: when a write of the key is taken here, and once more when it is answered; when
// a record of it is written here, as a replica or for another; when any read of it brings a version that it lacks; and
// all of it when the ring or a bucket's properties change. A read that began before one of these may still come back with what
// was there before. So each change leaves a mark, and what was read before the mark is not kept: a client that
// wrote through this node is never answered from here with what an earlier read had found. Marks are kept by a hash of the key.
// Two keys that share one lose a reading now and then, and nothing else.
//
// Only what is asked for twice within its time is kept: a bucket that many read once each does not pay for copies that
// nobody asks for again. Objects are kept whole, and expiry is judged when they are shown, as ever. That nothing is there
// is not kept. What replicas answer is synced, so what is kept is.

package import NIOCore
package import TorcModel

package struct ReadCache: Sendable {
    /// Objects; the one that was kept first makes room.
    package static let maximumEntries = 1_024
    /// Of keys and objects together, and `entryBytes` each; those that were kept first make room.
    package static let maximumBytes = 8 << 20
    /// A larger object is read every time.
    package static let maximumObjectBytes = 1 << 20
    /// What an entry takes beside its key and object, roughly.
    package static let entryBytes = 256
    /// A power of two.
    private static let markCount = 1_024

    package struct Held: Hashable, Sendable {
        package var object: VersionedObject
        /// Of the read that found it.
        package var participation: Participation
    }

    private struct Entry: Sendable {
        var key: ObjectKey
        var held: Held
        var bytes: Int
        /// When the read of it began.
        var readAt: MonotonicTime
    }

    /// Of all keys of one hash.
    private struct Mark: Sendable {
        /// What was read by then is not kept.
        var changedAt = MonotonicTime.zero
        /// The key that was asked for last, and when.
        var asked = RingPosition(rawValue: 0)
        var askedAt = MonotonicTime.zero
    }

    /// Some bucket allows it. Otherwise there is nothing here, and nothing is noted.
    package private(set) var isOn = false
    /// A ring: those that were kept first are at `next` and after it.
    private var entries: [Entry?] = []
    private var next = 0
    private var places: [ObjectKey: Int] = [:]
    package private(set) var bytes = 0
    private var marks: [Mark] = []
    /// What was read by then is not kept.
    private var floor = MonotonicTime.zero

    package var count: Int { places.count }

    package init() {}

    /// Everything that was read by now may be something else than it was.
    package mutating func reset(isOn: Bool, at now: MonotonicTime) {
        guard isOn || self.isOn else { return }
        self.isOn = isOn
        floor = now
        entries = isOn ? Array(repeating: nil, count: Self.maximumEntries) : []
        marks = isOn ? Array(repeating: Mark(), count: Self.markCount) : []
        places = [:]
        bytes = 0
        next = 0
    }

    // MARK: Reads

    /// What a replica held so many milliseconds ago at most.
    package func held(_ key: ObjectKey, milliseconds: UInt16, at now: MonotonicTime) -> Held? {
        guard let place = places[key], let entry = entries[place] else { return nil }
        guard now <= entry.readAt.advanced(by: .milliseconds(milliseconds)) || Mutation.cacheOutlivesItsTime.isActive
        else { return nil }
        return entry.held
    }

    /// Notes that a key is asked for, and says whether what is found shall be kept.
    package mutating func isAskedAgain(_ key: ObjectKey, milliseconds: UInt16, at now: MonotonicTime) -> Bool {
        let mark = mark(of: key)
        let isAgain =
            marks[mark].asked == key.position && now <= marks[mark].askedAt.advanced(by: .milliseconds(milliseconds))
        marks[mark].asked = key.position
        marks[mark].askedAt = now
        return isAgain
    }

    /// What a read found that began at `readAt`. `body`: the object's canonical bytes.
    package mutating func keep(
        _ object: VersionedObject, body: ByteBuffer, of key: ObjectKey, by participation: Participation,
        readAt: MonotonicTime
    ) {
        guard isOn, readAt > floor, readAt > marks[mark(of: key)].changedAt else { return }
        if let place = places[key], let former = entries[place] {
            if former.held.object == object {
                entries[place]!.readAt = max(former.readAt, readAt)
                return
            }
            // From a replica that is behind.
            if former.held.object.includes(object) { return }
            remove(at: place)
        }
        put(object, body, key, participation, readAt)
    }

    private mutating func put(
        _ object: VersionedObject, _ body: ByteBuffer, _ key: ObjectKey, _ participation: Participation,
        _ readAt: MonotonicTime
    ) {
        guard body.readableBytes <= Self.maximumObjectBytes else { return }
        // A copy of its own: the bytes of a message are a piece of all that was received with it.
        var copy = ByteBuffer()
        copy.reserveCapacity(body.readableBytes)
        copy.writeImmutableBuffer(body)
        guard let object = try? VersionedObject(decoding: copy) else { return }
        let size = body.readableBytes + key.storageKey.readableBytes + Self.entryBytes
        var oldest = next
        remove(at: oldest)
        while bytes + size > Self.maximumBytes {
            oldest = (oldest + 1) % Self.maximumEntries
            remove(at: oldest)
        }
        entries[next] = Entry(
            key: key, held: Held(object: object, participation: participation), bytes: size, readAt: readAt)
        places[key] = next
        bytes += size
        next = (next + 1) % Self.maximumEntries
    }

    private mutating func remove(at place: Int) {
        guard let entry = entries[place] else { return }
        entries[place] = nil
        places[entry.key] = nil
        bytes -= entry.bytes
    }

    // MARK: Changes

    /// A key was written, or is being written: what was read of it by now is not kept.
    package mutating func changed(_ key: ObjectKey, at now: MonotonicTime) {
        if !isOn || Mutation.cacheSurvivesWrites.isActive { return }
        marks[mark(of: key)].changedAt = now
        if let place = places[key] { remove(at: place) }
    }

    /// A read has brought this: what lacks any of it goes.
    package mutating func saw(_ object: VersionedObject, of key: ObjectKey) {
        guard let place = places[key], let entry = entries[place], !entry.held.object.includes(object) else { return }
        remove(at: place)
    }

    /// A deliberate fault: something that is not on disk.
    mutating func keepUnsynced(_ write: MintedWrite, of key: ObjectKey, at now: MonotonicTime) {
        if isOn { put(write.object, write.body, key, Participation(primaries: 1), now) }
    }

    /// The lower bits: the upper ones are the partition's, of which a lane has few.
    private func mark(of key: ObjectKey) -> Int {
        Int(truncatingIfNeeded: key.position.rawValue) & (Self.markCount - 1)
    }
}

extension VersionedObject {
    /// Whether the other would add nothing.
    fileprivate func includes(_ other: VersionedObject) -> Bool { merged(with: other) == self }
}
