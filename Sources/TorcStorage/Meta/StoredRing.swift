// What this node holds of rings, as `meta` keeps it: written when it votes or learns for the first time.

package enum StoredRing {
    package static let key = "ring"
}
