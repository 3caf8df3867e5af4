// From words and overrides to numbers. A request may override each quorum of its bucket; what it does not
// name, the bucket says. Numbers are judged against the bucket's n; words are taken over the replicas that
// the ring gives, which are fewer than n while the cluster has fewer members.
//
//   read    R = max(r, pr)                       answers that are needed, pr of them primaries'
//           W = max(w, dw, pw, node_confirms)    of the bucket: copies of what is answered, when R + W > n
//   write   max(w, dw, pw, node_confirms)        synced copies on distinct nodes, pw of them primaries
//
// Every acknowledgement here is of a synced copy on a distinct node, so dw and node_confirms ask for nothing
// else than w does; the largest counts. A quorum of 0 counts as 1. What a stand-in counts is `StandIns`'.

import TorcModel

extension Refusal: Error {}

/// What a read needs.
package struct ReadQuorum: Hashable, Sendable {
    /// Answers, and of how many replicas.
    package var needed: Int
    /// Primaries that must be reachable before anything is asked, and answer.
    package var primaries: Int
    /// Stand-ins are asked, and may answer where primaries cannot.
    package var isSloppy = true
    package var notFoundOK: Bool
    package var basicQuorum: Bool
    /// Primaries that must hold what is answered before it is; nil: none, the quorums do not overlap.
    package var writeBack: Int?
    /// The same, of the list that reads do not go to, while copies move.
    package var writeBackThere: Int?

    /// One answer of any replica will do, and nothing overlaps with what it says.
    var isOne: Bool { needed == 1 && primaries == 0 && writeBack == nil && writeBackThere == nil }

    /// No more than there are.
    mutating func limit(to count: Int) {
        needed = min(needed, count)
        primaries = min(primaries, count)
    }
}

/// What a write needs.
package struct WriteQuorum: Hashable, Sendable {
    /// Synced copies, on distinct nodes.
    package var copies: Int
    /// Of those, on primaries.
    package var primaries: Int
    /// Stand-ins may keep the others.
    package var isSloppy: Bool

    /// No more than there are.
    mutating func limit(to count: Int) {
        copies = min(copies, count)
        primaries = min(primaries, count)
    }
}

/// Resolves quorums for one bucket and so many replicas.
package struct Quorums {
    package let options: QuorumOptions
    package let properties: BucketProperties
    package let replicaCount: Int

    package init(options: QuorumOptions, properties: BucketProperties, replicaCount: Int) throws(Refusal) {
        self.options = options
        self.properties = properties
        self.replicaCount = replicaCount
        if let n = options.n, n != properties.n {
            throw .invalidQuorum(name: "n_val", asked: Int(n), n: Int(properties.n))
        }
    }

    package func read() throws(Refusal) -> ReadQuorum {
        try read(r: options.r ?? properties.r)
    }

    /// The read before a delete that came without context.
    package func readBeforeDelete() throws(Refusal) -> ReadQuorum {
        var quorum = try read(r: options.r ?? options.rw ?? properties.rw)
        quorum.writeBack = nil
        quorum.isSloppy = false
        return quorum
    }

    /// The read before a conditional write: a majority at the least. Nothing of it is answered, so nothing
    /// need be written back.
    package func readBeforeCondition() throws(Refusal) -> ReadQuorum {
        var quorum = try read(r: options.r ?? properties.r)
        quorum.needed = max(quorum.needed, replicaCount / 2 + 1)
        quorum.notFoundOK = true
        quorum.writeBack = nil
        quorum.isSloppy = false
        return quorum
    }

    package func write() throws(Refusal) -> WriteQuorum { try write(w: options.w ?? properties.w, options) }

    package func delete() throws(Refusal) -> WriteQuorum {
        try write(w: options.w ?? options.rw ?? properties.rw, options)
    }

    private func read(r: Quorum) throws(Refusal) -> ReadQuorum {
        let r = try count("r", r)
        let pr = try count("pr", options.pr ?? properties.pr)
        let needed = max(r, pr, 1)
        let written = try write(w: properties.w, QuorumOptions()).copies
        return ReadQuorum(
            needed: needed, primaries: pr, isSloppy: options.sloppyQuorum ?? true,
            notFoundOK: options.notFoundOK ?? properties.notFoundOK,
            basicQuorum: options.basicQuorum ?? properties.basicQuorum,
            writeBack: needed + written > replicaCount ? min(written, replicaCount) : nil)
    }

    private func write(w: Quorum, _ options: QuorumOptions) throws(Refusal) -> WriteQuorum {
        let w = try count("w", w)
        let dw = try count("dw", options.dw ?? properties.dw)
        let pw = try count("pw", options.pw ?? properties.pw)
        let confirms = try count("node_confirms", .count(options.nodeConfirms ?? properties.nodeConfirms))
        return WriteQuorum(
            copies: max(w, dw, pw, confirms, 1), primaries: pw, isSloppy: options.sloppyQuorum ?? true)
    }

    private func count(_ name: String, _ quorum: Quorum) throws(Refusal) -> Int {
        if case .count(let asked) = quorum {
            guard asked <= properties.n else {
                throw .invalidQuorum(name: name, asked: Int(asked), n: Int(properties.n))
            }
            return Int(asked)
        }
        return quorum.count(of: replicaCount)
    }
}

extension ReadQuorum {
    /// What a read needs of the list that it goes to, and of the other one while copies move.
    init(
        for reader: Reader, _ options: QuorumOptions, _ properties: BucketProperties, of replicas: Replicas,
        phase: Placement.Phase
    ) throws(Refusal) {
        func quorum(of count: Int) throws(Refusal) -> ReadQuorum {
            let quorums = try Quorums(options: options, properties: properties, replicaCount: count)
            switch reader {
            case .client, .clients: return try quorums.read()
            case .condition: return try quorums.readBeforeCondition()
            case .deletion: return try quorums.readBeforeDelete()
            }
        }
        self = try quorum(of: replicas.serving.count)
        guard let other = replicas.other else { return }
        if phase == .copying { limit(to: replicas.serving.count) }
        writeBackThere = try quorum(of: other.count).writeBack
    }
}
