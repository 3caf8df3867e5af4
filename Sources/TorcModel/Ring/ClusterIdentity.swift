// What tells one cluster and one data folder from another. A node id alone does not: a folder that was
// copied carries the id with it.

/// A cluster, for ever. Nodes and folders of another one are refused.
package struct ClusterID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package var description: String { hexadecimal(rawValue) }
}

/// One data folder: drawn at random when it is made. A copy of the folder has the same one.
package struct StoreID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package var description: String { hexadecimal(rawValue) }
}
