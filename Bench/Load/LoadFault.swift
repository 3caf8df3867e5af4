// What is done to nodes of this machine while a run measures them.
//
//   kill:node2@5s+3s     ended by kill -9 five seconds into what is measured, started again three seconds later
//   pause:node3@10s+2s   stands still (SIGSTOP) for two seconds

import Foundation

package struct LoadFault: Equatable, Sendable {
    package enum Kind: String, CaseIterable, Sendable { case kill, pause }

    package var kind: Kind
    /// As tools/up names it.
    package var node: String
    /// Seconds into what is measured.
    package var start: Double
    package var seconds: Double

    package var end: Double { start + seconds }

    package init(kind: Kind, node: String, start: Double, seconds: Double) {
        self.kind = kind
        self.node = node
        self.start = start
        self.seconds = seconds
    }

    /// Nil: it is not KIND:NODE@START+LENGTH.
    package init?(_ text: String) {
        guard let match = text.wholeMatch(of: #/(kill|pause):(\w{1,64})@(\d+(?:\.\d+)?)s?\+(\d+(?:\.\d+)?)s?/#),
            let kind = Kind(rawValue: String(match.1)), let start = Double(match.3), let seconds = Double(match.4)
        else { return nil }
        self.init(kind: kind, node: String(match.2), start: start, seconds: seconds)
    }
}

/// All faults of a run.
package struct LoadFaults: Equatable, Sendable {
    package static let largestCount = 100

    /// By their beginning.
    package let faults: [LoadFault]
    /// The data folder of the cluster, as tools/up has it.
    package let cluster: String

    /// Why they cannot be had.
    package struct Refusal: Error, CustomStringConvertible {
        package var description: String
    }

    /// `seconds`: how long is measured. All faults must be over by then, and no node is struck twice at once.
    package init(_ texts: [String], cluster: String, seconds: Double) throws(Refusal) {
        guard texts.count <= Self.largestCount else {
            throw Refusal(description: "\(texts.count) faults: \(Self.largestCount) are the most")
        }
        var faults: [LoadFault] = []
        for text in texts {
            guard let fault = LoadFault(text) else {
                throw Refusal(
                    description: "'\(text)' is not kill:NODE@START+LENGTH or pause:NODE@START+LENGTH, in seconds")
            }
            guard fault.seconds > 0, fault.end <= seconds else {
                throw Refusal(description: "\(text) does not end within the \(seconds) s that are measured")
            }
            faults.append(fault)
        }
        faults.sort { ($0.start, $0.node) < ($1.start, $1.node) }
        for (index, fault) in faults.enumerated() {
            let next = faults[(index + 1)...].first { $0.node == fault.node }
            if let next, next.start < fault.end {
                throw Refusal(description: "\(fault.node) is struck again \(next.start) s in, before \(fault.end) s")
            }
        }
        self.faults = faults
        self.cluster = cluster
    }
}

/// A fault as it was.
package struct StruckFault: Codable, Equatable, Sendable {
    package var kind: String
    package var node: String
    /// Seconds into what is measured: the signal, and when the node ran again. It answers later, when it was killed.
    package var from: Double
    package var to: Double

    package init(kind: String, node: String, from: Double, to: Double) {
        self.kind = kind
        self.node = node
        self.from = from
        self.to = to
    }
}
