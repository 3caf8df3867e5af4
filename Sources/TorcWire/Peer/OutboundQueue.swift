// What a link has yet to send, in two queues: control (requests, answers, pings: anything small) and bulk
// (messages with bodies above a threshold, and all of repair's). Control is encoded as it comes and leaves first; bulk waits as
// messages, is encoded one at a time when its turn comes, and leaves in frames of 64 KiB, each only when no
// control is left. A control message so waits for what was handed to the channel already, at most the
// channel's high mark and one bulk frame, and for what the kernel holds unsent, which the link bounds too.

package import NIOCore
import TorcModel
package import TorcReplication

/// The two queues of a link. Pure: the link asks for pieces while its channel takes them.
package struct OutboundQueue {
    private let limits: PeerLimits

    /// Frames, the last perhaps still open.
    private var control = ByteBuffer()
    private var openFrame: Int?
    /// What the frames of the last turn came to: the next turn's begin with as much room, instead of growing into it.
    private var controlReserve = 0
    private var bulk = CircularBuffer<PeerMessage>()
    private var bulkBytes = 0
    /// What is left of the bulk message that is being sent.
    private var current: ByteBuffer?

    package init(limits: PeerLimits) { self.limits = limits }

    package var isEmpty: Bool { control.readableBytes == 0 && current == nil && bulk.isEmpty }

    package var queuedBytes: Int { control.readableBytes + bulkBytes + (current?.readableBytes ?? 0) }

    package enum Admission: Hashable, Sendable {
        case queued
        /// Longer than any peer would take: it was dropped.
        case tooLong
        /// The queues are full: the peer reads too slowly, the link must end.
        case full
    }

    package mutating func append(_ message: PeerMessage) -> Admission {
        let size = PeerMessageCodec.sizeBound(of: message)
        if size <= limits.bulkThresholdBytes, !PeerMessageCodec.isBackground(message) {
            appendControl { PeerMessageCodec.encode(message, into: &$0) }
            return queuedBytes > limits.queuedBytes ? .full : .queued
        }
        // The bound is for what waits: a message that finds the queues empty is sent whatever its length.
        guard size <= limits.messageBytes else { return .tooLong }
        guard isEmpty || queuedBytes + size <= limits.queuedBytes else { return .full }
        bulk.append(message)
        bulkBytes += size
        return .queued
    }

    package mutating func append(_ kind: PeerFrameClass, token: UInt64) {
        closeFrame()
        let start = PeerFrame.open(in: &control)
        control.writeInteger(token)
        PeerFrame.close(kind, at: start, in: &control)
    }

    /// What goes to the channel next: one or two buffers, nil when nothing waits.
    package mutating func next() -> (ByteBuffer, ByteBuffer?)? {
        if control.readableBytes > 0 {
            closeFrame()
            let frames = control
            controlReserve = min(frames.readableBytes, limits.bulkFrameBytes)
            control = ByteBuffer()
            return (frames, nil)
        }
        if current == nil, let message = bulk.popFirst() {
            bulkBytes -= PeerMessageCodec.sizeBound(of: message)
            var bytes = ByteBuffer()
            PeerMessageCodec.encode(message, into: &bytes)
            current = bytes
        }
        guard var bytes = current else { return nil }
        let piece = bytes.readSlice(length: min(bytes.readableBytes, limits.bulkFrameBytes))!
        let isLast = bytes.readableBytes == 0
        current = isLast ? nil : bytes
        return (PeerFrame.head(isLast ? .bulkEnd : .bulk, payload: piece), piece)
    }

    private mutating func appendControl(_ write: (inout ByteBuffer) -> Void) {
        if let start = openFrame, control.writerIndex - start - PeerFrame.headBytes >= limits.controlFrameBytes {
            closeFrame()
        }
        if control.readableBytes == 0 { control.reserveCapacity(controlReserve) }
        if openFrame == nil { openFrame = PeerFrame.open(in: &control) }
        write(&control)
    }

    private mutating func closeFrame() {
        guard let start = openFrame else { return }
        PeerFrame.close(.control, at: start, in: &control)
        openFrame = nil
    }
}
