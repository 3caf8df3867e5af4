// Which forwarded writes this lane has taken already. The network may repeat a message within a link, and a
// write that is coordinated twice makes a false sibling or, later, destroys a newer version (riak_kv#1754).
//
// For each sender the last ids are remembered. An id that is not, and is not above the largest one that was
// forgotten, may be a repeat, and is treated as one: its sender hears nothing and reports the write
// indeterminate, which is safe. Numbers begin anew with each incarnation; the link layer delivers nothing of
// an earlier one once it has delivered something of a later one, so a new incarnation starts a new window.

import DequeModule
package import TorcModel

package struct ForwardWindow: Sendable {
    /// Ids remembered for each lane of each sender; more in reordered flight at once are given up.
    package static let remembered = 4_096

    private struct Sender: Hashable {
        var node: NodeID
        var lane: Int
    }

    private struct Window {
        var incarnation: Incarnation
        var known: Set<OperationID> = []
        var order: Deque<OperationID> = []
        var forgotten: OperationID?
    }

    private var windows: [Sender: Window] = [:]

    package init() {}

    /// Whether the write is here for the first time; then it is remembered.
    package mutating func admit(_ operation: OperationID, from node: NodeID, incarnation: Incarnation) -> Bool {
        let sender = Sender(node: node, lane: operation.lane)
        return Self.admit(operation, incarnation, &windows[sender, default: Window(incarnation: incarnation)])
    }

    private static func admit(_ operation: OperationID, _ incarnation: Incarnation, _ window: inout Window) -> Bool {
        if window.incarnation != incarnation { window = Window(incarnation: incarnation) }
        if let forgotten = window.forgotten, operation <= forgotten { return false }
        guard window.known.insert(operation).inserted else { return false }
        window.order.append(operation)
        if window.order.count > remembered, let oldest = window.order.popFirst() {
            window.known.remove(oldest)
            window.forgotten = max(window.forgotten ?? oldest, oldest)
        }
        return true
    }

    /// Who is gone for good forwards no more. A member that left may: its last ones may still be repeated.
    mutating func forget(_ isGone: (NodeID) -> Bool) {
        windows = windows.filter { !isGone($0.key.node) }
    }
}
