// Listings over HTTP, written as they come: a list of a million keys is never in memory as a whole, neither
// as one JSON text nor as a stream of them.
//
//   keys=true     {"keys":["a","b", … ,"z"]}
//   keys=stream   {"keys":["a","b"]}{"keys":["c"]} … {"keys":[]}

package import HTTPTypes
package import NIOCore
import TorcModel
package import TorcReplication

package struct RiakHTTPListing: Sendable {
    package let request: ListRequest
    /// Nil: the server's default.
    package let timeout: Duration?
    private let isStreaming: Bool
    private var filter = BucketNameFilter()
    private var hasBegun = false
    private var hasNames = false

    /// What to do with a piece of the listing.
    package enum Step: Hashable, Sendable {
        /// Send this (it may be empty), then ask for the next piece.
        case chunk(ByteBuffer)
        /// Send this, and the response is complete.
        case last(ByteBuffer)
        /// Nothing has been sent yet: answer with this instead.
        case failed(RiakHTTPResponse)
        /// The listing broke off and the text cannot say so: close the connection without ending the response.
        case broken
    }

    init(_ request: ListRequest, timeout: Duration?, isStreaming: Bool) {
        self.request = request
        self.timeout = timeout
        self.isStreaming = isStreaming
    }

    private var field: String {
        switch request.subject {
        case .keys: "keys"
        case .buckets: "buckets"
        }
    }

    /// The response's head: send it before the first chunk, unless that is `failed`.
    package var head: HTTPResponse {
        HTTPResponse(status: .ok, headerFields: [.contentType: "application/json"])
    }

    package mutating func take(_ piece: ListPiece) -> Step {
        defer { hasBegun = true }
        switch piece {
        case .items(let items):
            let names: [ByteBuffer]
            if case .buckets = request.subject { names = filter.newNames(items) } else { names = items }
            if isStreaming {
                return .chunk(names.isEmpty ? ByteBuffer() : ByteBuffer(string: object(names)))
            }
            var text = hasBegun ? "" : "{\"\(field)\":["
            for name in names {
                if hasNames { text += "," }
                text += Self.quoted(name)
                hasNames = true
            }
            return .chunk(ByteBuffer(string: text))
        // Nobody asks for the order here, so nothing pauses.
        case .done, .paused:
            if isStreaming { return .last(ByteBuffer(string: object([]))) }
            return .last(ByteBuffer(string: (hasBegun ? "" : "{\"\(field)\":[") + "]}"))
        case .failed(let partition):
            let message = RiakText.listingFailed(partition)
            if !hasBegun { return .failed(.text(.serviceUnavailable, message)) }
            if isStreaming {
                return .last(ByteBuffer(string: JSONValue.object([("error", .string(message))]).text))
            }
            return .broken
        }
    }

    private func object(_ names: [ByteBuffer]) -> String {
        "{\"\(field)\":[" + names.map(Self.quoted).joined(separator: ",") + "]}"
    }

    /// A name that is no UTF-8 is written percent-encoded: JSON has no other way to carry it.
    private static func quoted(_ name: ByteBuffer) -> String {
        let text = String(validating: name.readableBytesView, as: UTF8.self)
        return JSONValue.quoted(text ?? PercentCoding.encode(name))
    }
}
