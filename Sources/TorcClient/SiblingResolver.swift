// What a program makes of versions that stand beside each other: a resolver merges them into one, and `update` reads, resolves,
// changes and writes, again if somebody else has written meanwhile.
//
// Whoever resolves must come to the same whatever the order of the versions: two clients may resolve the same siblings at the
// same time, and their results become siblings that are resolved again.

public import NIOCore

/// What a version holds, without its place in history.
public struct TorcContent: Hashable, Sendable {
    public var value: ByteBuffer
    public var contentType: String
    /// The program's own names and values.
    public var userMetadata: [String: String]

    public init(
        _ value: ByteBuffer, contentType: String = "application/octet-stream", userMetadata: [String: String] = [:]
    ) {
        self.value = value
        self.contentType = contentType
        self.userMetadata = userMetadata
    }

    /// UTF-8.
    public init(_ text: String) { self.init(ByteBuffer(string: text), contentType: "text/plain") }

    public init(_ version: TorcVersion) {
        self.init(
            version.value, contentType: version.contentType,
            userMetadata: Dictionary(version.userMetadata.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 }))
    }

    public var text: String { String(buffer: value) }
}

/// Merges versions that were written concurrently into one.
public protocol SiblingResolver: Sendable {
    /// Called with two versions or more, in no particular order. Throw what makes no sense: nothing is written then.
    func resolve(_ versions: [TorcVersion]) throws -> TorcContent
}

/// The version that was written last, by the clocks of the nodes that coordinated the writes; the others are dropped. For values
/// of which any is as good as any, as of a cache. In a bucket of mode `lww` the nodes do the same, and cheaper.
public struct LatestVersion: SiblingResolver {
    public init() {}

    public func resolve(_ versions: [TorcVersion]) -> TorcContent {
        // Two of one instant are told apart by their tags, so that everybody takes the same.
        let latest = versions.max {
            ($0.lastModifiedMicroseconds, $0.tag) < ($1.lastModifiedMicroseconds, $1.tag)
        }
        return latest.map { TorcContent($0) } ?? TorcContent(ByteBuffer())
    }
}

/// Values that are sets of lines: the union of them all, sorted. An element that one client removed while another wrote the set
/// comes back; sets from which things are removed need a value that remembers what was removed.
public struct UnionOfLines: SiblingResolver {
    public init() {}

    public func resolve(_ versions: [TorcVersion]) -> TorcContent {
        Self.content(versions.reduce(into: []) { $0.formUnion(Self.lines(TorcContent($1))) })
    }

    /// The elements of a value; none of nothing.
    public static func lines(_ content: TorcContent?) -> Set<String> {
        Set((content?.text ?? "").split(separator: "\n").map(String.init))
    }

    public static func content(_ lines: Set<String>) -> TorcContent {
        TorcContent(lines.sorted().joined(separator: "\n"))
    }
}

extension SiblingResolver {
    /// What versions come to: nil of none, the one, or what is made of several. Deletions that stand beside versions count for
    /// nothing.
    public func content(of versions: [TorcVersion]) throws -> TorcContent? {
        let standing = versions.filter { !$0.isDeleted }
        if standing.count > 1 { return try resolve(standing) }
        return standing.first.map { TorcContent($0) }
    }
}

extension TorcClient {
    /// How often an update begins anew before it gives up.
    public static let updateAttempts = 16
    /// Before it begins anew it waits up to so long, and twice as long each time until eight times.
    private static let updatePauseMilliseconds = 4

    /// Reads an object and resolves its siblings. Nil when there is none.
    public func read(
        _ key: TorcKey, resolver: some SiblingResolver, consistency: TorcConsistency? = nil
    ) async throws -> TorcContent? {
        try resolver.content(of: try await get(key, consistency: consistency).versions)
    }

    /// Reads an object, resolves its siblings, lets `change` make something else of it, and writes that under the condition that
    /// nobody has written meanwhile; if somebody has, all over again. If in spite of the condition others have written at
    /// the same time (it is checked by quorums and is no consensus), what they wrote stands beside it and is resolved, too.
    ///
    /// - Parameters:
    ///   - change: gets nil when there is no object, and returns nil to delete it. It may be called several times, and is not
    ///     called again once what it returned may stand.
    /// - Returns: what was written; nil when it was deleted, or there was nothing.
    /// - Throws: `conditionFailed` when others have come first `updateAttempts` times: nothing was written. `indeterminate` when
    ///   the change may or may not stand; after that a change that must not be made twice has to look first. What `resolver`
    ///   and `change` throw.
    @discardableResult
    public func update(
        _ key: TorcKey, resolver: some SiblingResolver, consistency: TorcConsistency? = nil,
        _ change: (TorcContent?) async throws -> TorcContent?
    ) async throws -> TorcContent? {
        var failure = TorcError.conditionFailed("others have written first, again and again")
        for attempt in 0..<Self.updateAttempts {
            if attempt > 0 { try await pause(before: attempt) }
            let object = try await get(key, consistency: consistency)
            let current = try resolver.content(of: object.versions)
            guard let next = try await change(current) else {
                if current != nil { try await delete(key, context: object.context, consistency: consistency) }
                return nil
            }
            do throws(TorcError) {
                let after = try await write(next, to: key, over: object, consistency)
                if after.versions.count < 2 { return next }
            } catch {
                guard case .conditionFailed = error else { throw error }
                failure = error
                continue
            }
            // The change stands, beside something else.
            return try await resolved(key, resolver, consistency) ?? next
        }
        throw failure
    }

    /// Makes one of what stands. That it is not made one is no failure: the next reader resolves it as well.
    private func resolved(
        _ key: TorcKey, _ resolver: some SiblingResolver, _ consistency: TorcConsistency?
    ) async throws -> TorcContent? {
        var merged: TorcContent?
        for attempt in 0..<Self.updateAttempts {
            if attempt > 0 { try await pause(before: attempt) }
            guard let object = try? await get(key, consistency: consistency) else { return merged }
            merged = try resolver.content(of: object.versions)
            guard object.versions.count > 1, let merged else { return merged }
            guard let after = try? await write(merged, to: key, over: object, consistency), after.versions.count > 1
            else { return merged }
        }
        return merged
    }

    private func write(
        _ content: TorcContent, to key: TorcKey, over object: TorcObject, _ consistency: TorcConsistency?
    ) async throws(TorcError) -> TorcObject {
        try await put(
            content.value, to: key, contentType: content.contentType, context: object.context,
            condition: object.isFound ? .ifUnmodified : .ifAbsent, consistency: consistency,
            userMetadata: content.userMetadata.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) },
            returning: .head
        ).object
    }

    /// Those that were in each other's way do not meet again at the same instant.
    private func pause(before attempt: Int) async throws {
        let most = Self.updatePauseMilliseconds << min(attempt - 1, 3)
        try await Task.sleep(for: .microseconds(Int.random(in: 0...most * 1_000)))
    }
}
