// Answers about objects over HTTP: Torc's answers → status, headers, body.

import FoundationEssentials
import HTTPTypes
import NIOCore
import TorcModel
package import TorcReplication

extension RiakHTTPTranslator {
    /// `retryAfter`: when it may be worth to ask again, for who is refused because there is too much to do.
    package func respond(
        to request: RiakHTTPObjectRequest, _ answer: ClientAnswer, retryAfter: Duration
    ) -> RiakHTTPResponse {
        if answer.isOverload { return .overloaded(after: retryAfter) }
        return respond(to: request, answer)
    }

    package func respond(to request: RiakHTTPObjectRequest, _ answer: ClientAnswer) -> RiakHTTPResponse {
        switch answer {
        case .get(let get): respond(to: request, get)
        case .write(let write): respond(to: request, write)
        }
    }

    private func respond(to request: RiakHTTPObjectRequest, _ answer: GetAnswer) -> RiakHTTPResponse {
        switch answer {
        case .absent: .text(.notFound, "not found")
        case .found(let object, _): self.object(object, request)
        case .unchanged: RiakHTTPResponse(.notModified)
        case .refused(let refusal): refused(refusal, request)
        case .failed(let failure):
            failure.timedOut
                ? .text(.serviceUnavailable, "request timed out")
                : .text(.serviceUnavailable, "R-value unsatisfied: \(failure.answered)/\(failure.needed)")
        }
    }

    private func respond(to request: RiakHTTPObjectRequest, _ answer: WriteAnswer) -> RiakHTTPResponse {
        switch answer {
        case .ok(_, let object):
            var response = RiakHTTPResponse(.noContent)
            if let object { response = self.object(object, request) }
            if request.madeKey {
                if object == nil || response.head.status == .ok { response.head.status = .created }
                response.head.headerFields[.location] = request.route.path(of: request.request.key)
            }
            return response
        case .refused(let refusal): return refused(refusal, request)
        case .indeterminate(let copies, let needed):
            return .text(.serviceUnavailable, RiakText.indeterminate(copies: copies, needed: needed))
        }
    }

    private func refused(_ refusal: Refusal, _ request: RiakHTTPObjectRequest) -> RiakHTTPResponse {
        let status: HTTPResponse.Status
        var fields: HTTPFields = [:]
        switch refusal {
        case .matchFound: status = .preconditionFailed
        case .modified, .notFound: status = request.conflictStatus
        case .invalidQuorum: status = .badRequest
        case .objectTooLarge: status = .contentTooLarge
        case .tooManySiblings, .siblingsTooLarge: status = .conflict
        case .unreadable: status = .internalServerError
        case .overloaded, .shuttingDown, .diskFull:
            status = .serviceUnavailable
            fields[.retryAfter] = "1"
        case .clockTooFarBehind, .unreachable: status = .serviceUnavailable
        }
        return .text(status, RiakText.text(of: refusal), fields)
    }

    private func object(_ object: ClientObject, _ request: RiakHTTPObjectRequest) -> RiakHTTPResponse {
        var fields: HTTPFields = [:]
        fields[.riakVclock] = Data(copying: clusterKey.seal(object.context, for: request.request.key))
            .base64EncodedString()
        if object.isTombstone {
            fields[.riakDeleted] = "true"
            return .text(.notFound, "not found", fields)
        }
        var siblings = object.siblings
        if let wanted = request.versionTag {
            siblings = siblings.filter { VersionTag.tag(of: $0.dot) == wanted }
            if siblings.isEmpty { return .text(.notFound, "not found", fields) }
        }
        let isRead = request.method == .get || request.method == .head
        if siblings.count == 1 {
            let version = siblings[0]
            let tag = VersionTag.tag(of: version.dot)
            let modified = version.timestamp.rawValue / 1_000_000
            fields[.eTag] = "\"\(tag)\""
            fields[.lastModified] = HTTPDate.text(seconds: modified)
            if isRead, let status = request.preconditions.statusOfRead(tag: tag, modifiedSeconds: modified) {
                return RiakHTTPResponse(status, fields)
            }
            for (name, value) in headers(of: version, object, request) {
                // A name that HTTP cannot carry, from a client of the other interface, is left out.
                if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
            }
            // A tombstone among siblings, asked for by its tag.
            if version.isTombstone { return .text(.notFound, "not found", fields) }
            return RiakHTTPResponse(.ok, fields, body: version.value)
        }
        fields[.eTag] = "\"\(object.entityTag)\""
        fields[.lastModified] = HTTPDate.text(seconds: object.lastModifiedSeconds)
        if isRead,
            let status = request.preconditions.statusOfRead(
                tag: object.entityTag, modifiedSeconds: object.lastModifiedSeconds)
        {
            return RiakHTTPResponse(status, fields)
        }
        if request.acceptsMultipart {
            let boundary = Self.boundary(for: object)
            fields[.contentType] = "multipart/mixed; boundary=\(boundary)"
            return RiakHTTPResponse(.multipleChoices, fields, body: multipart(siblings, object, boundary, request))
        }
        fields[.contentType] = "text/plain"
        let tags = siblings.map { VersionTag.tag(of: $0.dot) }
        return RiakHTTPResponse(
            .multipleChoices, fields, body: ByteBuffer(string: "Siblings:\n" + tags.map { $0 + "\n" }.joined()))
    }

    /// What describes one version, in the order in which it is written. Values have no line breaks.
    private func headers(
        of version: Sibling, _ object: ClientObject, _ request: RiakHTTPObjectRequest
    ) -> [(name: String, value: String)] {
        let metadata = (try? ContentMetadata(decoding: version.metadata)) ?? ContentMetadata()
        var type =
            metadata.contentType.readableBytes == 0
            ? "application/octet-stream" : String(buffer: metadata.contentType)
        if metadata.charset.readableBytes > 0 { type += "; charset=" + String(buffer: metadata.charset) }
        var headers = [("Content-Type", type)]
        if metadata.contentEncoding.readableBytes > 0 {
            headers.append(("Content-Encoding", String(buffer: metadata.contentEncoding)))
        }
        headers.append(
            ("Link", RiakLinks.text(metadata.links, ofBucket: request.request.key.bucket.name, request.route)))
        if let expiry = version.expiry, let left = object.secondsLeft(of: version) {
            headers.append((HTTPField.Name.torcTTL.rawName, String(left)))
            headers.append(
                (HTTPField.Name.torcExpires.rawName, HTTPDate.text(seconds: expiry.microseconds / 1_000_000)))
        }
        for pair in metadata.userMetadata {
            headers.append(("X-Riak-Meta-" + String(buffer: pair.name), String(buffer: pair.value)))
        }
        var indexes: [(name: String, values: [String])] = []
        for pair in metadata.indexes {
            let name = "X-Riak-Index-" + String(buffer: pair.name)
            if let place = indexes.firstIndex(where: { $0.name == name }) {
                indexes[place].values.append(String(buffer: pair.value))
            } else {
                indexes.append((name, [String(buffer: pair.value)]))
            }
        }
        headers += indexes.map { ($0.name, $0.values.joined(separator: ", ")) }
        return headers.map { name, value in
            (name, String(value.map { $0.isNewline || $0 == "\0" ? " " : $0 }))
        }
    }

    private func multipart(
        _ siblings: [Sibling], _ object: ClientObject, _ boundary: String, _ request: RiakHTTPObjectRequest
    ) -> ByteBuffer {
        var body = ByteBuffer()
        body.reserveCapacity(siblings.reduce(256) { $0 + $1.value.readableBytes + 512 })
        for version in siblings {
            body.writeString("\r\n--\(boundary)\r\n")
            for (name, value) in headers(of: version, object, request) where HTTPField.Name(name) != nil {
                body.writeString("\(name): \(value)\r\n")
            }
            body.writeString("Etag: \(VersionTag.tag(of: version.dot))\r\n")
            body.writeString("Last-Modified: \(HTTPDate.text(seconds: version.timestamp.rawValue / 1_000_000))\r\n")
            if version.isTombstone { body.writeString("X-Riak-Deleted: true\r\n") }
            body.writeString("\r\n")
            body.writeImmutableBuffer(version.value)
        }
        body.writeString("\r\n--\(boundary)--\r\n")
        return body
    }

    /// Text that no value contains.
    private static func boundary(for object: ClientObject) -> String {
        var boundary = object.entityTag
        while object.siblings.contains(where: { $0.value.contains(boundary) }) { boundary += "x" }
        return boundary
    }
}

extension ByteBuffer {
    fileprivate func contains(_ text: String) -> Bool {
        let needle = Array(text.utf8)
        return withUnsafeReadableBytes { bytes in
            guard bytes.count >= needle.count else { return false }
            var start = 0
            while start <= bytes.count - needle.count {
                guard let first = bytes[start...].firstIndex(of: needle[0]), first <= bytes.count - needle.count else {
                    return false
                }
                if bytes[first..<(first + needle.count)].elementsEqual(needle) { return true }
                start = first + 1
            }
            return false
        }
    }
}
