import Foundation
import NIOCore
import TorcModel

/// The machine's clocks, as the core wants them.
enum NodeClock {
    static func now() -> Now { Now(monotonic: monotonic(), wall: wall()) }

    /// NIO's own clock, so that a deadline of the core is one of the event loop.
    static func monotonic() -> MonotonicTime { MonotonicTime(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    static func wall() -> WallTime {
        WallTime(microseconds: UInt64(max(0, Date().timeIntervalSince1970) * 1_000_000))
    }
}
