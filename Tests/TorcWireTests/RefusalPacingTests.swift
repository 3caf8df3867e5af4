import NIOCore
import Testing
import TorcWire

/// How long connections are left alone that were told of too much to do.
@Suite struct RefusalPacingTests {
    private let pacing = RefusalPacing()

    /// So many connections are refused in each interval; what the last is told.
    private func refuse(_ count: Int, intervals: Int, from start: Int64) -> TimeAmount {
        var pause = TimeAmount.zero
        for interval in 0..<Int64(intervals) {
            let begins = NIODeadline.uptimeNanoseconds(0) + RefusalPacing.interval * (start + interval)
            for _ in 0..<count { pause = pacing.refused(at: begins) }
        }
        return pause
    }

    @Test func manyMakeItLongerAndFewMakeItShort() {
        #expect(refuse(1, intervals: 20, from: 10) == RefusalPacing.shortest)
        #expect(refuse(RefusalPacing.pausesPerInterval, intervals: 20, from: 30) == RefusalPacing.shortest)
        #expect(refuse(RefusalPacing.pausesPerInterval * 4, intervals: 2, from: 50) == RefusalPacing.shortest * 2)
        #expect(refuse(RefusalPacing.pausesPerInterval * 4, intervals: 40, from: 52) == RefusalPacing.longest)
        // As many as there may be leave it.
        #expect(refuse(RefusalPacing.pausesPerInterval, intervals: 1, from: 92) == RefusalPacing.longest)
        #expect(refuse(RefusalPacing.pausesPerInterval, intervals: 9, from: 93) == RefusalPacing.longest)
        #expect(refuse(1, intervals: 12, from: 102) == RefusalPacing.shortest)
    }

    @Test func itIsForgottenWhenNobodyIsRefused() {
        #expect(refuse(RefusalPacing.pausesPerInterval * 4, intervals: 40, from: 1) == RefusalPacing.longest)
        #expect(refuse(1, intervals: 1, from: 100) == RefusalPacing.shortest)
    }
}
