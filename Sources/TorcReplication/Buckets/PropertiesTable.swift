// The properties of buckets and types, as one node knows them. Every node merges what it hears, and all come
// to the same table, whatever the order: of two entries for one scope the later stamp wins, the setter's id
// breaks a tie, and `lww` sticks, because a bucket that was one for a moment has dropped versions for ever.

package import NIOCore
package import TorcModel

/// What is set on scopes; what is not set is inherited: bucket, type, build.
package struct PropertiesTable: Hashable, Sendable {
    private var entries: [PropertiesScope: VersionedProperties] = [:]

    package init() {}

    package init(_ entries: some Sequence<PropertiesEntry>) {
        for entry in entries { merge(entry) }
    }

    package var count: Int { entries.count }

    /// Some bucket, or type, lets reads at ONE be answered from memory.
    var cachesOne: Bool { entries.values.contains { $0.properties.oneCacheMilliseconds > 0 } }

    package func versioned(_ scope: PropertiesScope) -> VersionedProperties? { entries[scope.canonical] }

    /// All entries, ascending by scope.
    package var sorted: [PropertiesEntry] {
        entries.map { PropertiesEntry(scope: $0.key, versioned: $0.value) }.sorted { $0.scope < $1.scope }
    }

    /// A bucket's effective properties.
    package subscript(bucket: BucketID) -> BucketProperties {
        if entries.isEmpty { return Self.built(bucket.type) }
        var properties = effective(entries[.bucket(bucket)], inherited: inheritedByBuckets(of: bucket))
        // Redis's clients know no siblings.
        if bucket.type == BucketID.redisTypeName { properties.conflictMode = .lww }
        return properties
    }

    /// Those of a key's bucket, which need not be named while nothing is set on any.
    package subscript(bucketOf key: ObjectKey) -> BucketProperties {
        entries.isEmpty && key.isOfDefaultType ? BucketProperties() : self[key.bucket]
    }

    /// A type's effective properties.
    package subscript(scope: PropertiesScope) -> BucketProperties {
        switch scope.canonical {
        case .bucket(let bucket): self[bucket]
        case .type(let type): self.type(type)
        }
    }

    package func type(_ type: ByteBuffer) -> BucketProperties {
        effective(entries[PropertiesScope.type(type).canonical], inherited: Self.built(type))
    }

    /// What a scope has when nothing is set on it.
    package func inherited(by scope: PropertiesScope) -> BucketProperties {
        switch scope.canonical {
        case .bucket(let bucket): inheritedByBuckets(of: bucket)
        case .type(let type): Self.built(type)
        }
    }

    /// Takes an entry in; whether that changed anything.
    @discardableResult
    package mutating func merge(_ entry: PropertiesEntry) -> Bool {
        let scope = entry.scope.canonical
        guard let held = entries[scope] else {
            entries[scope] = entry.versioned
            return true
        }
        let merged = held.merged(with: entry.versioned)
        if merged == held { return false }
        entries[scope] = merged
        return true
    }

    private func inheritedByBuckets(of bucket: BucketID) -> BucketProperties {
        effective(entries[.type(bucket.type)], inherited: Self.built(bucket.type))
    }

    /// What a type has that nobody said anything of.
    private static func built(_ type: ByteBuffer) -> BucketProperties {
        var properties = BucketProperties()
        if type == BucketID.redisTypeName { properties.conflictMode = .lww }
        return properties
    }

    private func effective(_ own: VersionedProperties?, inherited: BucketProperties) -> BucketProperties {
        guard let own else { return inherited }
        guard own.inherits else { return own.properties }
        var properties = inherited
        if own.properties.conflictMode == .lww { properties.conflictMode = .lww }
        return properties
    }
}

extension VersionedProperties {
    package func merged(with other: VersionedProperties) -> VersionedProperties {
        var winner = isOlder(than: other) ? other : self
        if properties.conflictMode == .lww || other.properties.conflictMode == .lww {
            winner.properties.conflictMode = .lww
        }
        return winner
    }

    /// Stamp, setter; and for two entries that share both, which no node makes, their bytes: the order is total.
    private func isOlder(than other: VersionedProperties) -> Bool {
        if stamp != other.stamp { return stamp < other.stamp }
        if setBy != other.setBy { return setBy < other.setBy }
        return bytesWithoutMode.lexicographicallyPrecedes(other.bytesWithoutMode)
    }
}

extension PropertiesScope: Comparable {
    /// The default type has one name, the empty one.
    package var canonical: PropertiesScope {
        if case .type(BucketID.defaultTypeName) = self { .type(ByteBuffer()) } else { self }
    }

    /// Types before buckets.
    package static func < (lhs: Self, rhs: Self) -> Bool {
        switch (lhs, rhs) {
        case (.type(let left), .type(let right)): left.lexicographicallyPrecedes(right)
        case (.bucket(let left), .bucket(let right)): left < right
        case (.type, .bucket): true
        case (.bucket, .type): false
        }
    }
}
