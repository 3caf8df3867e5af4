// What may happen next. An event that belongs to a process names it, and is dropped when the process has ended.

import NIOCore
import TorcModel
import TorcReplication

/// One run of one node's process.
struct ProcessID: Hashable, Sendable {
    var node: Int
    /// Counts the starts of all nodes.
    var number: Int
}

enum SimulationEvent {
    case deliver(Envelope)
    case detect(observer: Int, peer: Int, generation: UInt64)
    case establish(Int, Int)

    case laneTurn(ProcessID, lane: Int)
    case laneTick(ProcessID, lane: Int)
    case controlTurn(ProcessID)
    case controlTick(ProcessID)
    /// A reader thread has the record. `seen`: what it was when the read was asked for; nil: look now.
    case recordRead(ProcessID, lane: Int, StoreToken, RecordName, seen: StoreRead?)
    case scanned(ProcessID, lane: Int, ScanRequest)
    case retryCommit(ProcessID, lane: Int)
    /// What a read has met of a partition is noted on the disk.
    case damageNoted(ProcessID, PartitionID)
    /// A partition could not be made anew a while ago: its lane is told once more that it is damaged.
    case damageTold(ProcessID, PartitionID)
    case salvage(ProcessID, PartitionID)
    case restored(ProcessID, PartitionID)
    case beginSync(ProcessID)
    case endSync(ProcessID, SimulatedStore.SyncPoint)
    case propertiesStored(ProcessID, UInt64, [PropertiesEntry])
    case membershipStored(ProcessID, MembershipIncarnation)
    case ringStored(ProcessID, UInt64, RingRecord)
    case operatorTurn(Int)
    case backupTurn(Int)
    case exit(ProcessID)
    case start(node: Int)

    case clientTurn(Int)
    /// An answer on its way to its client; nil: the connection broke.
    case answer(ClientRequestID, ClientAnswer?)
    case listPiece(ClientRequestID, ListPiece?)
    case propertiesAnswer(ClientRequestID, PropertiesAnswer?)
    case overdue(ClientRequestID)

    case fault
    case endFault(Fault)
}

/// A client's request, over the whole run.
struct ClientRequestID: Hashable, Comparable, Sendable {
    var client: Int
    var number: Int
    static func < (lhs: Self, rhs: Self) -> Bool { (lhs.client, lhs.number) < (rhs.client, rhs.number) }
}

/// A fault that lasts for a while.
enum Fault: Sendable {
    case cut([(from: Int, to: Int)])
    case slowLink(from: Int, to: Int)
    case slowDisk(node: Int)
    case fullDisk(node: Int)
}
