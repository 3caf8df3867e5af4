// What other loops see of a lane's admission window, so that a request whose lane is full is refused where its bytes were read:
// carried to the lane's loop and back, the refusal would wait for two ticks of loops that have too much to do.

import Atomics
import TorcModel

/// Written on the lane's loop, read on all.
final class LaneLoad: Sendable {
    private let full = ManagedAtomic<Bool>(false)
    private let refused = ManagedAtomic<Bool>(false)
    private let waitMicroseconds = ManagedAtomic<Int64>(0)

    /// The lane takes nothing more at present. It may have changed when it is read: the lane itself decides.
    var isFull: Bool {
        get { full.load(ordering: .relaxed) }
        // A line of the cache that all loops read is not written for nothing.
        set(value) { if full.load(ordering: .relaxed) != value { full.store(value, ordering: .relaxed) } }
    }

    /// When it may be worth to ask the lane again.
    var wait: Duration {
        get { .microseconds(waitMicroseconds.load(ordering: .relaxed)) }
        set(value) {
            let count = Int64(value / .microseconds(1))
            if waitMicroseconds.load(ordering: .relaxed) != count { waitMicroseconds.store(count, ordering: .relaxed) }
        }
    }

    /// From any loop: a request was refused, as the lane was full.
    func noteRefusal() { if !refused.load(ordering: .relaxed) { refused.store(true, ordering: .relaxed) } }

    /// Whether any was since this was asked last.
    func takeRefusals() -> Bool {
        refused.load(ordering: .relaxed) && refused.exchange(false, ordering: .relaxed)
    }
}
