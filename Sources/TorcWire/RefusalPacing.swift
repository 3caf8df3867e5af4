// How long a connection is left alone that was told of too much to do.
//
// A refusal costs a read and a write of a socket, a tenth and more of what a request costs that is done. Clients that ask
// again at once, thousands of them, so take from what could be done; and as a loop reads its sockets in turn, who asks for
// the first time waits behind all of them. So a connection that was refused is not read for a moment: what it sends
// meanwhile waits in its socket and is read in one go. Who waits as he is told notices nothing of it.
//
//   more than `pausesPerInterval` of one loop's connections refused in an interval    the moment doubles
//   fewer than half of that                                                           it halves

package import NIOCore

/// Of one loop, and confined to it. Time is an argument.
package final class RefusalPacing {
    package static let interval = TimeAmount.milliseconds(100)
    /// At some 20 µs each, a fiftieth of a loop's time goes into refusals.
    package static let pausesPerInterval = 100
    package static let shortest = TimeAmount.milliseconds(5)
    package static let longest = TimeAmount.milliseconds(500)

    package private(set) var pause = RefusalPacing.shortest
    private var pauses = 0
    private var intervalEnds = NIODeadline.uptimeNanoseconds(0)

    package init() {}

    /// A connection is told that there is too much to do: for so long it is not read.
    package func refused(at now: NIODeadline) -> TimeAmount {
        if now >= intervalEnds {
            if pauses > Self.pausesPerInterval {
                pause = min(Self.longest, pause * 2)
            } else if pauses < Self.pausesPerInterval / 2 {
                pause = max(Self.shortest, .nanoseconds(pause.nanoseconds / 2))
            }
            // Long after the last one the last moment says nothing.
            if now - intervalEnds > Self.longest { pause = Self.shortest }
            pauses = 0
            intervalEnds = now + Self.interval
        }
        pauses += 1
        return pause
    }
}
