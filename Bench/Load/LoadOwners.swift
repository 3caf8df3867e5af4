// Where a ring-aware run sends each key: the ring as the targets tell it when the run begins, and which of them owns a key.
// A key's place is computed once and kept in a byte, as long as there are not too many keys.

import NIOCore
import TorcClient
import TorcModel
import TorcWire

struct LoadOwners: Sendable {
    /// Of more keys than these the place of each is computed anew at every request: one SHA-1.
    private static let rememberedKeys: UInt64 = 16 << 20
    /// A target that is not known yet.
    private static let unknown = UInt8.max

    private let ring: ClientRing
    /// Of each member's name, the target.
    private let targets: [String: Int]
    private let bucket: ByteBuffer
    private var remembered: [UInt8]

    init(_ ring: ClientRing, targets: [String: Int], bucket: String, keyCount: UInt64) {
        self.ring = ring
        self.targets = targets
        self.bucket = ByteBuffer(string: bucket)
        let fits = targets.count < Int(Self.unknown) && keyCount <= Self.rememberedKeys
        remembered = fits ? Array(repeating: Self.unknown, count: Int(keyCount)) : []
    }

    /// The target that owns a key; nil when its owner is none of them.
    mutating func target(of key: UInt64, named name: (UInt64) -> ByteBuffer) -> Int? {
        let isRemembered = key < UInt64(remembered.count)
        if isRemembered, remembered[Int(key)] != Self.unknown { return Int(remembered[Int(key)]) }
        let position = ObjectKey(bucket: BucketID(name: bucket), key: name(key)).position
        guard let owner = ring.owners(of: position, count: 1).first, let target = targets[owner] else { return nil }
        if isRemembered { remembered[Int(key)] = UInt8(target) }
        return target
    }

    /// Asks every target who it is, and the first for the ring.
    static func ask(_ plan: LoadPlan, on eventLoop: any EventLoop) async throws -> LoadOwners {
        var targets: [String: Int] = [:]
        var ring: ClientRing?
        for (index, target) in plan.targets.enumerated() {
            let place = "\(target.host):\(target.port)"
            let channel = try await RiakChannel.connect(host: target.host, port: target.port, on: eventLoop).get()
            defer { channel.close() }
            let known = ring?.ring.fingerprint
            let frame: Result<RiakFrame, RiakChannelFailure> = await withCheckedContinuation { continuation in
                channel.eventLoop.execute {
                    channel.send(RiakClientMessages.ring(known: known), timeout: .seconds(5)) {
                        continuation.resume(returning: $0)
                    }
                }
            }
            let answer: RiakRingAnswer
            do {
                answer = try RiakClientMessages.ring(try frame.get())
            } catch {
                throw LoadFailure(
                    description: "\(place) does not say what the ring is (\(error)): leave out --ring-aware")
            }
            if let other = targets[answer.node] {
                throw LoadFailure(description: "\(place) and target \(other + 1) are one node, \(answer.node)")
            }
            targets[answer.node] = index
            if case .ring(let news) = answer.news { ring = ClientRing(news) }
        }
        guard let ring else { throw LoadFailure(description: "no target has said what the ring is") }
        let missing = ring.ring.members.filter { targets[$0] == nil }
        guard missing.isEmpty else {
            throw LoadFailure(
                description: "\(missing.joined(separator: ", ")) own keys and are not among the targets: add them")
        }
        return LoadOwners(ring, targets: targets, bucket: plan.bucket, keyCount: plan.keyCount)
    }
}
