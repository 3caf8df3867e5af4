// The resident memory of the measured nodes, when they run on the generator's machine.

import Foundation

struct MemoryMeter: Sendable {
    let processes: [Int]

    /// Of all processes together; 0 when there are none.
    var mebibytes: Double {
        var pages = 0.0
        for process in processes {
            // size resident shared …, in pages
            guard let text = try? String(contentsOfFile: "/proc/\(process)/statm", encoding: .utf8),
                let resident = text.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
            else { continue }
            pages += resident
        }
        return pages * Double(sysconf(Int32(_SC_PAGESIZE))) / 1_048_576
    }

    /// Looks again and again until it is told to finish.
    func watch(every interval: Duration) -> Watch {
        Watch(
            task: Task {
                var seen: [Double] = []
                while !Task.isCancelled, !processes.isEmpty, seen.count < Watch.largestCount {
                    seen.append(mebibytes)
                    try? await Task.sleep(for: interval)
                }
                return seen
            })
    }

    struct Watch {
        static let largestCount = 10_000
        fileprivate let task: Task<[Double], Never>

        func finish() async -> [Double] {
            task.cancel()
            return await task.value
        }
    }
}
