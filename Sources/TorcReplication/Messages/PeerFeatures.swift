// What a build can do beyond the version of the protocol that it speaks. Both sides of a link announce theirs in the
// handshake, and what both have is agreed. So a cluster runs with two adjacent builds mixed: nothing is sent over
// a link that its other side would not understand, and what needs all replicas is not begun before all have it.
//
// A feature is a bit for ever. When no build is left in the field that lacks it, what it guards becomes part
// of the next version of the protocol, and the bit is not used again.

/// Bits of the handshake's `features`.
package struct PeerFeatures: OptionSet, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Takes part in rounds that prune version vectors: `ReapStep.minting` and `.prune`, `ReapAnswer.minting`.
    package static let prunesVectors = PeerFeatures(rawValue: 1)

    /// Knows the property `one_cache_ms` of a bucket.
    package static let cachesOne = PeerFeatures(rawValue: 2)

    /// Reads tell the ring by which they are counted.
    package static let readsByRing = PeerFeatures(rawValue: 4)

    /// All that this build has.
    package static let supported: PeerFeatures = [.prunesVectors, .cachesOne, .readsByRing]

    /// For people, ascending by bit.
    package var names: [String] {
        (0..<UInt64.bitWidth).compactMap { bit in
            let feature = PeerFeatures(rawValue: 1 << UInt64(bit))
            guard contains(feature) else { return nil }
            switch feature {
            case .prunesVectors: return "prunes-vectors"
            case .cachesOne: return "caches-one"
            case .readsByRing: return "reads-by-ring"
            default: return "bit-\(bit)"
            }
        }
    }
}

extension PeerMessage {
    /// What a link must have agreed on to carry it.
    package var requiredFeatures: PeerFeatures {
        switch self {
        case .reap(let question):
            if case .step(let step, _) = question.subject, step.isPruning { return .prunesVectors }
            return []
        case .reaped(_, .minting): return .prunesVectors
        case .properties(_, let entries): return entries.contains(where: \.needsCachesOne) ? .cachesOne : []
        case .read(let read, _): return read.epoch > 0 ? .readsByRing : []
        case .forward(let forward): return forward.properties.oneCacheMilliseconds > 0 ? .cachesOne : []
        default: return []
        }
    }

    /// As a link carries it that has agreed on these: without what is told beside the question, and an older build cannot read.
    package func adapted(to agreed: PeerFeatures) -> PeerMessage {
        guard case .read(var read, let remaining) = self, read.epoch > 0, !agreed.contains(.readsByRing) else {
            return self
        }
        read.epoch = 0
        return .read(read, remaining: remaining)
    }
}

extension PropertiesEntry {
    /// Older builds cannot read it.
    var needsCachesOne: Bool { versioned.properties.oneCacheMilliseconds > 0 }
}
