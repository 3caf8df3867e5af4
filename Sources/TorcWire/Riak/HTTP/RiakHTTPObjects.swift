// Requests of objects over HTTP: query and headers → Torc's requests.

import FoundationEssentials
import HTTPTypes
import NIOCore
import TorcModel
import TorcReplication

extension HTTPField.Name {
    static let riakVclock = HTTPField.Name("X-Riak-Vclock")!
    static let riakIfNotModified = HTTPField.Name("X-Riak-If-Not-Modified")!
    static let riakDeleted = HTTPField.Name("X-Riak-Deleted")!
    /// Torc's own. Of a put: the seconds that the version stands. Of an answer: those that are left, and until when.
    static let torcTTL = HTTPField.Name("X-Torc-TTL")!
    static let torcWriteID = HTTPField.Name(RiakWriteName.name)!
    static let torcExpires = HTTPField.Name("X-Torc-Expires")!
    static let link = HTTPField.Name("Link")!
    static let riakMetaPrefix = "x-riak-meta-"
    static let riakIndexPrefix = "x-riak-index-"
}

extension RiakHTTPTranslator {
    func object(
        _ target: RiakHTTPTarget, _ bucket: BucketID, _ key: ByteBuffer?, _ route: RiakHTTPRoute, _ body: ByteBuffer,
        _ keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakHTTPFailure) -> RiakHTTPRequest {
        try target.allow(.get, .head, .put, .post, .delete)
        let isMade = key == nil
        let name = key ?? ByteBuffer(string: VersionTag.madeKey(keyEntropy()))
        let key = try Self.checked { () throws(RiakRequestError) in
            try RiakNames.object(
                type: bucket.type.readableBytes == 0 ? nil : bucket.type, bucket: bucket.name, key: name)
        }
        let fields = target.head.headerFields
        let preconditions = RiakHTTPPreconditions(fields)
        var options = QuorumOptions()
        options.pr = try target.quorum("pr")
        options.r = try target.quorum("r")
        options.nodeConfirms = try Self.nodeConfirms(target)
        options.sloppyQuorum = try target.flag("sloppy_quorum")
        var request: RiakHTTPObjectRequest
        switch target.method {
        case .put, .post:
            options.w = try target.quorum("w")
            options.dw = try target.quorum("dw")
            options.pw = try target.quorum("pw")
            var put = PutRequest(
                key: key, context: try context(fields[.riakVclock], for: key),
                metadata: try ContentMetadata(fields).encoded, value: body)
            put.options = options
            if let life = fields[.torcTTL] {
                put.lifetimeSeconds = try Self.checked { () throws(RiakRequestError) in
                    try RiakLifetime.seconds(life)
                }
            }
            if let name = fields[.torcWriteID] {
                put.writeID = try Self.checked { () throws(RiakRequestError) in try RiakWriteName.checked(name) }
            }
            put.returnedBody = try target.flag("returnbody") == true ? .full : .nothing
            if preconditions.ifNoneMatch == .any {
                put.condition = .ifNoneMatch
            } else if let known = fields[.riakIfNotModified] {
                put.condition = .ifNotModified(try context(known, for: key)?.clock ?? VersionVector())
            }
            request = RiakHTTPObjectRequest(.put(put), timeout: try target.timeout)
            request.madeKey = isMade
            if preconditions.needsRead, put.condition == nil { request.preliminaryRead = GetRequest(key: key) }
        case .delete:
            options.rw = try target.quorum("rw")
            options.w = try target.quorum("w")
            options.dw = try target.quorum("dw")
            options.pw = try target.quorum("pw")
            var delete = DeleteRequest(key: key, context: try context(fields[.riakVclock], for: key))
            delete.options = options
            request = RiakHTTPObjectRequest(.delete(delete), timeout: try target.timeout)
            if preconditions.needsRead { request.preliminaryRead = GetRequest(key: key) }
        default:
            options.notFoundOK = try target.flag("notfound_ok")
            options.basicQuorum = try target.flag("basic_quorum")
            var get = GetRequest(key: key)
            get.options = options
            get.headOnly = target.method == .head
            request = RiakHTTPObjectRequest(.get(get), timeout: try target.timeout)
        }
        request.preliminaryRead?.headOnly = true
        request.route = route
        request.method = target.method
        request.preconditions = preconditions
        request.acceptsMultipart = Self.acceptsMultipart(fields[.accept])
        request.versionTag = target.query["vtag"]
        return .object(request)
    }

    /// How many nodes `quorum` and `all` would be depends on the bucket; a request names a number.
    private static func nodeConfirms(_ target: RiakHTTPTarget) throws(RiakHTTPFailure) -> UInt8? {
        switch try target.quorum("node_confirms") {
        case nil: nil
        case .count(let count): count
        case .one: 1
        case .quorum, .all: throw RiakHTTPFailure(.badRequest, "node_confirms query parameter must be an integer")
        }
    }

    private func context(_ header: String?, for key: ObjectKey) throws(RiakHTTPFailure) -> CausalContext? {
        guard let header, !header.isEmpty else { return nil }
        guard let token = Data(base64Encoded: header) else {
            throw RiakHTTPFailure(.badRequest, RiakText.text(of: ContextRefusal.malformed))
        }
        do {
            return try clusterKey.open(token.byteBuffer, for: key)
        } catch {
            throw RiakHTTPFailure(.badRequest, RiakText.text(of: error))
        }
    }

    private static func acceptsMultipart(_ accept: String?) -> Bool {
        guard let accept else { return false }
        return accept.lowercased().split(separator: ",").contains { part in
            let words = part.split(separator: ";").map { $0.filter { $0 != " " } }
            guard let type = words.first, type == "multipart/mixed" || type == "multipart/*" else { return false }
            return !words.dropFirst().contains { ["q=0", "q=0.0", "q=0.00", "q=0.000"].contains($0) }
        }
    }
}

extension RiakHTTPPreconditions {
    /// Conditions that a write cannot carry with it.
    fileprivate var needsRead: Bool { ifMatch != nil || ifNoneMatch != nil || ifUnmodifiedSince != nil }
}

extension ContentMetadata {
    fileprivate init(_ fields: HTTPFields) throws(RiakHTTPFailure) {
        guard let type = fields[.contentType], !type.isEmpty else {
            throw RiakHTTPFailure(.badRequest, "Missing Content-Type request header")
        }
        self.init()
        (contentType, charset) = Self.split(contentType: type)
        contentEncoding = ByteBuffer(string: fields[.contentEncoding] ?? "")
        links = fields[values: .link].flatMap(RiakLinks.parse)
        for field in fields {
            let name = field.name.canonicalName
            if name.hasPrefix(HTTPField.Name.riakMetaPrefix) {
                let raw = field.name.rawName.dropFirst(HTTPField.Name.riakMetaPrefix.count)
                userMetadata.append(Pair(name: ByteBuffer(substring: raw), value: ByteBuffer(string: field.value)))
            } else if name.hasPrefix(HTTPField.Name.riakIndexPrefix) {
                let index = ByteBuffer(substring: name.dropFirst(HTTPField.Name.riakIndexPrefix.count))
                for value in field.value.split(separator: ",") {
                    let trimmed = value.drop { $0 == " " }
                    indexes.append(Pair(name: index, value: ByteBuffer(substring: trimmed)))
                }
            }
        }
    }

    /// The charset is kept beside the type, the type's other parameters with it.
    private static func split(contentType: String) -> (type: ByteBuffer, charset: ByteBuffer) {
        var kept: [Substring] = []
        var charset: Substring = ""
        for part in contentType.split(separator: ";") {
            let trimmed = part.drop { $0 == " " }
            if trimmed.lowercased().hasPrefix("charset=") {
                charset = trimmed.dropFirst("charset=".count)
                if charset.count >= 2, charset.hasPrefix("\""), charset.hasSuffix("\"") {
                    charset = charset.dropFirst().dropLast()
                }
            } else {
                kept.append(trimmed)
            }
        }
        return (ByteBuffer(string: kept.joined(separator: "; ")), ByteBuffer(substring: charset))
    }
}

/// `Link` headers: `</buckets/b/keys/k>; riaktag="t", </riak/b/k>; riaktag="t"`.
enum RiakLinks {
    /// Links that are none of Riak's are passed over.
    static func parse(_ header: String) -> [ContentMetadata.Link] {
        var links: [ContentMetadata.Link] = []
        var rest = header[...]
        while let open = rest.firstIndex(of: "<"), let close = rest[open...].firstIndex(of: ">") {
            let path = rest[rest.index(after: open)..<close].split(separator: "/")
            rest = rest[rest.index(after: close)...]
            let parameters = rest.prefix { $0 != "<" }
            rest = rest[parameters.endIndex...]
            let names: (Substring, Substring)
            if path.count == 4, path[0] == "buckets", path[2] == "keys" {
                names = (path[1], path[3])
            } else if path.count == 3 {
                names = (path[1], path[2])
            } else {
                continue
            }
            guard let tag = self.tag(parameters), let bucket = PercentCoding.decode(names.0),
                let key = PercentCoding.decode(names.1)
            else { continue }
            links.append(ContentMetadata.Link(bucket: bucket, key: key, tag: tag))
        }
        return links
    }

    private static func tag(_ parameters: Substring) -> ByteBuffer? {
        let mark = "riaktag=\""
        var rest = parameters
        while !rest.isEmpty, !rest.hasPrefix(mark) { rest = rest.dropFirst() }
        guard rest.hasPrefix(mark), let end = rest.dropFirst(mark.count).firstIndex(of: "\"") else { return nil }
        return PercentCoding.decode(rest.dropFirst(mark.count)[..<end])
    }

    static func text(_ links: [ContentMetadata.Link], ofBucket bucket: ByteBuffer, _ route: RiakHTTPRoute) -> String {
        let up = "<\(route.path(ofBucket: bucket, key: nil))>; rel=\"up\""
        return
            (links.map { link in
                "<\(route.path(ofBucket: link.bucket, key: link.key))>; riaktag=\"\(PercentCoding.encode(link.tag))\""
            } + [up]).joined(separator: ", ")
    }
}
