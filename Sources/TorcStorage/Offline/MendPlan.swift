// What is to be done to a folder, and what was done.

package import NIOCore
package import TorcModel
package import TorcReplication

/// What is to be mended, as a check has found it.
package struct MendPlan: Hashable, Sendable {
    package var rebuildsManifest = false
    /// By number: tables that are missing, or cannot be opened.
    package var lostTables: Set<UInt64> = []
    /// With damaged blocks.
    package var damagedPartitions: Set<PartitionID> = []
    /// `merkle` or `hints` cannot all be read, or there are two families where one should be.
    package var settlesFamilies = false
    package var cutsLog = false
    /// Their families are gone.
    package var missingPartitions: Set<PartitionID> = []
    /// With records that cannot be decoded, or that belong to another.
    package var partitionsWithBadRecords: Set<PartitionID> = []
    /// With the leaves that do not follow from the records: what they count may have stood there.
    package var untrustedLeaves: [PartitionID: Set<Int>] = [:]
    package var hasBadHints = false

    // What a person asks for, of a folder that is sound.

    /// All hints go, or those for these nodes.
    package var purgesHints = false
    package var purgedTargets: Set<NodeID> = []
    /// Every family is rewritten.
    package var compacts = false
    /// Storage keys of tombstones that nothing needs any more, as the folders of all members have proven.
    package var reaped: [PartitionID: [ByteBuffer]] = [:]
    /// Merged into what is set.
    package var properties: [PropertiesEntry] = []

    package init() {}

    package var isEmpty: Bool { self == MendPlan() }
}

package struct MendReport: Sendable {
    /// The folder that is mended now.
    package var folder: String
    package var quarantine: String
    /// What was done, in order.
    package var steps: [String] = []
    /// By partition, how many leaves count for nobody until they were compared.
    package var lostLeaves: [PartitionID: Int] = [:]
    package var recordsQuarantined = 0
    package var tablesQuarantined = 0
}

package enum MendPlace: Hashable, Sendable {
    /// What was there goes into the quarantine.
    case inPlace
    /// Of a folder that does not exist.
    case copy(String)
}

/// Who is told how far it is.
package struct MendListener {
    /// A step that is done, for a person.
    package var step: (String) -> Void
    /// Before the work that takes long: how many bytes there are to read.
    package var expect: (UInt64) -> Void
    package var advance: (UInt64) -> Void

    package init(
        step: @escaping (String) -> Void = { _ in }, expect: @escaping (UInt64) -> Void = { _ in },
        advance: @escaping (UInt64) -> Void = { _ in }
    ) {
        self.step = step
        self.expect = expect
        self.advance = advance
    }
}
