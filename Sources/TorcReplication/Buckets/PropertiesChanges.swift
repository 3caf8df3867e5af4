// An operator's change to the properties of a bucket or a type: what it comes to, and why it may be refused. The control
// machine makes them while the node runs, and whoever mends a folder while it does not.

package import TorcModel

extension PropertiesTable {
    /// What a change makes of a scope, stamped above what is set now. `holdsData`: a key of the scope is known. `members`: of the
    /// cluster.
    package func changed(
        _ scope: PropertiesScope, by change: PropertiesChange, holdsData: Bool, members: Int, at wall: WallTime,
        by node: NodeID
    ) -> Result<PropertiesEntry, PropertiesRefusal> {
        if scope.isReserved(against: change) { return .failure(.reservedType) }
        let next = self[scope].changed(by: change)
        if let refusal = refusal(of: next, on: scope, holdsData: holdsData, members: members) {
            return .failure(refusal)
        }
        return .success(
            PropertiesEntry(
                scope: scope.canonical,
                versioned: VersionedProperties(properties: next, stamp: stamp(above: scope, at: wall), setBy: node)))
    }

    func refusal(
        of next: BucketProperties, on scope: PropertiesScope, holdsData: Bool, members: Int
    ) -> PropertiesRefusal? {
        let present = self[scope]
        let limit = min(BucketProperties.maximumCopies, members)
        if next.n != present.n {
            if holdsData { return .copiesFixed }
            guard (1...limit).contains(Int(next.n)) else { return .invalidCopies(asked: Int(next.n), limit: limit) }
        }
        if present.conflictMode == .lww, next.conflictMode == .siblings { return .conflictModeFixed }
        if let refusal = next.refusal { return refusal }
        if versioned(scope) == nil, count >= Control.maximumScopes {
            return .tooManyScopes(limit: Control.maximumScopes)
        }
        return nil
    }

    /// Above what is set now, whatever the clock says: an operator's change is never lost to a clock.
    func stamp(above scope: PropertiesScope, at wall: WallTime) -> HybridTimestamp {
        let floor = versioned(scope)?.stamp ?? .zero
        return HybridTimestamp.mint(wall: wall, above: floor)
            ?? HybridTimestamp(rawValue: floor.rawValue == .max ? .max : floor.rawValue + 1)
    }
}

extension PropertiesScope {
    /// Whether a change takes the type of Redis's databases for one of its own: for siblings, or for another bucket.
    fileprivate func isReserved(against change: PropertiesChange) -> Bool {
        switch self {
        case .type(let type): type == BucketID.redisTypeName && change.conflictMode == .siblings
        case .bucket(let bucket):
            bucket.type == BucketID.redisTypeName
                && (change.conflictMode == .siblings || !BucketID.isRedisDatabase(bucket.name))
        }
    }
}

extension BucketProperties {
    package func changed(by change: PropertiesChange) -> BucketProperties {
        var next = self
        next.n = change.n ?? n
        next.conflictMode = change.conflictMode ?? conflictMode
        next.r = change.r ?? r
        next.w = change.w ?? w
        next.pr = change.pr ?? pr
        next.pw = change.pw ?? pw
        next.dw = change.dw ?? dw
        next.rw = change.rw ?? rw
        next.nodeConfirms = change.nodeConfirms ?? nodeConfirms
        next.notFoundOK = change.notFoundOK ?? notFoundOK
        next.basicQuorum = change.basicQuorum ?? basicQuorum
        next.oneCacheMilliseconds = change.oneCacheMilliseconds ?? oneCacheMilliseconds
        return next
    }
}
