// How many requests of one connection may be under way, by what their answers may come to. A request to read is short
// and its answer may be a megabyte: a client that sends a hundred in one packet and reads nothing must not make the node
// hold them all. While nothing is known of a connection, each answer is taken to be as large as an object may be. Each
// that comes lets one more request in, and then the largest of late is what counts.

struct AnswerAllowance {
    /// At first so many are let in, however large objects may be.
    private static let fewest = 4
    private static let smallestEstimate = 4 << 10

    private let bytes: Int
    private var estimate = AnswerAllowance.smallestEstimate
    private var most: Int

    /// `answerBytes`: what the answers may come to. `objectBytes`: what one may have.
    init(answerBytes: Int, objectBytes: Int) {
        bytes = answerBytes
        most = max(Self.fewest, answerBytes / max(1, objectBytes))
    }

    /// Whether another request is let in beside those that are under way; one always is.
    func admits(beside open: Int) -> Bool { open == 0 || (open < most && (open + 1) * estimate <= bytes) }

    mutating func answered(bytes answer: Int) {
        estimate = max(answer, estimate - estimate / 16, Self.smallestEstimate)
        most += 1
    }
}
