// Judges listings. Each comes from one replica of every partition, so during a run it may lag; it must not
// name a key that nobody wrote, and when all replicas are equal it names exactly the live keys, each once.

package struct ListingChecker {
    package init() {}

    /// `keys`: what was listed, nil for a name that is no key of this run.
    package func check(_ keys: [Int?], in history: History) -> Violation? {
        for key in keys {
            guard let key else { return Violation(.wrongListing, "a key is listed that no client named") }
            let wasPut = history.writesByKey[key].contains {
                history.writes[$0].kind == .put && history.writes[$0].mayStand
            }
            if !wasPut { return Violation(.wrongListing, key: key, "k\(key) is listed, and no put to it may stand") }
        }
        return nil
    }

    /// A listing that fails when nothing else does. A loop refuses one more than it holds at once; `others` had
    /// it when this one failed.
    package func checkFailure(others: Int, limit: Int) -> Violation? {
        others >= limit ? nil : Violation(.wrongListing, "a listing fails, with \(others) others where \(limit) may be")
    }

    /// When all replicas are equal. `live`: the keys of the bucket that show a value.
    package func checkFinal(_ keys: [Int], live: [Int]) -> Violation? {
        let listed = keys.sorted()
        if listed == live.sorted() { return nil }
        return Violation(.wrongListing, "listed \(listed.map { "k\($0)" }), live are \(live.sorted().map { "k\($0)" })")
    }
}
