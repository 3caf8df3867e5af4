// What happened at least once in runs: a checker that is never asked, a message that never arrives and a fault that never
// strikes prove nothing. A range of seeds of some length must come to all of them.

import TorcModel
import TorcReplication

package struct Coverage: Hashable, Sendable {
    package enum Site: UInt8, CaseIterable, Sendable {
        // Messages that arrived.
        case write, wrote, read, readResult, hintWrite, hinted, hintResult
        case forward, forwarded, page, pageResult
        case properties, propertiesStored, propertiesDigest
        case compareRoot, compareLeaves, compareKeys, compared
        case ping, pingRequest, ack, nack, exchange
        case askToken, token, survey, reapStep, reaped
        case ringVersion, prepare, promise, accept, accepted, refused, decided, report
        // Faults that struck, as the plan weighs them.
        case kill, powerLoss, powerLossEverywhere, gracefulStop, failedCommit, pause, slowDisk, linkFault, partition
        case clockJump, rollback, damageRecord, fullDisk, loseRecord, alterLeaf
        // What operators ordered, and rings that a node held.
        case stageJoin, stageLeave, stageRemove, stageReplace, forceGeneration
        case ringCopying, ringRetiring, ringSettledAgain, ringFencing
        // What followed from them.
        case mended
        // A vector became shorter; two versions were linked; a cluster in which there had been two ended with one.
        case pruneStep, pruned, mixedVersions, upgraded
        /// Clients shared a read.
        case readShared
        // A partition was made anew with lost leaves; it was compared with all co-owners.
        case salvaged, restored
        /// Clients were answered from memory.
        case readCached
        /// Copies of all members were taken while all of them were held.
        case backup

        static let faults: [Site] = [
            .kill, .powerLoss, .powerLossEverywhere, .gracefulStop, .failedCommit, .pause, .slowDisk, .linkFault,
            .partition, .clockJump, .rollback, .damageRecord, .fullDisk,
            .loseRecord, .alterLeaf,
        ]
    }

    /// Bit n: the site with that raw value.
    package private(set) var bits: UInt128

    package init(bits: UInt128 = 0) { self.bits = bits }

    mutating func note(_ site: Site) { bits |= 1 << UInt128(site.rawValue) }

    package mutating func formUnion(_ other: Coverage) { bits |= other.bits }

    package var missing: [Site] { Site.allCases.filter { bits & 1 << UInt128($0.rawValue) == 0 } }

    mutating func noteArrival(of message: PeerMessage) {
        note(Self.site(of: message))
        if case .write(let write) = message, write.hint != nil { note(.hintWrite) }
    }

    private static func site(of message: PeerMessage) -> Site {
        switch message {
        case .write: .write
        case .wrote: .wrote
        case .read: .read
        case .readResult: .readResult
        case .hinted: .hinted
        case .hintResult: .hintResult
        case .forward: .forward
        case .forwarded: .forwarded
        case .page: .page
        case .pageResult: .pageResult
        case .properties: .properties
        case .propertiesStored: .propertiesStored
        case .propertiesDigest: .propertiesDigest
        case .compare(let question):
            switch question.subject {
            case .root: .compareRoot
            case .leaves: .compareLeaves
            case .keys: .compareKeys
            }
        case .compared: .compared
        case .membership(let message):
            switch message.body {
            case .ping: .ping
            case .pingRequest: .pingRequest
            case .ack: .ack
            case .nack: .nack
            case .exchange: .exchange
            }
        case .askToken: .askToken
        case .token: .token
        case .reap(let question):
            switch question.subject {
            case .survey: .survey
            case .step(let step, _): step.isPruning ? .pruneStep : .reapStep
            }
        case .reaped: .reaped
        case .ring(let message): site(of: message)
        }
    }

    private static func site(of message: RingMessage) -> Site {
        switch message.body {
        case .version: .ringVersion
        case .prepare: .prepare
        case .promise: .promise
        case .accept: .accept
        case .accepted: .accepted
        case .refused: .refused
        case .decided: .decided
        case .report: .report
        }
    }

    mutating func note(_ order: RingOrder) {
        switch order {
        case .stage(.join): note(.stageJoin)
        case .stage(.leave): note(.stageLeave)
        case .stage(.remove): note(.stageRemove)
        case .stage(.replace): note(.stageReplace)
        case .force: note(.forceGeneration)
        case .plan, .commit, .abort: break
        }
    }

    mutating func noteInstalled(_ state: ClusterState) {
        switch state.placement.phase {
        case .copying: note(.ringCopying)
        case .retiring: note(.ringRetiring)
        case .settled: note(.ringSettledAgain)
        }
        if !state.fenced.isEmpty { note(.ringFencing) }
    }
}
