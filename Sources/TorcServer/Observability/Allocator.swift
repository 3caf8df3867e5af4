// What the allocator has counted, where it is jemalloc, which keeps such counters: the commands are linked with it, tests are
// not. What threads have in their own caches is counted a little late.

import Glibc

package enum Allocator {
    /// Since the process began.
    package struct Counted: Hashable, Sendable {
        package var allocations: UInt64
        /// As the allocator rounds them up.
        package var bytes: UInt64
    }

    private typealias Control =
        @convention(c) (
            UnsafePointer<CChar>, UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>?, UnsafeMutableRawPointer?, Int
        ) -> Int32

    private static let control: Control? = dlsym(nil, "mallctl").map { unsafeBitCast($0, to: Control.self) }

    /// jemalloc's name for all arenas together.
    private static let allArenas = 4096

    /// Nil where nothing is counted. Looks at every arena: not for every request.
    package static var counted: Counted? {
        guard let control else { return nil }
        // Writing the epoch brings the counters up to date.
        var epoch: UInt64 = 1
        guard control("epoch", nil, nil, &epoch, MemoryLayout<UInt64>.size) == 0 else { return nil }
        func value<Value: FixedWidthInteger>(_ name: String, _ type: Value.Type) -> UInt64? {
            var value: Value = 0
            var size = MemoryLayout<Value>.size
            return control(name, &value, &size, nil, 0) == 0 ? UInt64(value) : nil
        }
        var counted = Counted(allocations: 0, bytes: 0)
        for (count, sizes, requests) in [("nbins", "bin", "bins"), ("nlextents", "lextent", "lextents")] {
            guard let classes = value("arenas.\(count)", UInt32.self) else { return nil }
            for index in 0..<classes {
                guard let size = value("arenas.\(sizes).\(index).size", Int.self),
                    let number = value("stats.arenas.\(allArenas).\(requests).\(index).nrequests", UInt64.self)
                else { return nil }
                counted.allocations += number
                counted.bytes += number * size
            }
        }
        return counted
    }
}
