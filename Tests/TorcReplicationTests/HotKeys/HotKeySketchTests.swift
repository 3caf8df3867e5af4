import Foundation
import NIOCore
import Testing
import TorcModel
import TorcReplication

/// The sketch against a list of everything that was asked, each request decayed by itself.
@Suite struct HotKeySketchTests {
    private static let step = HotKeySketch.halfLife / .nanoseconds(1) / 16

    private struct Asked {
        var key: Int
        var isRead: Bool
        var at: UInt64
    }

    /// Steps since the first request, by which both sides decay.
    private static func weight(_ time: UInt64, _ began: UInt64, _ now: UInt64) -> Double {
        func steps(_ time: UInt64) -> Double { (Double(time - began) / step).rounded(.down) }
        return pow(2, (steps(time) - steps(now)) / 16)
    }

    /// What a rate of one a second would have counted since the first request.
    private static func seconds(_ began: UInt64, _ now: UInt64) -> Double {
        let steps = Int((Double(now - began) / step).rounded(.down))
        var sum = (Double(now - began) - Double(steps) * step) / step
        for passed in 1...max(1, min(steps, 1024)) where steps > 0 { sum += pow(2, -Double(passed) / 16) }
        return sum * step / 1e9
    }

    private func key(_ number: Int) -> ObjectKey {
        ObjectKey(bucket: BucketID(name: ByteBuffer(string: "b")), key: ByteBuffer(string: "k\(number)"))
    }

    private func time(_ nanoseconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: nanoseconds) }

    @Test func boundsHoldForEveryKeyAtAnyTime() {
        for seed in UInt64(1)...40 {
            var random = SeededGenerator(seed: seed)
            let capacity = Int.random(in: 1...48, using: &random)
            let keyCount = Int.random(in: 2...400, using: &random)
            let skew = Double.random(in: 1...6, using: &random)
            let keys = (0..<keyCount).map(key)
            var sketch = HotKeySketch(capacity: capacity)
            var asked: [Asked] = []
            var now = UInt64.random(in: 1...1 << 50, using: &random)
            let began = now
            sketch.note(keys[0], isRead: true, at: time(now))
            asked.append(Asked(key: 0, isRead: true, at: now))
            var checks = 0
            for _ in 0..<2_000 {
                switch Int.random(in: 0..<1_000, using: &random) {
                case 0: now += UInt64.random(in: 0...2_000_000_000_000, using: &random)
                case 1..<20: now += UInt64.random(in: 0...20_000_000_000, using: &random)
                default: now += UInt64.random(in: 0...20_000_000, using: &random)
                }
                let number = Int(pow(Double.random(in: 0..<1, using: &random), skew) * Double(keyCount))
                let isRead = Bool.random(using: &random)
                sketch.note(keys[number], isRead: isRead, at: time(now))
                asked.append(Asked(key: number, isRead: isRead, at: now))
                guard Int.random(in: 0..<100, using: &random) == 0 else { continue }
                now += UInt64.random(in: 1...1_000_000, using: &random)
                check(&sketch, asked, keys, capacity: capacity, began, now, "seed \(seed)")
                checks += 1
            }
            #expect(checks > 3, "seed \(seed)")
        }
    }

    private func check(
        _ sketch: inout HotKeySketch, _ asked: [Asked], _ keys: [ObjectKey], capacity: Int, _ began: UInt64,
        _ now: UInt64, _ place: String
    ) {
        let seconds = Self.seconds(began, now)
        var reads = [Double](repeating: 0, count: keys.count)
        var writes = reads
        for request in asked {
            let weight = Self.weight(request.at, began, now) / seconds
            if request.isRead { reads[request.key] += weight } else { writes[request.key] += weight }
        }
        let total = reads.reduce(0, +) + writes.reduce(0, +)
        // Requests from before a gap of 64 half-lives are forgotten at once.
        let slack = total * 1e-9 + 1e-12
        let report = sketch.report(at: time(now))
        #expect(abs(report.perSecond - total) <= slack, "\(place): \(report.perSecond) of \(total) a second")
        #expect(report.keys.count <= capacity)
        #expect(Set(report.keys.map(\.key)).count == report.keys.count, "\(place): a key has two counters")
        for index in report.keys.indices.dropFirst() {
            #expect(report.keys[index - 1].perSecond >= report.keys[index].perSecond, "\(place)")
        }
        let shown = Dictionary(uniqueKeysWithValues: report.keys.map { ($0.key, $0) })
        for (number, key) in keys.enumerated() {
            let truth = reads[number] + writes[number]
            guard let hot = shown[key] else {
                #expect(truth <= total / Double(capacity) + slack, "\(place): k\(number) is missing")
                continue
            }
            #expect(hot.readsPerSecond <= reads[number] + slack, "\(place): k\(number)")
            #expect(hot.writesPerSecond <= writes[number] + slack, "\(place): k\(number)")
            #expect(truth <= hot.perSecond + hot.errorPerSecond + slack, "\(place): k\(number)")
            #expect(hot.errorPerSecond <= total / Double(capacity) + slack, "\(place): k\(number)")
        }
    }

    @Test func fewKeysAreCountedExactly() {
        var sketch = HotKeySketch()
        for number in 0..<HotKeySketch.capacity {
            for _ in 0...number % 5 { sketch.note(key(number), isRead: true, at: time(1)) }
        }
        let report = sketch.report(at: time(1_000_000_001))
        #expect(report.keys.count == HotKeySketch.capacity)
        for hot in report.keys {
            let number = Int(String(buffer: hot.key.key).dropFirst())!
            #expect(abs(hot.readsPerSecond / report.perSecond - Double(number % 5 + 1) / 766) < 1e-9)
            #expect(hot.errorPerSecond == 0 && hot.writesPerSecond == 0)
        }
    }

    @Test func aHotKeyStandsOutAmongManyThatComeOnce() throws {
        var sketch = HotKeySketch()
        for number in 0..<20_000 {
            sketch.note(key(number % 20 == 0 ? -1 : number), isRead: true, at: time(UInt64(number) * 1_000_000))
        }
        let report = sketch.report(at: time(20_000_000_000), limit: 3)
        let hottest = try #require(report.keys.first)
        #expect(report.keys.count == 3)
        #expect(hottest.key == key(-1))
        #expect(abs(hottest.perSecond / report.perSecond - 0.05) < 0.005, "\(hottest) of \(report.perSecond)")
    }

    @Test func ratesAreRightFromTheStartAndHalveInAHalfLife() {
        var sketch = HotKeySketch()
        var now: UInt64 = 7
        for number in 0..<3_000 {
            sketch.note(key(0), isRead: number % 4 != 0, at: time(now))
            now += 10_000_000
            guard number % 500 == 499 else { continue }
            let report = sketch.report(at: time(now))
            #expect(abs(report.readsPerSecond - 75) < 2, "\(report.readsPerSecond) after \(number)")
            #expect(abs(report.writesPerSecond - 25) < 2, "\(report.writesPerSecond) after \(number)")
        }
        // Of a silence of one half-life the first request's half is left, over a time that has grown.
        let counted = sketch.report(at: time(now)).perSecond * Self.seconds(7, now)
        now += UInt64(HotKeySketch.halfLife / .nanoseconds(1))
        let left = sketch.report(at: time(now)).perSecond * Self.seconds(7, now)
        #expect(abs(left / counted - 0.5) < 1e-9)
        // A clock that goes back is not believed.
        #expect(sketch.report(at: time(8)).perSecond > 0)
        #expect(sketch.report(at: time(now + 1_000_000_000_000)).perSecond < 1e-15)
    }

    @Test func whatWasHotGivesWayToWhatIs() {
        var sketch = HotKeySketch(capacity: 4)
        for number in 0..<1_000 { sketch.note(key(1), isRead: true, at: time(UInt64(number))) }
        let later: UInt64 = 60_000_000_000
        for number in 0..<100 { sketch.note(key(2), isRead: false, at: time(later + UInt64(number))) }
        let report = sketch.report(at: time(later + 1_000_000))
        #expect(report.keys.map(\.key) == [key(2), key(1)])
        #expect(report.keys[0].readsPerSecond == 0)
    }

    /// What it costs a request; `TORC_SWEEP=1` prints it.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["TORC_SWEEP"] != nil)) func cost() {
        let rounds = 2_000_000
        for (name, keyCount) in [("one key", 1), ("as many keys as counters", 256), ("100,000 keys in turn", 100_000)] {
            let keys = (0..<keyCount).map(key)
            var sketch = HotKeySketch()
            let clock = ContinuousClock()
            let taken = clock.measure {
                for round in 0..<rounds {
                    sketch.note(keys[round % keyCount], isRead: true, at: time(UInt64(round) * 20_000))
                }
            }
            let nanoseconds = taken / .nanoseconds(1) / Double(rounds)
            print("\(name): \(nanoseconds) ns a request")
            #expect(nanoseconds < 2_000, "\(name)")
        }
    }
}
