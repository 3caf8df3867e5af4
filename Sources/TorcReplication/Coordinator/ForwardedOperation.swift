// A write that this node sent on, because it holds no replica of the key. It is sent once, to one node:
// whoever sends a write twice cannot know that it is not coordinated twice, as two writes. When that node
// goes silent after it was sent the write may or may not stand, and the client is told so.

import TorcModel

struct ForwardedOperation: Sendable {
    var writer: Writer
    let target: NodeID
    let needed: Int
    let deadline: MonotonicTime
    /// Kept only to be sent again by a deliberate fault.
    var request: ForwardedWrite?

    /// The target may have coordinated it, or not.
    var lost: WriteAnswer { .indeterminate(copies: 0, needed: needed) }
}
