// What a client asks over Riak's HTTP interface, in Torc's terms, and what it is answered.

package import HTTPTypes
package import NIOCore
package import TorcModel
package import TorcReplication

/// An answer: status and headers, and a body whose length the server adds. To a HEAD the body is not sent.
package struct RiakHTTPResponse: Hashable, Sendable {
    package var head: HTTPResponse
    package var body: ByteBuffer

    package init(_ status: HTTPResponse.Status, _ fields: HTTPFields = [:], body: ByteBuffer = ByteBuffer()) {
        head = HTTPResponse(status: status, headerFields: fields)
        self.body = body
    }

    /// A line of text.
    /// Too much to do: `Retry-After` knows seconds alone, so the text says it more exactly.
    package static func overloaded(after wait: Duration) -> RiakHTTPResponse {
        let milliseconds = RiakText.milliseconds(wait)
        var fields: HTTPFields = [:]
        fields[.retryAfter] = String((milliseconds + 999) / 1000)
        return .text(.serviceUnavailable, "\(RiakText.overloaded): ask again in \(milliseconds) ms", fields)
    }

    package static func text(
        _ status: HTTPResponse.Status, _ message: String, _ fields: HTTPFields = [:]
    ) -> RiakHTTPResponse {
        var fields = fields
        fields[.contentType] = "text/plain"
        return RiakHTTPResponse(status, fields, body: ByteBuffer(string: message + "\n"))
    }

    package static func json(_ value: JSONValue) -> RiakHTTPResponse {
        RiakHTTPResponse(.ok, [.contentType: "application/json"], body: ByteBuffer(string: value.text))
    }
}

package enum RiakHTTPRequest: Sendable {
    case ping
    case stats
    case object(RiakHTTPObjectRequest)
    case list(RiakHTTPListing)
    case properties(PropertiesScope)
    case setProperties(PropertiesScope, PropertiesChange)
    case resetProperties(PropertiesScope)
    case preferenceList(ObjectKey)
    /// Needs nobody: an error, or a description of the interface.
    case answered(RiakHTTPResponse)
}

/// A request of an object.
///
/// A write with a condition on an entity tag or a date has a `preliminaryRead`: the node gets that first and
/// gives its answer to `conclude`, which answers the client or turns what was read into a condition on the
/// object's clock. So the write is refused when anything has come in between, too.
package struct RiakHTTPObjectRequest: Hashable, Sendable {
    package var request: ClientRequest
    /// Nil: the server's default.
    package var timeout: Duration?
    package internal(set) var preliminaryRead: GetRequest?

    var route = RiakHTTPRoute.buckets
    var method = HTTPRequest.Method.get
    var preconditions = RiakHTTPPreconditions()
    var acceptsMultipart = false
    /// The one version that is wanted of several.
    var versionTag: String?
    /// The server made the key: the answer says where it is.
    var madeKey = false
    /// What a condition on the clock that does not hold is answered with.
    var conflictStatus = HTTPResponse.Status.conflict

    init(_ request: ClientRequest, timeout: Duration?) {
        self.request = request
        self.timeout = timeout
    }

    /// Takes the answer to the preliminary read. Returns what ends the request; nil when it is to be carried out now.
    package mutating func conclude(_ answer: GetAnswer, _ translator: RiakHTTPTranslator) -> RiakHTTPResponse? {
        preliminaryRead = nil
        var tag: String?
        var modified: UInt64?
        var context: CausalContext?
        switch answer {
        case .absent: break
        case .found(let object, _):
            context = object.context
            if !object.isTombstone {
                tag = object.entityTag
                modified = object.lastModifiedSeconds
            }
        case .unchanged, .refused, .failed: return translator.respond(to: self, .get(answer))
        }
        guard preconditions.allowWrite(tag: tag, modifiedSeconds: modified) else {
            return .text(.preconditionFailed, "precondition failed")
        }
        switch request {
        case .put(var put):
            put.condition = .ifNoneMatch
            if tag != nil, let context { put.condition = .ifNotModified(context.clock) }
            conflictStatus = .preconditionFailed
            request = .put(put)
        case .delete(var delete):
            // What has been judged is deleted, and nothing else.
            delete.context = delete.context ?? context
            request = .delete(delete)
        case .get: break
        }
        return nil
    }
}

/// How a client spells the paths of this interface, and how they are spelled to it.
enum RiakHTTPRoute: Hashable, Sendable {
    /// `[/types/T]/buckets/B/keys/K`
    case buckets
    /// `/riak/B/K`
    case legacy

    func path(of key: ObjectKey) -> String {
        let bucket = key.bucket
        switch self {
        case .legacy: return "/riak/\(PercentCoding.encode(bucket.name))/\(PercentCoding.encode(key.key))"
        case .buckets:
            let type = bucket.type.readableBytes == 0 ? "" : "/types/\(PercentCoding.encode(bucket.type))"
            return "\(type)/buckets/\(PercentCoding.encode(bucket.name))/keys/\(PercentCoding.encode(key.key))"
        }
    }

    func path(ofBucket bucket: ByteBuffer, key: ByteBuffer?) -> String {
        let name = PercentCoding.encode(bucket)
        switch (self, key.map(PercentCoding.encode)) {
        case (.legacy, let key?): return "/riak/\(name)/\(key)"
        case (.legacy, nil): return "/riak/\(name)"
        case (.buckets, let key?): return "/buckets/\(name)/keys/\(key)"
        case (.buckets, nil): return "/buckets/\(name)"
        }
    }
}

/// Conditions on what stands (RFC 9110, section 13).
struct RiakHTTPPreconditions: Hashable, Sendable {
    var ifMatch: EntityTags?
    var ifNoneMatch: EntityTags?
    /// Seconds since 1970.
    var ifModifiedSince: UInt64?
    var ifUnmodifiedSince: UInt64?

    init() {}

    init(_ fields: HTTPFields) {
        ifMatch = fields[.ifMatch].map(EntityTags.init)
        ifNoneMatch = fields[.ifNoneMatch].map(EntityTags.init)
        ifModifiedSince = fields[.ifModifiedSince].flatMap(HTTPDate.seconds)
        ifUnmodifiedSince = fields[.ifUnmodifiedSince].flatMap(HTTPDate.seconds)
    }

    /// `tag` nil: nothing stands.
    func allowWrite(tag: String?, modifiedSeconds: UInt64?) -> Bool {
        if let ifMatch, !ifMatch.matches(tag) { return false }
        if let ifUnmodifiedSince, let modifiedSeconds, modifiedSeconds > ifUnmodifiedSince { return false }
        if let ifNoneMatch, ifNoneMatch.matches(tag) { return false }
        return true
    }

    /// What a read is answered with instead of the object.
    func statusOfRead(tag: String, modifiedSeconds: UInt64) -> HTTPResponse.Status? {
        if let ifMatch {
            if !ifMatch.matches(tag) { return .preconditionFailed }
        } else if let ifUnmodifiedSince, modifiedSeconds > ifUnmodifiedSince {
            return .preconditionFailed
        }
        if let ifNoneMatch {
            if ifNoneMatch.matches(tag) { return .notModified }
        } else if let ifModifiedSince, modifiedSeconds <= ifModifiedSince {
            return .notModified
        }
        return nil
    }
}

extension ClientObject {
    /// The version's tag; of several versions, one for them all.
    var entityTag: String {
        siblings.count == 1 ? VersionTag.tag(of: siblings[0].dot) : VersionTag.tag(of: siblings.map(\.dot))
    }

    var lastModifiedSeconds: UInt64 { (siblings.map(\.timestamp.rawValue).max() ?? 0) / 1_000_000 }
}
