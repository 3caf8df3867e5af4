// A counter that clients on all sides of a network partition may raise and lower: each writer keeps its own two sums, nobody else
// touches them, and merging takes the greater of each. The count is the difference of all. (A PN-counter: Shapiro et al.,
// "A comprehensive study of convergent and commutative replicated data types", 2011.)
//
//   one line a writer, sorted:  NAME RAISED LOWERED      phone-7 12 3

import NIOCore

/// The value of a counter.
public struct TorcCounter: Hashable, Sendable {
    /// Writers that one counter holds; a program that has more gives several clients one writer's name in turn, never two at once.
    public static let maximumWriters = 4_096
    /// Of a writer's name, in bytes.
    public static let maximumNameBytes = 128

    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// The value is no counter: something else has been written under its key.
        case notACounter
        case tooManyWriters
        /// A sum would pass 2⁶³.
        case overflow
        /// A name is one word, of 1 to 128 bytes.
        case badName(String)

        public var description: String {
            switch self {
            case .notACounter: "what is stored is no counter: give counters keys of their own"
            case .tooManyWriters: "more than \(TorcCounter.maximumWriters) writers: give clients fixed names"
            case .overflow: "the sum is too large for a counter"
            case .badName(let name):
                "'\(name)' is no writer's name: one word of 1 to \(TorcCounter.maximumNameBytes) bytes"
            }
        }
    }

    private struct Sums: Hashable {
        var raised: Int64 = 0
        var lowered: Int64 = 0
    }

    private var sums: [String: Sums] = [:]

    public init() {}

    public init(_ content: TorcContent?) throws(Failure) {
        guard let content else { return }
        for line in content.text.split(separator: "\n", omittingEmptySubsequences: false) where !line.isEmpty {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 3, Self.isName(words[0]), let raised = Int64(words[1]), let lowered = Int64(words[2]),
                raised >= 0, lowered >= 0, sums[String(words[0])] == nil
            else { throw .notACounter }
            guard sums.count < Self.maximumWriters else { throw .tooManyWriters }
            sums[String(words[0])] = Sums(raised: raised, lowered: lowered)
        }
    }

    public var content: TorcContent {
        let lines = sums.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.raised) \($0.value.lowered)" }
        return TorcContent(lines.joined(separator: "\n"))
    }

    /// The count; nil when it passes what 64 bits hold.
    public var total: Int64? {
        var total: Int64 = 0
        // In one order, so that whether it passes does not depend on a process's hash seed.
        for sum in sums.sorted(by: { $0.key < $1.key }).map(\.value) {
            let (next, overflow) = total.addingReportingOverflow(sum.raised - sum.lowered)
            if overflow { return nil }
            total = next
        }
        return total
    }

    private static func isName(_ name: some StringProtocol) -> Bool {
        (1...maximumNameBytes).contains(name.utf8.count) && !name.contains(where: \.isWhitespace)
    }

    public mutating func add(_ amount: Int64, by writer: String) throws(Failure) {
        guard Self.isName(writer) else { throw .badName(writer) }
        guard sums[writer] != nil || sums.count < Self.maximumWriters else { throw .tooManyWriters }
        var sum = sums[writer] ?? Sums()
        guard amount != .min else { throw .overflow }
        let (next, overflow) = (amount < 0 ? sum.lowered : sum.raised).addingReportingOverflow(amount.magnitude64)
        if overflow { throw .overflow }
        if amount < 0 { sum.lowered = next } else { sum.raised = next }
        sums[writer] = sum
    }

    public mutating func merge(_ other: TorcCounter) throws(Failure) {
        for (writer, sum) in other.sums {
            let own = sums[writer] ?? Sums()
            sums[writer] = Sums(raised: max(own.raised, sum.raised), lowered: max(own.lowered, sum.lowered))
        }
        if sums.count > Self.maximumWriters { throw .tooManyWriters }
    }
}

extension Int64 {
    /// Of anything but the least.
    fileprivate var magnitude64: Int64 { self < 0 ? -self : self }
}

/// Merges counters.
public struct TorcCounterResolver: SiblingResolver {
    public init() {}

    public func resolve(_ versions: [TorcVersion]) throws -> TorcContent {
        var merged = TorcCounter()
        for version in versions { try merged.merge(try TorcCounter(TorcContent(version))) }
        return merged.content
    }
}

extension TorcClient {
    /// Raises a counter that is spread over parts, or lowers it.
    ///
    /// - Parameter writer: a name that nobody else adds under at the same time: concurrent adds of one writer may lose one.
    /// - Throws: `indeterminate` when it may or may not have been added.
    public func add(
        _ amount: Int64, to counter: SplitKey, by writer: String, consistency: TorcConsistency? = nil
    ) async throws {
        try await update(counter, resolver: TorcCounterResolver(), consistency: consistency) { content, part in
            var value = try TorcCounter(content)
            // One sum a part: parts are merged as versions are.
            try value.add(amount, by: "\(writer)/\(part)")
            return value.content
        }
    }

    public func total(of counter: SplitKey, consistency: TorcConsistency? = nil) async throws -> Int64 {
        let content = try await read(counter, resolver: TorcCounterResolver(), consistency: consistency)
        guard let total = try TorcCounter(content).total else { throw TorcCounter.Failure.overflow }
        return total
    }
}
