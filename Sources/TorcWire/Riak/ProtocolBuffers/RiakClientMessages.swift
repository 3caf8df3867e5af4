// The client's side of Riak's messages: requests → frames, answering frames → values. Quorums are wire
// numbers here (`RiakQuorum`), bytes are bytes: what a Swift program sees is TorcClient's matter.

import FoundationEssentials
package import NIOCore
import SwiftProtobuf
package import TorcModel

/// Which object a request is about. `type` empty: the default type.
package struct RiakName: Hashable, Sendable {
    package var type: ByteBuffer
    package var bucket: ByteBuffer
    package var key: ByteBuffer

    package init(type: ByteBuffer = ByteBuffer(), bucket: ByteBuffer, key: ByteBuffer) {
        self.type = type
        self.bucket = bucket
        self.key = key
    }
}

/// What requests may carry besides; nil is left out of the message.
package struct RiakRequestOptions: Hashable, Sendable {
    package var r: UInt32?
    package var w: UInt32?
    package var pr: UInt32?
    package var pw: UInt32?
    package var dw: UInt32?
    package var rw: UInt32?
    package var nodeConfirms: UInt32?
    package var basicQuorum: Bool?
    package var notFoundOK: Bool?
    package var sloppyQuorum: Bool?
    package var timeoutMilliseconds: UInt32?

    package init() {}
}

/// What a put says besides its value.
package struct RiakPutDetails: Hashable, Sendable {
    package enum Returned: Hashable, Sendable { case nothing, head, full }

    package var metadata = ContentMetadata()
    package var vclock: ByteBuffer?
    package var ifNotModified = false
    package var ifNoneMatch = false
    package var returned = Returned.nothing

    package init() {}
}

/// One version, as a client gets it.
package struct RiakContent: Hashable, Sendable {
    package var value: ByteBuffer
    package var metadata: ContentMetadata
    package var tag: String
    /// Microseconds since 1970.
    package var lastModified: UInt64
    package var isDeleted: Bool
}

/// The answer to a get or a put.
package struct RiakObject: Hashable, Sendable {
    package var contents: [RiakContent]
    /// Nil: nothing was found, or nothing was asked for.
    package var vclock: ByteBuffer?
    package var isUnchanged: Bool
    /// The key that the server made.
    package var key: ByteBuffer?
}

/// An answer that is no answer to what was asked.
package enum RiakAnswerError: Error, Hashable, Sendable {
    /// The server's error, in its words.
    case server(String)
    /// Another message than the expected one, or one that cannot be decoded.
    case unexpected(code: UInt8)
}

package enum RiakClientMessages {
    // MARK: Requests

    package static let ping = RiakFrame(.pingRequest)
    package static let serverInfo = RiakFrame(.serverInfoRequest)

    package static func get(
        _ name: RiakName, _ options: RiakRequestOptions = RiakRequestOptions(), head: Bool = false,
        deletedClock: Bool = true, unlessClock: ByteBuffer? = nil
    ) -> RiakFrame {
        var message = RpbGetReq()
        message.bucket = Data(copying: name.bucket)
        message.key = Data(copying: name.key)
        if name.type.readableBytes > 0 { message.type = Data(copying: name.type) }
        if let r = options.r { message.r = r }
        if let pr = options.pr { message.pr = pr }
        if let basicQuorum = options.basicQuorum { message.basicQuorum = basicQuorum }
        if let notFoundOK = options.notFoundOK { message.notfoundOk = notFoundOK }
        if let sloppyQuorum = options.sloppyQuorum { message.sloppyQuorum = sloppyQuorum }
        if let nodeConfirms = options.nodeConfirms { message.nodeConfirms = nodeConfirms }
        if let timeout = options.timeoutMilliseconds { message.timeout = timeout }
        if head { message.head = true }
        if deletedClock { message.deletedvclock = true }
        if let unlessClock { message.ifModified = Data(copying: unlessClock) }
        return frame(.getRequest, message)
    }

    /// An empty key lets the server make one.
    package static func put(
        _ name: RiakName, value: ByteBuffer, _ details: RiakPutDetails = RiakPutDetails(),
        _ options: RiakRequestOptions = RiakRequestOptions()
    ) -> RiakFrame {
        var message = RpbPutReq()
        message.bucket = Data(copying: name.bucket)
        if name.key.readableBytes > 0 { message.key = Data(copying: name.key) }
        if name.type.readableBytes > 0 { message.type = Data(copying: name.type) }
        if let vclock = details.vclock { message.vclock = Data(copying: vclock) }
        message.content = RpbContent(value: value, metadata: details.metadata)
        if let w = options.w { message.w = w }
        if let dw = options.dw { message.dw = dw }
        if let pw = options.pw { message.pw = pw }
        if let sloppyQuorum = options.sloppyQuorum { message.sloppyQuorum = sloppyQuorum }
        if let nodeConfirms = options.nodeConfirms { message.nodeConfirms = nodeConfirms }
        if let timeout = options.timeoutMilliseconds { message.timeout = timeout }
        if details.ifNotModified { message.ifNotModified = true }
        if details.ifNoneMatch { message.ifNoneMatch = true }
        switch details.returned {
        case .nothing: break
        case .head: message.returnHead = true
        case .full: message.returnBody = true
        }
        return frame(.putRequest, message)
    }

    package static func delete(
        _ name: RiakName, vclock: ByteBuffer? = nil, _ options: RiakRequestOptions = RiakRequestOptions()
    ) -> RiakFrame {
        var message = RpbDelReq()
        message.bucket = Data(copying: name.bucket)
        message.key = Data(copying: name.key)
        if name.type.readableBytes > 0 { message.type = Data(copying: name.type) }
        if let vclock { message.vclock = Data(copying: vclock) }
        if let rw = options.rw { message.rw = rw }
        if let r = options.r { message.r = r }
        if let w = options.w { message.w = w }
        if let pr = options.pr { message.pr = pr }
        if let pw = options.pw { message.pw = pw }
        if let dw = options.dw { message.dw = dw }
        if let sloppyQuorum = options.sloppyQuorum { message.sloppyQuorum = sloppyQuorum }
        if let timeout = options.timeoutMilliseconds { message.timeout = timeout }
        return frame(.deleteRequest, message)
    }

    package static func listKeys(type: ByteBuffer, bucket: ByteBuffer, timeoutMilliseconds: UInt32?) -> RiakFrame {
        var message = RpbListKeysReq()
        message.bucket = Data(copying: bucket)
        if type.readableBytes > 0 { message.type = Data(copying: type) }
        if let timeoutMilliseconds { message.timeout = timeoutMilliseconds }
        return frame(.listKeysRequest, message)
    }

    /// Streaming.
    package static func listBuckets(type: ByteBuffer, timeoutMilliseconds: UInt32?) -> RiakFrame {
        var message = RpbListBucketsReq()
        message.stream = true
        if type.readableBytes > 0 { message.type = Data(copying: type) }
        if let timeoutMilliseconds { message.timeout = timeoutMilliseconds }
        return frame(.listBucketsRequest, message)
    }

    package static func properties(type: ByteBuffer, bucket: ByteBuffer) -> RiakFrame {
        var message = RpbGetBucketReq()
        message.bucket = Data(copying: bucket)
        if type.readableBytes > 0 { message.type = Data(copying: type) }
        return frame(.getBucketRequest, message)
    }

    package static func setProperties(
        type: ByteBuffer, bucket: ByteBuffer, to properties: RiakBucketSettings
    ) -> RiakFrame {
        var message = RpbSetBucketReq()
        message.bucket = Data(copying: bucket)
        if type.readableBytes > 0 { message.type = Data(copying: type) }
        message.props = RpbBucketProps(properties)
        return frame(.setBucketRequest, message)
    }

    package static func resetProperties(type: ByteBuffer, bucket: ByteBuffer) -> RiakFrame {
        var message = RpbResetBucketReq()
        message.bucket = Data(copying: bucket)
        if type.readableBytes > 0 { message.type = Data(copying: type) }
        return frame(.resetBucketRequest, message)
    }

    package static func preferenceList(_ name: RiakName) -> RiakFrame {
        var message = RpbGetBucketKeyPreflistReq()
        message.bucket = Data(copying: name.bucket)
        message.key = Data(copying: name.key)
        if name.type.readableBytes > 0 { message.type = Data(copying: name.type) }
        return frame(.preferenceListRequest, message)
    }

    /// `known`: the fingerprint of the ring that the client has.
    package static func ring(known: UInt64?) -> RiakFrame {
        RiakFrame(.ringRequest, body: known.map { ByteBuffer(integer: $0) } ?? ByteBuffer())
    }

    private static func frame(_ code: RiakMessageCode, _ message: some Message) -> RiakFrame {
        do {
            return RiakFrame(code, body: try message.encoded())
        } catch {
            preconditionFailure("a request beyond 2 GiB: \(error)")
        }
    }

    // MARK: Answers

    package static func object(_ frame: RiakFrame) throws(RiakAnswerError) -> RiakObject {
        switch RiakMessageCode(rawValue: frame.code) {
        case .getResponse:
            let message: RpbGetResp = try decode(.getResponse, frame)
            return RiakObject(
                contents: message.content.map(RiakContent.init),
                vclock: message.hasVclock ? message.vclock.byteBuffer : nil, isUnchanged: message.unchanged)
        default:
            let message: RpbPutResp = try decode(.putResponse, frame)
            return RiakObject(
                contents: message.content.map(RiakContent.init),
                vclock: message.hasVclock ? message.vclock.byteBuffer : nil, isUnchanged: false,
                key: message.hasKey ? message.key.byteBuffer : nil)
        }
    }

    /// Checks an answer that says nothing but that it is done.
    package static func done(_ frame: RiakFrame, _ code: RiakMessageCode) throws(RiakAnswerError) {
        try check(frame, code)
    }

    package static func names(_ frame: RiakFrame) throws(RiakAnswerError) -> (names: [ByteBuffer], isLast: Bool) {
        if frame.code == RiakMessageCode.listBucketsResponse.rawValue {
            let message: RpbListBucketsResp = try decode(.listBucketsResponse, frame)
            return (message.buckets.map(\.byteBuffer), message.done)
        }
        let message: RpbListKeysResp = try decode(.listKeysResponse, frame)
        return (message.keys.map(\.byteBuffer), message.done)
    }

    package static func properties(_ frame: RiakFrame) throws(RiakAnswerError) -> RiakBucketSettings {
        let message: RpbGetBucketResp = try decode(.getBucketResponse, frame)
        return RiakBucketSettings(message.props)
    }

    package static func serverInfo(_ frame: RiakFrame) throws(RiakAnswerError) -> (node: String, version: String) {
        let message: RpbGetServerInfoResp = try decode(.serverInfoResponse, frame)
        return (String(buffer: message.node.byteBuffer), String(buffer: message.serverVersion.byteBuffer))
    }

    package static func preferenceList(
        _ frame: RiakFrame
    ) throws(RiakAnswerError) -> [(partition: Int, node: String, isPrimary: Bool)] {
        let message: RpbGetBucketKeyPreflistResp = try decode(.preferenceListResponse, frame)
        return message.preflist.map { (Int($0.partition), String(buffer: $0.node.byteBuffer), $0.primary) }
    }

    package static func ring(_ frame: RiakFrame) throws(RiakAnswerError) -> RiakRingAnswer {
        try check(frame, .ringResponse)
        do {
            return try RiakRingAnswer(decoding: frame.body)
        } catch {
            throw .unexpected(code: frame.code)
        }
    }

    /// Nil when the frame is no error answer.
    package static func error(_ frame: RiakFrame) -> RiakAnswerError? {
        guard frame.code == RiakMessageCode.errorResponse.rawValue else { return nil }
        guard let error = RpbErrorResp(decoding: frame.body) else { return .unexpected(code: frame.code) }
        return .server(String(buffer: error.errmsg.byteBuffer))
    }

    private static func check(_ frame: RiakFrame, _ code: RiakMessageCode) throws(RiakAnswerError) {
        if frame.code == code.rawValue { return }
        throw error(frame) ?? .unexpected(code: frame.code)
    }

    private static func decode<M: Message>(
        _ code: RiakMessageCode, _ frame: RiakFrame
    ) throws(RiakAnswerError) -> M {
        try check(frame, code)
        guard let message = M(decoding: frame.body) else { throw .unexpected(code: frame.code) }
        return message
    }
}

/// Bucket properties as a client sends and gets them; nil: not said.
package struct RiakBucketSettings: Hashable, Sendable {
    package var n: UInt32?
    package var allowMult: Bool?
    package var lastWriteWins: Bool?
    package var r: UInt32?
    package var w: UInt32?
    package var pr: UInt32?
    package var pw: UInt32?
    package var dw: UInt32?
    package var rw: UInt32?
    package var basicQuorum: Bool?
    package var notFoundOK: Bool?

    package init() {}

    fileprivate init(_ props: RpbBucketProps) {
        if props.hasNVal { n = props.nVal }
        if props.hasAllowMult { allowMult = props.allowMult }
        if props.hasLastWriteWins { lastWriteWins = props.lastWriteWins }
        if props.hasR { r = props.r }
        if props.hasW { w = props.w }
        if props.hasPr { pr = props.pr }
        if props.hasPw { pw = props.pw }
        if props.hasDw { dw = props.dw }
        if props.hasRw { rw = props.rw }
        if props.hasBasicQuorum { basicQuorum = props.basicQuorum }
        if props.hasNotfoundOk { notFoundOK = props.notfoundOk }
    }
}

extension RpbBucketProps {
    fileprivate init(_ settings: RiakBucketSettings) {
        self.init()
        if let n = settings.n { nVal = n }
        if let allowMult = settings.allowMult { self.allowMult = allowMult }
        if let lastWriteWins = settings.lastWriteWins { self.lastWriteWins = lastWriteWins }
        if let r = settings.r { self.r = r }
        if let w = settings.w { self.w = w }
        if let pr = settings.pr { self.pr = pr }
        if let pw = settings.pw { self.pw = pw }
        if let dw = settings.dw { self.dw = dw }
        if let rw = settings.rw { self.rw = rw }
        if let basicQuorum = settings.basicQuorum { self.basicQuorum = basicQuorum }
        if let notFoundOK = settings.notFoundOK { notfoundOk = notFoundOK }
    }
}

extension RiakContent {
    fileprivate init(_ content: RpbContent) {
        value = content.value.byteBuffer
        metadata = ContentMetadata(content)
        tag = String(buffer: content.vtag.byteBuffer)
        lastModified = UInt64(content.lastMod) * 1_000_000 + UInt64(content.lastModUsecs)
        isDeleted = content.deleted
    }
}
