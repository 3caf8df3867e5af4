// Every setting of a node: its name, what it may hold and what it is when nobody says. The command line's
// help, the check of a configuration file and `torc serve --check` are all made from this one table.
//
// A setting has one name in three spellings: `request.timeout-ms` in a file, `TORC_REQUEST_TIMEOUT_MS` in
// the environment, `--request-timeout-ms` as a flag.

import TorcWire

/// One setting.
package struct Setting: Sendable {
    package enum Kind: Sendable {
        case text
        case path
        case address
        case wholeNumber(ClosedRange<Int>, unit: String)
        case powerOfTwo(ClosedRange<Int>)
        case flag
        case choice([String])
        case list(of: String)
    }

    package let key: String
    package let kind: Kind
    /// What it is when nobody says, as it would be written; nil: nothing.
    package let standard: String?
    package var isSecret = false
    package let help: String

    package var flagName: String { "--" + key.replacing(".", with: "-") }
    package var environmentName: String {
        Self.environmentPrefix + key.uppercased().replacing(".", with: "_").replacing("-", with: "_")
    }

    package static let environmentPrefix = "TORC_"

    /// What a value must look like, for a person who wrote another one.
    package var expectation: String {
        switch kind {
        case .text: "some text"
        case .path: "a path"
        case .address: "an address such as 127.0.0.1:8087 or [::1]:8087"
        case .wholeNumber(let range, let unit):
            "a whole number\(unit.isEmpty ? "" : " of \(unit)") from \(range.lowerBound) to \(range.upperBound)"
        case .powerOfTwo(let range): "a power of two from \(range.lowerBound) to \(range.upperBound)"
        case .flag: "true or false"
        case .choice(let choices): choices.joined(separator: " or ")
        case .list(let element): "a list of \(element)"
        }
    }
}

extension Setting {
    package static let nodeName = Setting(
        key: "node.name", kind: .text, standard: nil,
        help: "This node's name, one of the names in cluster.members.")
    package static let dataFolder = Setting(
        key: "data-folder", kind: .path, standard: nil, help: "Where this node keeps its data.")
    package static let clusterName = Setting(
        key: "cluster.name", kind: .text, standard: "torc", help: "The cluster's name; the same on every node.")
    package static let clusterKey = Setting(
        key: "cluster.key", kind: .text, standard: nil, isSecret: true,
        help: "The cluster's secret, at least 16 bytes; better kept in a file of its own.")
    package static let clusterKeyFile = Setting(
        key: "cluster.key-file", kind: .path, standard: nil, help: "A file that holds the cluster's secret, mode 0600.")
    package static let clusterMembers = Setting(
        key: "cluster.members", kind: .list(of: "members, each NAME=HOST:PORT"),
        standard: nil,
        help: "The first members and their peer addresses; the same list on every node. Without it: this node alone.")
    package static let clusterJoin = Setting(
        key: "cluster.join", kind: .address, standard: nil,
        help: "A member's HTTP address: with an empty data folder the node asks it to be let in; later without effect.")
    package static let clusterJoinToken = Setting(
        key: "cluster.join-token", kind: .text, standard: nil, isSecret: true,
        help: "What `torc cluster token` printed.")
    package static let nodeAddress = Setting(
        key: "node.address", kind: .address, standard: nil,
        help: "Where peers find a node that joins; without it: listen.peer.")
    package static let nodeWeight = Setting(
        key: "node.weight", kind: .wholeNumber(1...1_000_000, unit: ""), standard: "1",
        help: "The share of partitions of a node that joins, relative to the others'.")
    package static let nodeZone = Setting(
        key: "node.zone", kind: .text, standard: nil,
        help: "Of a node that joins: nodes of one zone fail together, and replicas are spread over zones.")
    package static let ringPartitions = Setting(
        key: "cluster.partitions", kind: .powerOfTwo(8...16_384), standard: "64",
        help: "Q, the partitions of the ring; fixed when the cluster is made.")
    package static let protocolBuffersAddress = Setting(
        key: "listen.pb", kind: .address, standard: "127.0.0.1:8087", help: "Riak's protocol buffers.")
    package static let redisAddress = Setting(
        key: "listen.redis", kind: .address, standard: nil,
        help: "Redis's protocol, for instance 127.0.0.1:7379; without it the node does not speak it.")
    package static let redisConditions = Setting(
        key: "redis.conditions", kind: .flag, standard: "false",
        help: "Carry out NX and XX, which are checked at a quorum and are no consensus: no lock can be built on them.")
    package static let redisConsistency = Setting(
        key: "redis.consistency", kind: .choice(RESPConsistency.allCases.map(\.rawValue)), standard: "bucket",
        help: "The quorums of a connection that names none; bucket: those of its database's bucket.")
    package static let httpAddress = Setting(
        key: "listen.http", kind: .address, standard: "127.0.0.1:8098", help: "Riak's HTTP API.")
    package static let peerAddress = Setting(
        key: "listen.peer", kind: .address, standard: "127.0.0.1:8099", help: "Other nodes of the cluster.")
    package static let insecure = Setting(
        key: "insecure", kind: .flag, standard: "false",
        help: "Listen on addresses other than loopback although nothing is encrypted.")
    package static let lanes = Setting(
        key: "threads.lanes", kind: .wholeNumber(0...64, unit: "event loops"), standard: "0",
        help: "Event loops, each with its own partitions; 0: one a core, four at most.")
    package static let readers = Setting(
        key: "threads.readers", kind: .wholeNumber(1...64, unit: "threads"), standard: "4",
        help: "Threads that read from disk what is not in memory.")
    package static let durability = Setting(
        key: "durability.mode", kind: .choice(["synced", "buffered"]), standard: "synced",
        help: "Whether a write is on disk before it is acknowledged, or at most an interval later.")
    package static let durabilityInterval = Setting(
        key: "durability.interval-ms", kind: .wholeNumber(1...60_000, unit: "milliseconds"), standard: "1000",
        help: "In buffered mode: what a power failure may cost.")
    package static let objectBytes = Setting(
        key: "limits.object-bytes", kind: .wholeNumber(1...(64 << 20), unit: "bytes"), standard: "1048576",
        help: "The largest object; a larger one is refused.")
    package static let siblings = Setting(
        key: "limits.siblings", kind: .wholeNumber(1...10_000, unit: ""), standard: "100",
        help: "Siblings that may stand; a write that would make one more is refused.")
    package static let siblingBytes = Setting(
        key: "limits.sibling-bytes", kind: .wholeNumber(1...(512 << 20), unit: "bytes"), standard: "8388608",
        help: "Bytes of all siblings together; a write that would make them more is refused.")
    package static let repairBytes = Setting(
        key: "repair.bytes-per-second", kind: .wholeNumber(1024...(1 << 40), unit: "bytes"), standard: "8388608",
        help: "What comparing replicas in the background may read and send.")
    package static let repairOperations = Setting(
        key: "repair.operations-per-second", kind: .wholeNumber(0...1_000_000, unit: "operations"), standard: "1000",
        help:
            "Questions and keys that comparing replicas may exchange, less what clients ask for; 0: this node begins none."
    )
    package static let scrubBytes = Setting(
        key: "scrub.bytes-per-second", kind: .wholeNumber(0...(1 << 40), unit: "bytes"), standard: "4194304",
        help: "What comparing the disk with what was written to it may read, in the background; 0: never.")
    package static let scrubInterval = Setting(
        key: "scrub.interval-s", kind: .wholeNumber(1...31_536_000, unit: "seconds"), standard: "86400",
        help: "The pause between two such walks through all that the node holds.")
    package static let reapBytes = Setting(
        key: "reaping.bytes-per-second", kind: .wholeNumber(0...(1 << 40), unit: "bytes"), standard: "4194304",
        help: "What looking for tombstones in the background may read; 0: this node begins to reap none.")
    package static let reapInterval = Setting(
        key: "reaping.interval-s", kind: .wholeNumber(1...86_400, unit: "seconds"), standard: "60",
        help: "The pause between two walks through the partitions for tombstones.")
    package static let messageAge = Setting(
        key: "reaping.message-age-s", kind: .wholeNumber(5...3_600, unit: "seconds"), standard: "60",
        help: "How old what another node sends may be, and so how long a tombstone waits at the least; the same on "
            + "every node.")
    package static let hintBytes = Setting(
        key: "limits.hint-bytes", kind: .wholeNumber((1 << 20)...(1 << 40), unit: "bytes"), standard: "536870912",
        help: "What is kept for one node that is away; past it this node refuses to stand in for it.")
    package static let diskReserve = Setting(
        key: "limits.disk-reserve", kind: .wholeNumber(0...(1 << 50), unit: "bytes"), standard: "1073741824",
        help: "Free space below which clients' writes are refused, and below a quarter of it all; 0: never.")
    package static let openRequests = Setting(
        key: "limits.requests", kind: .wholeNumber(16...1_000_000, unit: "requests"), standard: "8192",
        help: "Requests under way in one lane; one more is answered `overloaded`.")
    package static let queueing = Setting(
        key: "limits.queueing-ms", kind: .wholeNumber(0...60_000, unit: "milliseconds"), standard: "250",
        help: "When every request takes longer than this, so many are answered `overloaded` that the others do not; 0: "
            + "`limits.requests` alone bounds them.")
    package static let connections = Setting(
        key: "limits.connections", kind: .wholeNumber(1...1_000_000, unit: "connections"), standard: "10000",
        help: "Client connections a protocol; one more is closed at once.")
    package static let memoryBudget = Setting(
        key: "memory.budget-bytes", kind: .wholeNumber((16 << 20)...(1 << 42), unit: "bytes"), standard: "1073741824",
        help:
            "Memory that the node may take: half of it for records and tables, the rest for what is under way, for leaves "
            + "and for what the allocator holds back.")
    package static let membershipPeriod = Setting(
        key: "membership.period-ms", kind: .wholeNumber(50...60_000, unit: "milliseconds"), standard: "500",
        help: "Between two rounds of probes. A member that hangs is routed around within about two of these; the same "
            + "on every node.")
    package static let requestTimeout = Setting(
        key: "request.timeout-ms", kind: .wholeNumber(1...3_600_000, unit: "milliseconds"), standard: "10000",
        help: "The deadline of a request that names none.")
    package static let stopTimeout = Setting(
        key: "stop.timeout-ms", kind: .wholeNumber(0...600_000, unit: "milliseconds"), standard: "5000",
        help: "How long a stopping node waits for the requests that are under way.")
    package static let logLevel = Setting(
        key: "log.level", kind: .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
        standard: "info", help: "What is logged.")
    package static let logJSON = Setting(
        key: "log.json", kind: .flag, standard: "false", help: "Log one JSON object a line, for programs.")

    /// In the order in which they are shown.
    package static let all: [Setting] = [
        nodeName, nodeAddress, nodeWeight, nodeZone, dataFolder, clusterName, clusterKey, clusterKeyFile,
        clusterMembers, clusterJoin, clusterJoinToken, ringPartitions,
        protocolBuffersAddress, redisAddress, redisConditions, redisConsistency, httpAddress, peerAddress, insecure,
        lanes, readers, durability, durabilityInterval,
        objectBytes, siblings, siblingBytes, hintBytes, repairBytes, repairOperations, scrubBytes, scrubInterval,
        diskReserve, reapBytes,
        reapInterval, messageAge, openRequests, queueing, connections, memoryBudget, membershipPeriod, requestTimeout,
        stopTimeout, logLevel, logJSON,
    ]

    /// Variables that begin like a setting's and are read by the tools around the server.
    package static let foreignEnvironment: Set<String> = [
        "TORC_CONFIG", "TORC_BIN", "TORC_QUIET", "TORC_STRICT", "TORC_MUTATIONS", "TORC_FUZZ", "TORC_BUILD_FLAGS",
        "TORC_SEEDS", "TORC_STORM_SEEDS", "TORC_MUTATION_SEEDS", "TORC_KILL_ROUNDS", "TORC_CHAOS_MINUTES",
        "TORC_PYTHON_ENV",
        "TORC_PROTOS_WORK",
    ]

    package static func named(_ key: String) -> Setting? { all.first { $0.key == key } }

    /// What was probably meant by a name that no setting has.
    static func suggestion(for name: String, among names: [String]) -> String {
        let nearest = names.map { ($0, editDistance($0, name)) }.min { $0.1 < $1.1 }
        if let (candidate, distance) = nearest, distance <= max(2, name.count / 4) {
            return "did you mean \(candidate)?"
        }
        return "valid are: \(names.joined(separator: ", "))"
    }

    /// Levenshtein's distance.
    private static func editDistance(_ left: String, _ right: String) -> Int {
        let target = Array(right)
        var row = Array(0...target.count)
        for (i, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for j in 0..<target.count {
                let substituted = diagonal + (character == target[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, diagonal + 1)
            }
        }
        return row[target.count]
    }
}
