// Random lives of a Vnodes value (`VnodeRun`), and, where deliberate faults are compiled in, lives in which
// they must be noticed. A fault is active in the whole process, so those tests run by themselves:
//
//   TORC_MUTATIONS=1 TORC_MUTATION_TESTS=1 swift test --filter VnodeRandomTests

import Foundation
import TestSupport
import Testing
import TorcModel
import TorcReplication

@Suite(.serialized) struct VnodeRandomTests {
    private static let seeds = 60 as UInt64
    private static let steps = 400

    @Test func whateverHappensTheRulesHold() {
        var total: [String: Int] = [:]
        for seed in 0..<Self.seeds {
            var run = VnodeRun(seed: seed)
            run.run(steps: Self.steps)
            for violation in run.violations { Issue.record("seed \(seed): \(violation)") }
            guard run.violations.isEmpty else { break }
            total.merge(run.counts) { $0 + $1 }
        }
        for kind in [
            "turn", "sync", "crash", "rollback", "retired", "absent", "hash", "object", "stored", "superseded",
            "refused", "minted", "mintSynced", "retry", "unreadable",
        ] {
            #expect(total[kind, default: 0] > 0, "no \(kind) in \(total)")
        }
    }

    #if TORC_MUTATIONS
        @Test(
            .enabled(if: ProcessInfo.processInfo.environment["TORC_MUTATION_TESTS"] != nil),
            arguments: [
                Mutation.acknowledgeBeforeSync, .acknowledgeUnchangedMergeUnsynced, .readUnsynced, .trustUnsyncedStore,
                .sendBeforeCommit, .mintWhileReading, .reuseActorAfterRestart, .skipLeafUpdate, .capSiblingsOnMerge,
                .ignoreWriteID, .overwriteUnreadable, .stampFromClockAlone, .forgetContextOnPut, .lwwArrivalOrder,
            ])
        func aDeliberateFaultIsNoticed(fault: Mutation) {
            Mutation.active = fault
            defer { Mutation.active = nil }
            var found: (seed: UInt64, violation: String)?
            for seed in 0..<Self.seeds where found == nil {
                var run = VnodeRun(seed: seed)
                run.run(steps: Self.steps)
                found = run.violations.first.map { (seed, $0) }
            }
            #expect(found != nil)
            if let found { print("\(fault): seed \(found.seed): \(found.violation)") }
        }
    #endif
}
