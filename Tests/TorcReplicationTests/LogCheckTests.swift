import Testing
import TorcReplication

/// Logs written as text: `5+2` a batch at sequence 5 of two changes, `5+2@4` with a mark at 4, `!` damage.
private func verdict(_ log: String, start: UInt64? = nil) -> LogVerdict {
    LogCheck.verdict(
        of: log.split(separator: " ").map { word in
            if word == "!" { return LogFinding.damage }
            let parts = word.split(separator: "@")
            let numbers = parts[0].split(separator: "+").map { UInt64($0)! }
            return .batch(
                sequence: numbers[0], count: numbers[1], syncedThrough: parts.count > 1 ? UInt64(parts[1])! : nil)
        }, start: start)
}

@Suite struct LogCheckTests {
    @Test func soundLogsServe() {
        #expect(verdict("") == .serve)
        #expect(verdict("1+1 2+3@1 5+0@4 5+2@4") == .serve)
        #expect(verdict("900+1 901+1@900") == .serve)
    }

    @Test func damagePastEveryMarkIsCut() {
        #expect(verdict("1+1 2+3@1 !") == .cut(after: 4))
        #expect(verdict("1+1 2+3@1 ! 6+1@4") == .cut(after: 4))
        #expect(verdict("5+1@4 ! !") == .cut(after: 5))
        #expect(verdict("!", start: 7) == .cut(after: 6))
        #expect(verdict("!") == .cut(after: 0))
    }

    @Test func damageBelowAMarkIsRefused() {
        #expect(verdict("1+1 ! 3+1@2") == .refuse(damageAt: 2, lastMark: 2))
        #expect(verdict("1+1@0 2+1@9 !") == .refuse(damageAt: 3, lastMark: 9))
        // The mark stands far behind the damage, after more of it.
        #expect(verdict("1+1 ! 5+1@1 ! 9+0@8") == .refuse(damageAt: 2, lastMark: 8))
        // Nobody knows where a log that starts damaged began.
        #expect(verdict("! 9+1@3") == .refuse(damageAt: 1, lastMark: 3))
        #expect(verdict("! 9+1@3", start: 4) == .cut(after: 3))
    }

    @Test func aHoleIsDamage() {
        #expect(verdict("1+2 4+1") == .cut(after: 2))
        #expect(verdict("1+2 4+1@3") == .refuse(damageAt: 3, lastMark: 3))
        #expect(verdict("3+1", start: 2) == .cut(after: 1))
        // A number that was already given: the log is not one log.
        #expect(verdict("1+2 2+1") == .cut(after: 2))
    }
}
