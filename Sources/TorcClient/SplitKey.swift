// One object that too many clients write is spread over several keys, each with replicas of its own: a write goes to any one of
// them, a read takes all and merges. So K parts take about K times the writes, and a read costs K reads.
//
//   SplitKey(visits, parts: 4)     visits␟0  visits␟1  visits␟2  visits␟3        ␟: one byte, 0x1f
//
// It is declared, not found out: all who use the key must spread it over as many parts.

import NIOCore

/// A key that is spread over parts.
public struct SplitKey: Hashable, Sendable {
    /// A read asks for so many objects at the most.
    public static let maximumParts = 64
    /// Stands between the key and the part's number.
    private static let separator: UInt8 = 0x1f

    public let key: TorcKey
    public let parts: Int

    /// - Parameter parts: from 1 to 64, and the same for all who use the key: a part that a reader does not know of is not
    ///   read. More may be declared later, never fewer.
    public init(_ key: TorcKey, parts: Int) {
        precondition((1...Self.maximumParts).contains(parts), "\(parts) parts, not 1 to \(Self.maximumParts)")
        self.key = key
        self.parts = parts
    }

    /// The key of one part.
    public func part(_ number: Int) -> TorcKey {
        precondition((0..<parts).contains(number), "part \(number) of \(parts)")
        var part = key
        part.key.writeInteger(Self.separator)
        part.key.writeString(String(number))
        return part
    }

    public var all: [TorcKey] { (0..<parts).map(part) }
}

extension TorcClient {
    /// Reads all parts and merges them, and what stands in each.
    ///
    /// - Parameter resolver: merges versions of one part and of different ones alike. So what it merges must not say which part it
    ///   came from, or must hold a place for each, as `TorcCounter` does.
    /// - Returns: nil when no part holds anything.
    public func read(
        _ split: SplitKey, resolver: some SiblingResolver, consistency: TorcConsistency? = nil
    ) async throws -> TorcContent? {
        let objects = try await withThrowingTaskGroup(of: TorcObject.self) { tasks in
            for key in split.all { tasks.addTask { try await self.get(key, consistency: consistency) } }
            var objects: [TorcObject] = []
            for try await object in tasks { objects.append(object) }
            return objects
        }
        return try resolver.content(of: objects.flatMap(\.versions))
    }

    /// Updates one part, drawn at random, as `update` of a key does.
    ///
    /// - Parameter change: gets what that part holds and the part's number; nil: nothing.
    @discardableResult
    public func update(
        _ split: SplitKey, resolver: some SiblingResolver, consistency: TorcConsistency? = nil,
        _ change: (TorcContent?, _ part: Int) async throws -> TorcContent?
    ) async throws -> TorcContent? {
        let part = Int.random(in: 0..<split.parts)
        return try await update(split.part(part), resolver: resolver, consistency: consistency) { content in
            try await change(content, part)
        }
    }

    /// Deletes all parts. What is written to a part meanwhile stays.
    public func delete(_ split: SplitKey, consistency: TorcConsistency? = nil) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for key in split.all { tasks.addTask { try await self.delete(key, consistency: consistency) } }
            try await tasks.waitForAll()
        }
    }
}
