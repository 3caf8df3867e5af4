// The processor time of the measured nodes, when they run on the generator's machine: throughput alone says
// little where generator and nodes share the cores.

import Foundation

final class CPUMeter {
    private let processes: [Int]
    private var begun: Double?
    /// Between `begin` and `end`; nil when there is nothing to report.
    private(set) var seconds: Double?

    init(processes: [Int]) { self.processes = processes }

    func begin() { begun = total() }

    func end() {
        if let begun, let now = total() { seconds = now - begun }
    }

    /// User and system time of all processes; nil when there are none, or one is gone.
    private func total() -> Double? {
        guard !processes.isEmpty else { return nil }
        var ticks = 0.0
        for process in processes {
            // The command's name may hold spaces; fields are counted from behind its closing parenthesis.
            guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
                let fields = text.split(separator: ")").last?.split(separator: " "), fields.count > 12,
                let user = Double(fields[11]), let system = Double(fields[12])
            else { return nil }
            ticks += user + system
        }
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
