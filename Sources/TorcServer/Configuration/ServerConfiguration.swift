// What a node is told: typed, checked, complete. `ConfigurationSource` finds the values; this turns them
// into what the server uses and refuses what does not go together.

import Foundation
package import Logging
import NIOCore
package import TorcModel
package import TorcReplication
package import TorcStorage
package import TorcWire

/// A member of the declared cluster.
package struct DeclaredMember: Hashable, Sendable {
    package var name: String
    package var node: NodeID
    /// Where its peers find it.
    package var address: HostAddress

    package init(name: String, node: NodeID, address: HostAddress) {
        self.name = name
        self.node = node
        self.address = address
    }
}

package struct ServerConfiguration: Sendable {
    package var nodeName: String
    package var node: NodeID
    package var dataFolder: String
    package var clusterName: String
    package var clusterKey: ClusterKey
    /// This node among them.
    package var members: [DeclaredMember]
    package var ringSize: RingSize
    /// Nil: the node is one of those that are declared, or its folder says that it joined.
    package var join: JoinSettings?
    /// Where peers find it, and its share and zone, when it joins.
    package var advertisedAddress: HostAddress
    package var weight: Int
    package var zone: String?
    package var protocolBuffersAddress: HostAddress
    /// nil: the node does not speak Redis's protocol.
    package var redisAddress: HostAddress?
    package var redisLimits: RESPLimits
    package var httpAddress: HostAddress
    package var peerAddress: HostAddress
    package var laneCount: Int
    package var readerCount: Int
    package var durability: Durability
    package var limits: LaneLimits
    package var connectionLimit: Int
    package var memoryBudgetBytes: Int
    /// Bytes of the data folder's file system; 0: it may become full.
    package var diskReserve: UInt64
    /// Between two rounds of probes.
    package var membershipPeriod: Duration
    package var requestTimeout: Duration
    /// What every request may take before some are refused; zero: anything.
    package var queueing: Duration
    package var stopTimeout: Duration
    package var logLevel: Logger.Level
    package var logJSON: Bool

    /// A node id of a declared cluster follows from the two names, so that every node computes the same ring.
    package static func nodeID(cluster: String, node: String) -> NodeID {
        NodeID(cluster: cluster, node: node)
    }

    /// More lanes than this gain little on any machine that was measured.
    package static let maximumLanesByDefault = 4
    private static let requestTimeoutByDefault = 10_000
    private static let queueingByDefault = 250
    /// The largest key file that is read.
    package static let maximumKeyFileBytes = 4 << 10
}

extension ServerConfiguration {
    /// Checks what the source found. Every problem is reported, not only the first.
    package init(_ values: ConfigurationValues) throws(ConfigurationError) {
        var problems: [String] = values.problems
        func required(_ setting: Setting) -> String {
            if let text = values.text(setting), !text.isEmpty { return text }
            if !values.failed(setting) {
                problems.append(
                    "\(setting.key) is not set: \(setting.help) Give \(setting.flagName), "
                        + "\(setting.environmentName), or \(setting.key) in the file.")
            }
            return ""
        }
        func address(_ setting: Setting) -> HostAddress {
            let text = required(setting)
            if let address = HostAddress(text) { return address }
            if !text.isEmpty { problems.append(values.complaint(setting)) }
            return HostAddress(host: "127.0.0.1", port: 0)
        }

        let nodeName = required(.nodeName)
        let dataFolder = required(.dataFolder)
        let clusterName = required(.clusterName)
        protocolBuffersAddress = address(.protocolBuffersAddress)
        redisAddress = values.text(.redisAddress).flatMap(HostAddress.init)
        if redisAddress == nil, values.text(.redisAddress) != nil { problems.append(values.complaint(.redisAddress)) }
        httpAddress = address(.httpAddress)
        peerAddress = address(.peerAddress)

        let node = Self.nodeID(cluster: clusterName, node: nodeName)
        var members: [DeclaredMember] = []
        let alone = nodeName.isEmpty ? [] : ["\(nodeName)=\(peerAddress)"]
        for text in values.list(.clusterMembers) ?? alone {
            let parts = text.split(separator: "=", maxSplits: 1)
            guard let name = parts.first.map(String.init), let address = HostAddress(String(parts.last!)),
                parts.count == 2
            else {
                problems.append("\(values.place(.clusterMembers)): \"\(text)\" is not NAME=HOST:PORT")
                continue
            }
            if members.contains(where: { $0.name == name }) {
                problems.append("\(values.place(.clusterMembers)): \(name) is named twice")
            }
            let id = Self.nodeID(cluster: clusterName, node: name)
            members.append(DeclaredMember(name: name, node: id, address: address))
        }
        let join = Self.joinSettings(values, nodeName, &problems)
        advertisedAddress = values.text(.nodeAddress).flatMap(HostAddress.init) ?? peerAddress
        if join != nil {
            // Who the members are, the member that is asked says.
            members = [DeclaredMember(name: nodeName, node: node, address: advertisedAddress)]
            if advertisedAddress.port == 0 || ["0.0.0.0", "::"].contains(advertisedAddress.host) {
                problems.append("peers cannot find \(advertisedAddress): set node.address to where they find this node")
            }
        }
        if !nodeName.isEmpty, !members.isEmpty, !members.contains(where: { $0.name == nodeName }) {
            let names = members.map(\.name).joined(separator: ", ")
            problems.append("\(values.place(.clusterMembers)): node.name is \(nodeName), the members are \(names)")
        }
        if Set(members.map(\.node)).count < members.count, Set(members.map(\.name)).count == members.count {
            problems.append("\(values.place(.clusterMembers)): two names give the same node id; rename one")
        }

        let partitions = values.integer(.ringPartitions) ?? RingSize.standard.partitions
        let ringSize = RingSize(partitions: partitions)
        if ringSize == nil { problems.append(values.complaint(.ringPartitions)) }

        if values.boolean(.insecure) != true {
            let addresses: [(Setting, HostAddress?)] = [
                (.protocolBuffersAddress, protocolBuffersAddress), (.redisAddress, redisAddress),
                (.httpAddress, httpAddress), (.peerAddress, peerAddress),
            ]
            for case (let setting, let address?) in addresses where !address.isLoopback {
                problems.append(
                    "\(values.place(setting)): \(address) can be reached from other machines and nothing is encrypted; "
                        + "listen on loopback, or say --insecure")
            }
        }

        var key: ClusterKey?
        switch Self.secret(values) {
        case .success(let secret):
            key = ClusterKey(secret: secret)
            if key == nil {
                problems.append("the cluster's secret is shorter than \(ClusterKey.minimumSecretBytes) bytes")
            }
        case .failure(let problem): problems.append(contentsOf: problem.problems)
        }

        var limits = LaneLimits()
        limits.objectBytes = values.integer(.objectBytes) ?? limits.objectBytes
        limits.siblings = values.integer(.siblings) ?? limits.siblings
        limits.siblingBytes = values.integer(.siblingBytes) ?? limits.siblingBytes
        limits.operations = values.integer(.openRequests) ?? limits.operations
        limits.parkedOperations = limits.operations
        if limits.siblingBytes < limits.objectBytes {
            problems.append("limits.sibling-bytes is below limits.object-bytes: no object of that size could be stored")
        }

        let lanes = values.integer(.lanes) ?? 0
        let interval = Duration.milliseconds(values.integer(.durabilityInterval) ?? 1000)

        self.nodeName = nodeName
        self.node = node
        self.dataFolder = DataFolder.normalized(dataFolder)
        self.clusterName = clusterName
        self.members = members
        self.join = join
        weight = values.integer(.nodeWeight) ?? 1
        zone = values.text(.nodeZone)
        let laneCount = lanes == 0 ? min(Self.maximumLanesByDefault, System.coreCount) : lanes
        self.laneCount = laneCount
        // Each lane has its share: keys and partitions are spread evenly over them.
        limits.hintBytes = (values.integer(.hintBytes) ?? 512 << 20) / laneCount
        let repairOperations = values.integer(.repairOperations) ?? 1_000
        limits.repair.isOn = repairOperations > 0
        limits.repair.operationsPerSecond = max(1, repairOperations / laneCount)
        limits.repair.bytesPerSecond = max(1, (values.integer(.repairBytes) ?? 8 << 20) / laneCount)
        let scrubBytes = values.integer(.scrubBytes) ?? 4 << 20
        limits.scrub.isOn = scrubBytes > 0
        limits.scrub.bytesPerSecond = max(1, scrubBytes / laneCount)
        limits.scrub.interval = .seconds(values.integer(.scrubInterval) ?? 86_400)
        let messageAge = Duration.seconds(values.integer(.messageAge) ?? 60)
        // Longer than a request takes; where a client names a longer timeout than this node does, longer than a replica takes
        // what was read.
        limits.mending.delay = max(
            messageAge,
            .milliseconds(2 * (values.integer(.requestTimeout) ?? Self.requestTimeoutByDefault)))
        let reapBytes = values.integer(.reapBytes) ?? 4 << 20
        limits.reaping.isOn = reapBytes > 0
        limits.reaping.judgesAge = true
        limits.reaping.bytesPerSecond = max(1, reapBytes / laneCount)
        limits.reaping.interval = .seconds(values.integer(.reapInterval) ?? 60)
        limits.reaping.maximumAge = messageAge
        self.limits = limits
        redisLimits = RESPLimits(objectBytes: limits.objectBytes)
        redisLimits.allowsConditions = values.boolean(.redisConditions) ?? false
        redisLimits.consistency = values.text(.redisConsistency).flatMap(RESPConsistency.init(rawValue:)) ?? .bucket
        readerCount = values.integer(.readers) ?? 4
        durability = values.text(.durability) == "buffered" ? .buffered(interval: interval) : .synced
        connectionLimit = values.integer(.connections) ?? 10_000
        memoryBudgetBytes = values.integer(.memoryBudget) ?? 1 << 30
        diskReserve = UInt64(values.integer(.diskReserve) ?? 1 << 30)
        membershipPeriod = .milliseconds(values.integer(.membershipPeriod) ?? 500)
        queueing = .milliseconds(values.integer(.queueing) ?? Self.queueingByDefault)
        requestTimeout = .milliseconds(values.integer(.requestTimeout) ?? Self.requestTimeoutByDefault)
        stopTimeout = .milliseconds(values.integer(.stopTimeout) ?? 5_000)
        logLevel = Logger.Level(rawValue: values.text(.logLevel) ?? "info") ?? .info
        logJSON = values.boolean(.logJSON) ?? false

        guard problems.isEmpty, let key, let ringSize else { throw ConfigurationError(problems) }
        clusterKey = key
        self.ringSize = ringSize
    }

    private static func joinSettings(
        _ values: ConfigurationValues, _ nodeName: String, _ problems: inout [String]
    ) -> JoinSettings? {
        guard let address = values.text(.clusterJoin).flatMap(HostAddress.init) else {
            if values.text(.clusterJoinToken) != nil, !values.failed(.clusterJoin) {
                problems.append("cluster.join-token is set, and cluster.join is not: name a member to ask")
            }
            return nil
        }
        guard let text = values.text(.clusterJoinToken) else {
            problems.append("cluster.join is set, and cluster.join-token is not: get one with `torc cluster token`")
            return nil
        }
        guard let token = JoinToken(text) else {
            problems.append("\(values.place(.clusterJoinToken)): this is no token; `torc cluster token` prints one")
            return nil
        }
        if !NodeContact.isName(nodeName) {
            problems.append("\(values.place(.nodeName)): a name is without spaces, commas and equals signs")
        }
        return JoinSettings(member: address, token: token)
    }

    private static func secret(_ values: ConfigurationValues) -> Result<[UInt8], ConfigurationError> {
        func failure(_ problem: String) -> Result<[UInt8], ConfigurationError> {
            .failure(ConfigurationError([problem]))
        }
        switch (values.text(.clusterKey), values.text(.clusterKeyFile)) {
        case (.some, .some):
            return failure("cluster.key and cluster.key-file are both set; keep one")
        case (let text?, nil):
            return .success(Array(text.utf8))
        case (nil, nil):
            return failure(
                "the cluster has no key. Make one, the same for every node: "
                    + "head -c 32 /dev/urandom | base64 > cluster.key; chmod 600 cluster.key; "
                    + "then set cluster.key-file")
        case (nil, let path?):
            let place = values.place(.clusterKeyFile)
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
                let size = attributes[.size] as? UInt64, size <= UInt64(maximumKeyFileBytes),
                let content = FileManager.default.contents(atPath: path)
            else {
                return failure("\(place): \(path) cannot be read, or is larger than \(maximumKeyFileBytes) bytes")
            }
            let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
            guard mode & 0o077 == 0 else {
                return failure("\(place): others may read \(path); chmod 600 \(path)")
            }
            let space = Set(" \t\r\n".utf8)
            return .success(Array(content.reversed().drop { space.contains($0) }.reversed()))
        }
    }
}

extension ServerConfiguration {
    /// One number, split: half of it for memtables and cached blocks, of which memtables, charged to the cache, take three eighths.
    /// The other half is for requests and answers under way, for leaves and for what the allocator holds back: with caches
    /// full and values of 200 KB under load a node took 930 MB of a GiB.
    package static func storeOptions(memoryBytes: Int) -> StoreOptions {
        var options = StoreOptions()
        options.cacheBytes = memoryBytes / 2
        options.memtableBytes = options.cacheBytes / 8 * 3
        return options
    }

    var storeOptions: StoreOptions { Self.storeOptions(memoryBytes: memoryBudgetBytes) }
}
