import TestSupport
import Testing
import TorcModel
import TorcReplication

/// Quorum arithmetic as tables: bucket's n, replicas that the ring has, what the request asks -> what is needed.
@Suite struct QuorumTests {
    @Test(arguments: [
        "3 3 | -> r 2 pr 0 back 2, w 2",
        "3 3 | r=1 -> r 1 pr 0 back -, w 2",
        "3 3 | r=all -> r 3 pr 0 back 2, w 2",
        "3 3 | r=0 -> r 1 pr 0 back -, w 2",
        "3 3 | r=1 pr=3 -> r 3 pr 3 back 2, w 2",
        "3 3 | w=1 -> r 2 pr 0 back 2, w 2",
        "3 3 | w=1 dw=0 -> r 2 pr 0 back 2, w 1",
        "3 3 | w=1 dw=1 pw=all -> r 2 pr 0 back 2, w 3",
        "3 3 | node_confirms=3 -> r 2 pr 0 back 2, w 3",
        "3 3 | n=3 -> r 2 pr 0 back 2, w 2",
        "5 5 | r=quorum w=one dw=one -> r 3 pr 0 back 3, w 1",
        "1 1 | -> r 1 pr 0 back 1, w 1",
        "3 1 | -> r 1 pr 0 back 1, w 1",
        "3 2 | r=all -> r 2 pr 0 back 2, w 2",
        "3 1 | r=3 -> r 3 pr 0 back 1, w 1",
        "3 3 | r=4 -> refused r 4 of 3",
        "3 3 | w=4 -> refused w 4 of 3",
        "3 3 | pr=7 -> refused pr 7 of 3",
        "3 3 | node_confirms=4 -> refused node_confirms 4 of 3",
        "3 3 | n=2 -> refused n_val 2 of 3",
        "3 3 | n=4 -> refused n_val 4 of 3",
    ])
    func table(_ row: String) throws {
        let sides = row.split(separator: "->", maxSplits: 1).map { $0.trimmed }
        let left = sides[0].split(separator: "|", maxSplits: 1, omittingEmptySubsequences: false).map { $0.trimmed }
        let numbers = left[0].split(separator: " ").map { Int($0)! }
        var properties = BucketProperties()
        properties.n = UInt8(numbers[0])
        let options = CoordinatorDialogue.options(left[1])
        var line: String
        do throws(Refusal) {
            let quorums = try Quorums(options: options, properties: properties, replicaCount: numbers[1])
            let read = try quorums.read()
            line = "r \(read.needed) pr \(read.primaries) back \(read.writeBack.map(String.init) ?? "-")"
            line += ", w \(try quorums.write().copies)"
        } catch {
            guard case .invalidQuorum(let name, let asked, let n) = error else { throw error }
            line = "refused \(name) \(asked) of \(n)"
        }
        #expect(line == sides[1])
    }

    @Test func conditionsAreReadAtAMajority() throws {
        let options = CoordinatorDialogue.options("r=1 notfound_ok=false")
        let quorums = try Quorums(options: options, properties: BucketProperties(), replicaCount: 3)
        let read = try quorums.readBeforeCondition()
        #expect(read.needed == 2 && read.notFoundOK && read.writeBack == nil)
    }

    @Test func patienceSettlesWhereOneInAHundredIsSlower() {
        var estimate = LatencyEstimate()
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<200_000 {
            estimate.record(.microseconds(Int.random(in: 2_000..<12_000, using: &generator)))
        }
        #expect(estimate.patience > .microseconds(11_000) && estimate.patience < .microseconds(13_500))
        for _ in 0..<200_000 { estimate.record(.microseconds(10)) }
        #expect(estimate.patience == .milliseconds(1))
    }
}

extension Substring {
    fileprivate var trimmed: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
