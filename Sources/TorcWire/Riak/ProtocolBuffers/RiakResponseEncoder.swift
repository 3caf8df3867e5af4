// Torc's answers → Riak's response messages.

import FoundationEssentials
package import NIOCore
import SwiftProtobuf
package import TorcModel
package import TorcReplication

package struct RiakResponseEncoder: Sendable {
    private let clusterKey: ClusterKey

    package init(clusterKey: ClusterKey) { self.clusterKey = clusterKey }

    /// The one frame that answers a get, a put or a delete.
    package func encode(_ answer: ClientAnswer, to request: RiakObjectRequest) -> RiakFrame {
        switch answer {
        case .get(let get): encode(get, to: request)
        case .write(let write): encode(write, to: request)
        }
    }

    private func encode(_ answer: GetAnswer, to request: RiakObjectRequest) -> RiakFrame {
        switch answer {
        case .absent: return RiakFrame(.getResponse)
        case .found(let object, _):
            if object.isTombstone {
                guard case .get(deletedClock: true) = request.form else { return RiakFrame(.getResponse) }
            }
            return frame(.getResponse, object, request, hasContent: !object.isTombstone)
        case .unchanged:
            var response = RpbGetResp()
            response.unchanged = true
            return Self.frame(.getResponse, response)
        case .refused(let refusal): return error(RiakText.text(of: refusal))
        case .failed(let failure): return error(RiakText.text(of: failure))
        }
    }

    private func encode(_ answer: WriteAnswer, to request: RiakObjectRequest) -> RiakFrame {
        switch answer {
        case .ok(_, let object):
            guard case .put(let madeKey) = request.form else { return RiakFrame(.deleteResponse) }
            if madeKey == nil, object == nil { return RiakFrame(.putResponse) }
            if let object { return frame(.putResponse, object, request, madeKey: madeKey) }
            var response = RpbPutResp()
            if let madeKey { response.key = Data(copying: madeKey) }
            return Self.frame(.putResponse, response)
        case .refused(let refusal): return error(RiakText.text(of: refusal))
        case .indeterminate(let copies, let needed):
            return error(RiakText.indeterminate(copies: copies, needed: needed))
        }
    }

    /// The one error that carries more than its text, by which Riak's clients know it: `RiakText.retryAfterField` says when to
    /// ask again. By hand, as it is made most often when there is no time.
    package func overloaded(after wait: Duration) -> RiakFrame {
        var body = ByteBuffer()
        body.reserveCapacity(24)
        body.writeInteger(UInt8(1 << 3 | 2))
        body.writeInteger(UInt8(RiakText.overloaded.utf8.count))
        body.writeString(RiakText.overloaded)
        // Riak's errors have no codes.
        body.writeInteger(UInt8(2 << 3))
        body.writeInteger(UInt8(0))
        body.writeVarint(RiakText.retryAfterField << 3)
        body.writeVarint(RiakText.milliseconds(wait))
        return RiakFrame(.errorResponse, body: body)
    }

    package func error(_ message: String) -> RiakFrame {
        var response = RpbErrorResp()
        response.errmsg = Data(copying: message)
        // Riak's errors have no codes.
        response.errcode = 0
        return Self.frame(.errorResponse, response)
    }

    package func clientID(_ id: ByteBuffer) -> RiakFrame {
        var response = RpbGetClientIdResp()
        response.clientID = Data(copying: id)
        return Self.frame(.getClientIDResponse, response)
    }

    package func serverInfo(node: String) -> RiakFrame {
        var response = RpbGetServerInfoResp()
        response.node = Data(copying: node)
        response.serverVersion = Data(copying: RiakText.serverVersion)
        return Self.frame(.serverInfoResponse, response)
    }

    package func buckets(_ names: [ByteBuffer], done: Bool) -> RiakFrame {
        var response = RpbListBucketsResp()
        response.buckets = names.map { Data(copying: $0) }
        if done { response.done = true }
        return Self.frame(.listBucketsResponse, response)
    }

    package func keys(_ keys: [ByteBuffer], done: Bool) -> RiakFrame {
        var response = RpbListKeysResp()
        response.keys = keys.map { Data(copying: $0) }
        if done { response.done = true }
        return Self.frame(.listKeysResponse, response)
    }

    package func properties(_ properties: BucketProperties) -> RiakFrame {
        var response = RpbGetBucketResp()
        response.props = RpbBucketProps(properties)
        return Self.frame(.getBucketResponse, response)
    }

    /// `response`: the code that a success is answered with.
    package func changed(_ answer: PropertiesAnswer, response: RiakMessageCode) -> RiakFrame {
        switch answer {
        case .stored: RiakFrame(response)
        case .indeterminate(let copies, let needed): error(RiakText.indeterminate(copies: copies, needed: needed))
        case .refused(let refusal): error(RiakText.text(of: refusal))
        }
    }

    package func preferenceList(_ entries: [PreferenceEntry]) -> RiakFrame {
        var response = RpbGetBucketKeyPreflistResp()
        response.preflist = entries.map { entry in
            var item = RpbBucketKeyPreflistItem()
            item.partition = Int64(entry.partition.index)
            item.node = Data(copying: entry.node)
            item.primary = entry.isPrimary
            return item
        }
        return Self.frame(.preferenceListResponse, response)
    }

    private func frame(
        _ code: RiakMessageCode, _ object: ClientObject, _ request: RiakObjectRequest, hasContent: Bool = true,
        madeKey: ByteBuffer? = nil
    ) -> RiakFrame {
        let answer = RiakObjectAnswer(
            siblings: hasContent ? object.siblings.map { RiakSibling($0, of: object) } : [],
            vclock: clusterKey.seal(object.context, for: request.request.key), madeKey: madeKey)
        guard let body = answer.encoded else { return Self.tooLarge }
        return RiakFrame(code, body: body)
    }

    private static var tooLarge: RiakFrame {
        var response = RpbErrorResp()
        response.errmsg = Data(copying: "The answer is too large for a message")
        response.errcode = 0
        return RiakFrame(.errorResponse, body: (try? response.encoded()) ?? ByteBuffer())
    }

    private static func frame(_ code: RiakMessageCode, _ message: some Message) -> RiakFrame {
        do {
            return RiakFrame(code, body: try message.encoded())
        } catch {
            // Every required field is set, so the one way to fail is a message beyond 2 GiB.
            return tooLarge
        }
    }
}

extension RiakSibling {
    init(_ sibling: Sibling, of object: ClientObject) {
        // Metadata that this build cannot read is left out; the value is worth having without it.
        metadata = (try? ContentMetadata(decoding: sibling.metadata)) ?? ContentMetadata()
        if let left = object.secondsLeft(of: sibling) { RiakLifetime.put(left, into: &metadata) }
        value = object.headOnly ? ByteBuffer() : sibling.value
        tag = VersionTag.tag(of: sibling.dot)
        let (seconds, rest) = sibling.timestamp.rawValue.quotientAndRemainder(dividingBy: 1_000_000)
        self.seconds = UInt32(clamping: seconds)
        microseconds = UInt32(rest)
        isDeleted = sibling.isTombstone
    }
}

extension RpbContent {
    init(value: ByteBuffer, metadata: ContentMetadata) {
        self.init()
        self.value = Data(copying: value)
        if metadata.contentType.readableBytes > 0 { contentType = Data(copying: metadata.contentType) }
        if metadata.charset.readableBytes > 0 { charset = Data(copying: metadata.charset) }
        if metadata.contentEncoding.readableBytes > 0 { contentEncoding = Data(copying: metadata.contentEncoding) }
        links = metadata.links.map { link in
            var message = RpbLink()
            message.bucket = Data(copying: link.bucket)
            message.key = Data(copying: link.key)
            message.tag = Data(copying: link.tag)
            return message
        }
        usermeta = metadata.userMetadata.map(RpbPair.init)
        indexes = metadata.indexes.map(RpbPair.init)
    }
}

extension RpbPair {
    fileprivate init(_ pair: ContentMetadata.Pair) {
        self.init()
        key = Data(copying: pair.name)
        value = Data(copying: pair.value)
    }
}
