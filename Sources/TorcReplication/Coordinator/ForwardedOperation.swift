// A write that this node sent on, because it holds no replica of the key. It is sent once, to one node:
// whoever sends a write twice cannot know that it is not coordinated twice, as two writes. When that node
// goes silent after it was sent the write may or may not stand, and the client is told so. Only a replica that says it
// could not read its record has certainly done nothing: then another is asked.

import TorcModel

struct ForwardedOperation: Sendable {
    var writer: Writer
    let target: NodeID
    let needed: Int
    let deadline: MonotonicTime
    /// Sent to another, should this one say that it has done nothing.
    let request: ClientRequest
    let properties: BucketProperties
    /// Replicas that cannot read their record, the target not among them.
    var unreadable: [NodeID] = []

    /// The target may have coordinated it, or not.
    var lost: WriteAnswer { .indeterminate(copies: 0, needed: needed) }
}
