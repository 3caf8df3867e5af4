// Riak's HTTP interface as pure translation: a request's head and body in, what the node shall do out, and
// back. It opens no connection and knows no server framework.
//
//   GET / · /ping · /stats
//   GET HEAD PUT POST DELETE  [/types/T]/buckets/B/keys/K      POST  [/types/T]/buckets/B/keys
//   GET  …/keys?keys=true|stream   GET  [/types/T]/buckets?buckets=true|stream   GET  …/keys/K/preflist
//   GET PUT DELETE  …/buckets/B/props      GET PUT  /types/T/props
//   /riak/B/K, /riak/B, /riak?buckets=true: the same, spelled as before Riak 1.0
//
// As in Riak a `+` in a path is a space; a slash in a name is `%2F`. Unknown query parameters and headers are
// passed over.

package import HTTPTypes
package import NIOCore
package import TorcModel
package import TorcReplication

/// A request that is answered with a status of its own.
struct RiakHTTPFailure: Error {
    var response: RiakHTTPResponse

    init(_ response: RiakHTTPResponse) { self.response = response }
    init(_ status: HTTPResponse.Status, _ message: String) { response = .text(status, message) }
}

package struct RiakHTTPTranslator: Sendable {
    /// Query parameters beyond these are not looked at.
    static let maximumQueryItems = 64

    let clusterKey: ClusterKey

    package init(clusterKey: ClusterKey) { self.clusterKey = clusterKey }

    /// What a request asks. `keyEntropy` gives 128 random bits for a key that the server makes.
    package func parse(
        _ head: HTTPRequest, body: ByteBuffer, keyEntropy: () -> (UInt64, UInt64)
    ) -> RiakHTTPRequest {
        do throws(RiakHTTPFailure) {
            return try route(RiakHTTPTarget(head), body, keyEntropy)
        } catch {
            return .answered(error.response)
        }
    }

    private func route(
        _ target: RiakHTTPTarget, _ body: ByteBuffer, _ keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        var path = target.path[...]
        guard let first = path.first else {
            try target.allow(.get, .head)
            return .answered(Self.resources)
        }
        switch first {
        case "ping" where path.count == 1:
            try target.allow(.get, .head)
            return .ping
        case "stats" where path.count == 1:
            try target.allow(.get, .head)
            return .stats
        case "riak":
            return try legacy(target, path.dropFirst(), body, keyEntropy)
        case "types":
            path = path.dropFirst()
            guard let name = path.popFirst() else { throw Self.noSuchPath }
            let type = try Self.checked { () throws(RiakRequestError) in try RiakNames.type(name) }
            if path.count == 1, path.allSatisfy({ $0 == "props" }) {
                return try properties(.type(type), target, body, canReset: false)
            }
            return try buckets(type: type, target, path, body, keyEntropy)
        default: return try buckets(type: nil, target, path, body, keyEntropy)
        }
    }

    /// `buckets…`, after the type.
    private func buckets(
        type: ByteBuffer?, _ target: RiakHTTPTarget, _ path: ArraySlice<ByteBuffer>, _ body: ByteBuffer,
        _ keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        let type = type?.readableBytes == 0 ? nil : type
        let parts = Array(path)
        guard let first = parts.first, first == "buckets" else { throw Self.noSuchPath }
        if parts.count == 1 { return try bucketList(type: type, target) }
        let bucket = try Self.checked { () throws(RiakRequestError) in
            try RiakNames.bucket(type: type, name: parts[1])
        }
        guard parts.count > 2 else { throw Self.noSuchPath }
        switch (parts[2], parts.count) {
        case ("props", 3): return try properties(.bucket(bucket), target, body, canReset: true)
        case ("keys", 3):
            if target.method == .post { return try object(target, bucket, nil, .buckets, body, keyEntropy) }
            return try keyList(bucket, target)
        case ("keys", 4): return try object(target, bucket, parts[3], .buckets, body, keyEntropy)
        case ("keys", 5) where parts[4] == "preflist":
            try target.allow(.get, .head)
            return .preferenceList(
                try Self.checked { () throws(RiakRequestError) in
                    try RiakNames.object(type: type, bucket: parts[1], key: parts[3])
                })
        default: throw Self.noSuchPath
        }
    }

    private func legacy(
        _ target: RiakHTTPTarget, _ path: ArraySlice<ByteBuffer>, _ body: ByteBuffer,
        _ keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        let parts = Array(path)
        if parts.isEmpty { return try bucketList(type: nil, target) }
        let bucket = try Self.checked { () throws(RiakRequestError) in
            try RiakNames.bucket(type: nil, name: parts[0])
        }
        switch parts.count {
        case 2: return try object(target, bucket, parts[1], .legacy, body, keyEntropy)
        case 1:
            if target.method == .post { return try object(target, bucket, nil, .legacy, body, keyEntropy) }
            if target.method == .get, let keys = target.query["keys"], keys != "false" {
                return try keyList(bucket, target)
            }
            return try properties(.bucket(bucket), target, body, canReset: true)
        default: throw Self.noSuchPath
        }
    }

    private func keyList(_ bucket: BucketID, _ target: RiakHTTPTarget) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        try target.allow(.get)
        return try list(.keys(bucket), field: "keys", target)
    }

    private func bucketList(type: ByteBuffer?, _ target: RiakHTTPTarget) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        try target.allow(.get)
        return try list(.buckets(type: type ?? ByteBuffer()), field: "buckets", target)
    }

    /// Listing walks the whole store, so it has to be asked for by name.
    private func list(
        _ subject: PageRequest.Subject, field: String, _ target: RiakHTTPTarget
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        let timeout = try target.timeout
        switch target.query[field] {
        case "true":
            return .list(RiakHTTPListing(ListRequest(subject: subject), timeout: timeout, isStreaming: false))
        case "stream":
            return .list(RiakHTTPListing(ListRequest(subject: subject), timeout: timeout, isStreaming: true))
        default: return .answered(.json(.object([])))
        }
    }

    private func properties(
        _ scope: PropertiesScope, _ target: RiakHTTPTarget, _ body: ByteBuffer, canReset: Bool
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        if canReset {
            try target.allow(.get, .head, .put, .delete)
        } else {
            try target.allow(.get, .head, .put)
        }
        switch target.method {
        case .put: return .setProperties(scope, try PropertiesChange(json: body))
        case .delete: return .resetProperties(scope)
        default: return .properties(scope)
        }
    }

    static let noSuchPath = RiakHTTPFailure(.notFound, "not found")

    static func checked<Value>(_ make: () throws(RiakRequestError) -> Value) throws(RiakHTTPFailure) -> Value {
        do {
            return try make()
        } catch {
            throw RiakHTTPFailure(.badRequest, error.message)
        }
    }

    // MARK: Answers that concern no object

    /// What clients look up before they ask: which parts of the interface are there, and where.
    private static let resources = RiakHTTPResponse.json(
        .object([
            ("riak_kv_wm_bucket_type", .string("/types")), ("riak_kv_wm_buckets", .string("/buckets")),
            ("riak_kv_wm_bucketlist", .string("/buckets")), ("riak_kv_wm_keylist", .string("/buckets")),
            ("riak_kv_wm_object", .string("/buckets")), ("riak_kv_wm_ping", .string("/ping")),
            ("riak_kv_wm_preflist", .string("/buckets")), ("riak_kv_wm_props", .string("/buckets")),
            ("riak_kv_wm_raw", .string("/riak")), ("riak_kv_wm_stats", .string("/stats")),
        ]))

    package static let pong = RiakHTTPResponse(.ok, [.contentType: "text/plain"], body: ByteBuffer(string: "OK"))

    /// The node's own figures, and the version that clients look for among them.
    package func stats(_ figures: [(String, JSONValue)]) -> RiakHTTPResponse {
        .json(.object([("riak_kv_version", .string(RiakText.serverVersion))] + figures))
    }

    package func properties(_ properties: BucketProperties, of scope: PropertiesScope) -> RiakHTTPResponse {
        .json(.object([("props", properties.json(of: scope))]))
    }

    package func changed(_ answer: PropertiesAnswer) -> RiakHTTPResponse {
        switch answer {
        case .stored: RiakHTTPResponse(.noContent)
        case .indeterminate(let copies, let needed):
            .text(.serviceUnavailable, RiakText.indeterminate(copies: copies, needed: needed))
        case .refused(.shuttingDown): .text(.serviceUnavailable, RiakText.shuttingDown)
        case .refused(let refusal): .text(.badRequest, RiakText.text(of: refusal))
        }
    }

    package func preferenceList(_ entries: [PreferenceEntry]) -> RiakHTTPResponse {
        .json(
            .object([
                (
                    "preflist",
                    .array(
                        entries.map { entry in
                            .object([
                                ("partition", .integer(entry.partition.index)), ("node", .string(entry.node)),
                                ("primary", .bool(entry.isPrimary)),
                            ])
                        })
                )
            ]))
    }
}

/// A request's method, path and query, taken apart.
struct RiakHTTPTarget {
    let head: HTTPRequest
    let path: [ByteBuffer]
    /// Of a repeated parameter the last counts.
    let query: [String: String]

    var method: HTTPRequest.Method { head.method }

    init(_ head: HTTPRequest) throws(RiakHTTPFailure) {
        self.head = head
        let whole = head.path ?? "/"
        let parts = whole.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var segments: [ByteBuffer] = []
        for segment in (parts.first ?? "").split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            guard let bytes = PercentCoding.decode(segment) else {
                throw RiakHTTPFailure(.badRequest, "The path is badly escaped")
            }
            segments.append(bytes)
        }
        // A slash at the end names nothing more.
        if segments.last?.readableBytes == 0 { segments.removeLast() }
        path = segments
        var query: [String: String] = [:]
        if parts.count > 1 {
            for item in parts[1].split(separator: "&").prefix(RiakHTTPTranslator.maximumQueryItems) {
                let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard let name = PercentCoding.decode(pair[0]),
                    let value = pair.count > 1 ? PercentCoding.decode(pair[1]) : ByteBuffer()
                else { throw RiakHTTPFailure(.badRequest, "The query is badly escaped") }
                query[String(buffer: name)] = String(buffer: value)
            }
        }
        self.query = query
    }

    func allow(_ methods: HTTPRequest.Method...) throws(RiakHTTPFailure) {
        guard !methods.contains(method) else { return }
        var response = RiakHTTPResponse.text(.methodNotAllowed, "method not allowed")
        response.head.headerFields[.allow] = methods.map(\.rawValue).joined(separator: ", ")
        throw RiakHTTPFailure(response)
    }

    var timeout: Duration? {
        get throws(RiakHTTPFailure) {
            guard let text = query["timeout"] else { return nil }
            guard let milliseconds = UInt32(text) else {
                throw RiakHTTPFailure(.badRequest, "Bad timeout value \(JSONValue.quoted(text))")
            }
            return milliseconds > 0 ? .milliseconds(Int64(milliseconds)) : nil
        }
    }

    func quorum(_ name: String) throws(RiakHTTPFailure) -> Quorum? {
        guard let text = query[name] else { return nil }
        switch text {
        case "default": return nil
        case "one": return .one
        case "quorum": return .quorum
        case "all": return .all
        default:
            guard let count = UInt32(text) else {
                throw RiakHTTPFailure(
                    .badRequest,
                    "\(name) query parameter must be an integer or one of the following words: "
                        + "'one', 'quorum' or 'all'")
            }
            return .count(UInt8(clamping: count))
        }
    }

    func flag(_ name: String) throws(RiakHTTPFailure) -> Bool? {
        switch query[name] {
        case nil, "default": return nil
        case "true": return true
        case "false": return false
        default: throw RiakHTTPFailure(.badRequest, "\(name) query parameter must be true or false")
        }
    }
}

extension ByteBuffer {
    static func == (bytes: ByteBuffer, text: StaticString) -> Bool {
        bytes.readableBytes == text.utf8CodeUnitCount
            && text.withUTF8Buffer { bytes.readableBytesView.elementsEqual($0) }
    }

    static func ~= (text: StaticString, bytes: ByteBuffer) -> Bool { bytes == text }
}
