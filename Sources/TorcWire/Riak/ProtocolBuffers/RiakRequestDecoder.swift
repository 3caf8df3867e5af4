// Riak's request messages → Torc's requests. A context that this cluster did not give out for this very
// object is refused here, before anything is done.

import FoundationEssentials
import NIOCore
import SwiftProtobuf
package import TorcModel
import TorcReplication

package struct RiakRequestDecoder: Sendable {
    private let clusterKey: ClusterKey

    package init(clusterKey: ClusterKey) { self.clusterKey = clusterKey }

    /// `keyEntropy` gives 128 random bits for the key of an object that came without one.
    package func decode(
        _ frame: RiakFrame, keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakRequestError) -> RiakRequest {
        guard let code = RiakMessageCode(rawValue: frame.code) else { throw Self.unknown(frame.code) }
        switch code {
        case .getRequest:
            if let plain = RiakGetFields(plain: frame.body) { return try get(plain) }
            return try get(RiakGetFields(message(frame)))
        case .putRequest:
            if let plain = RiakPutFields(plain: frame.body) { return try put(plain, keyEntropy: keyEntropy) }
            return try put(RiakPutFields(message(frame)), keyEntropy: keyEntropy)
        case .deleteRequest: return try delete(message(frame))
        case .pingRequest: return .ping
        case .getClientIDRequest: return .clientID
        case .setClientIDRequest:
            let request: RpbSetClientIdReq = try message(frame)
            guard request.clientID.count <= Self.maximumClientIDBytes else {
                throw RiakRequestError("Client id cannot be longer than \(Self.maximumClientIDBytes) bytes")
            }
            return .setClientID(request.clientID.byteBuffer)
        case .serverInfoRequest: return .serverInfo
        case .listBucketsRequest:
            let request: RpbListBucketsReq = try message(frame)
            return .listBuckets(
                type: try RiakNames.type(request.hasType ? request.type.byteBuffer : nil),
                isStreaming: request.stream, timeout: Self.timeout(request.hasTimeout, request.timeout))
        case .listKeysRequest:
            let request: RpbListKeysReq = try message(frame)
            return .listKeys(
                try bucket(request.hasType ? request.type : nil, request.bucket),
                timeout: Self.timeout(request.hasTimeout, request.timeout))
        case .getBucketRequest:
            let request: RpbGetBucketReq = try message(frame)
            return .properties(.bucket(try bucket(request.hasType ? request.type : nil, request.bucket)))
        case .setBucketRequest:
            let request: RpbSetBucketReq = try message(frame)
            return .setProperties(
                .bucket(try bucket(request.hasType ? request.type : nil, request.bucket)),
                try PropertiesChange(request.props))
        case .resetBucketRequest:
            let request: RpbResetBucketReq = try message(frame)
            return .resetProperties(.bucket(try bucket(request.hasType ? request.type : nil, request.bucket)))
        case .getBucketTypeRequest:
            let request: RpbGetBucketTypeReq = try message(frame)
            return .properties(.type(try RiakNames.type(request.type.byteBuffer)))
        case .setBucketTypeRequest:
            let request: RpbSetBucketTypeReq = try message(frame)
            return .setProperties(
                .type(try RiakNames.type(request.type.byteBuffer)), try PropertiesChange(request.props))
        case .preferenceListRequest:
            let request: RpbGetBucketKeyPreflistReq = try message(frame)
            return .preferenceList(try object(request.hasType ? request.type : nil, request.bucket, request.key))
        case .ringRequest:
            var body = frame.body
            switch body.readableBytes {
            case 0: return .ring(known: nil)
            case 8: return .ring(known: body.readInteger())
            default: throw RiakRequestError("A request for the ring has no body, or a fingerprint of eight bytes")
            }
        case .authenticationRequest, .startTLS:
            throw RiakRequestError("Security is disabled: this port speaks neither TLS nor authentication")
        case .errorResponse, .pingResponse, .getClientIDResponse, .setClientIDResponse, .serverInfoResponse,
            .getResponse, .putResponse, .deleteResponse, .listBucketsResponse, .listKeysResponse, .getBucketResponse,
            .setBucketResponse, .resetBucketResponse, .preferenceListResponse, .ringResponse, .authenticationResponse:
            // Answers: no request has such a code.
            throw Self.unknown(frame.code)
        }
    }

    /// A client's name for itself, kept for as long as its connection.
    package static let maximumClientIDBytes = 256

    private static func unknown(_ code: UInt8) -> RiakRequestError {
        RiakRequestError("Unknown message code: \(code)")
    }

    private func message<M: Message>(_ frame: RiakFrame) throws(RiakRequestError) -> M {
        guard let message = M(decoding: frame.body) else {
            throw RiakRequestError("Cannot decode the message of code \(frame.code)", closesConnection: true)
        }
        return message
    }

    private func get(_ fields: RiakGetFields) throws(RiakRequestError) -> RiakRequest {
        var get = GetRequest(key: try RiakNames.object(type: fields.type, bucket: fields.bucket, key: fields.key))
        get.options.r = fields.r.flatMap(RiakQuorum.decode)
        get.options.pr = fields.pr.flatMap(RiakQuorum.decode)
        get.options.basicQuorum = fields.basicQuorum
        get.options.notFoundOK = fields.notFoundOK
        get.options.sloppyQuorum = fields.sloppyQuorum
        get.options.n = fields.copies.map { UInt8(clamping: $0) }
        if let confirms = fields.nodeConfirms { get.options.nodeConfirms = try Self.nodeConfirms(confirms) }
        get.headOnly = fields.head
        if let seen = fields.ifModified { get.unlessClock = try context(seen, for: get.key)?.clock }
        return .object(
            RiakObjectRequest(
                .get(get), timeout: Self.timeout(fields.timeout), form: .get(deletedClock: fields.deletedClock)))
    }

    private func put(
        _ fields: RiakPutFields, keyEntropy: () -> (UInt64, UInt64)
    ) throws(RiakRequestError) -> RiakRequest {
        let madeKey = fields.key == nil ? ByteBuffer(string: VersionTag.madeKey(keyEntropy())) : nil
        let key = try RiakNames.object(
            type: fields.type, bucket: fields.bucket, key: madeKey ?? fields.key ?? ByteBuffer())
        var metadata = fields.metadata
        let life = try RiakLifetime.take(from: &metadata)
        let writeID = try RiakWriteName.take(from: &metadata)
        var seen: CausalContext?
        if let vclock = fields.vclock { seen = try context(vclock, for: key) }
        var put = PutRequest(key: key, context: seen, metadata: metadata.encoded, value: fields.value)
        put.lifetimeSeconds = life
        put.writeID = writeID
        put.options.w = fields.w.flatMap(RiakQuorum.decode)
        put.options.dw = fields.dw.flatMap(RiakQuorum.decode)
        put.options.pw = fields.pw.flatMap(RiakQuorum.decode)
        put.options.sloppyQuorum = fields.sloppyQuorum
        put.options.n = fields.copies.map { UInt8(clamping: $0) }
        if let confirms = fields.nodeConfirms { put.options.nodeConfirms = try Self.nodeConfirms(confirms) }
        if fields.ifNoneMatch {
            put.condition = .ifNoneMatch
        } else if fields.ifNotModified {
            // Without a vclock the client knows of no version at all.
            put.condition = .ifNotModified(put.context?.clock ?? VersionVector())
        }
        put.returnedBody = fields.returnBody ? .full : fields.returnHead ? .head : .nothing
        return .object(
            RiakObjectRequest(.put(put), timeout: Self.timeout(fields.timeout), form: .put(madeKey: madeKey)))
    }

    private func delete(_ message: RpbDelReq) throws(RiakRequestError) -> RiakRequest {
        let key = try object(message.hasType ? message.type : nil, message.bucket, message.key)
        var delete = DeleteRequest(
            key: key, context: message.hasVclock ? try context(message.vclock.byteBuffer, for: key) : nil)
        if message.hasRw { delete.options.rw = RiakQuorum.decode(message.rw) }
        if message.hasR { delete.options.r = RiakQuorum.decode(message.r) }
        if message.hasW { delete.options.w = RiakQuorum.decode(message.w) }
        if message.hasPr { delete.options.pr = RiakQuorum.decode(message.pr) }
        if message.hasPw { delete.options.pw = RiakQuorum.decode(message.pw) }
        if message.hasDw { delete.options.dw = RiakQuorum.decode(message.dw) }
        if message.hasSloppyQuorum { delete.options.sloppyQuorum = message.sloppyQuorum }
        if message.hasNVal { delete.options.n = UInt8(clamping: message.nVal) }
        return .object(
            RiakObjectRequest(
                .delete(delete), timeout: Self.timeout(message.hasTimeout, message.timeout), form: .delete))
    }

    private func object(_ type: Data?, _ bucket: Data, _ key: Data) throws(RiakRequestError) -> ObjectKey {
        try RiakNames.object(type: type?.byteBuffer, bucket: bucket.byteBuffer, key: key.byteBuffer)
    }

    private func bucket(_ type: Data?, _ name: Data) throws(RiakRequestError) -> BucketID {
        try RiakNames.bucket(type: type?.byteBuffer, name: name.byteBuffer)
    }

    /// Nil for an empty vclock, which some clients send for none.
    private func context(_ token: ByteBuffer, for key: ObjectKey) throws(RiakRequestError) -> CausalContext? {
        if token.readableBytes == 0 { return nil }
        do {
            return try clusterKey.open(token, for: key)
        } catch {
            throw RiakRequestError(RiakText.text(of: error))
        }
    }

    private static func timeout(_ milliseconds: UInt32?) -> Duration? {
        timeout(milliseconds != nil, milliseconds ?? 0)
    }

    /// A timeout of zero is none, as in Riak.
    private static func timeout(_ given: Bool, _ milliseconds: UInt32) -> Duration? {
        given && milliseconds > 0 ? .milliseconds(Int64(milliseconds)) : nil
    }

    /// How many nodes `quorum` and `all` would be depends on the bucket; a request names a number.
    private static func nodeConfirms(_ value: UInt32) throws(RiakRequestError) -> UInt8? {
        switch RiakQuorum.decode(value) {
        case nil: nil
        case .count(let count): count
        case .one: 1
        case .quorum, .all: throw RiakRequestError("node_confirms must be a number")
        }
    }
}

extension RiakPutFields {
    init(_ message: RpbPutReq) {
        bucket = message.bucket.byteBuffer
        if message.hasType { type = message.type.byteBuffer }
        if message.hasKey { key = message.key.byteBuffer }
        if message.hasVclock { vclock = message.vclock.byteBuffer }
        metadata = ContentMetadata(message.content)
        value = message.content.value.byteBuffer
        if message.hasW { w = message.w }
        if message.hasDw { dw = message.dw }
        if message.hasPw { pw = message.pw }
        if message.hasTimeout { timeout = message.timeout }
        if message.hasNVal { copies = message.nVal }
        if message.hasNodeConfirms { nodeConfirms = message.nodeConfirms }
        if message.hasSloppyQuorum { sloppyQuorum = message.sloppyQuorum }
        returnBody = message.returnBody
        returnHead = message.returnHead
        ifNotModified = message.ifNotModified
        ifNoneMatch = message.ifNoneMatch
    }
}

extension RiakGetFields {
    init(_ message: RpbGetReq) {
        bucket = message.bucket.byteBuffer
        if message.hasType { type = message.type.byteBuffer }
        key = message.key.byteBuffer
        if message.hasR { r = message.r }
        if message.hasPr { pr = message.pr }
        if message.hasTimeout { timeout = message.timeout }
        if message.hasNVal { copies = message.nVal }
        if message.hasNodeConfirms { nodeConfirms = message.nodeConfirms }
        if message.hasBasicQuorum { basicQuorum = message.basicQuorum }
        if message.hasNotfoundOk { notFoundOK = message.notfoundOk }
        if message.hasSloppyQuorum { sloppyQuorum = message.sloppyQuorum }
        if message.hasIfModified { ifModified = message.ifModified.byteBuffer }
        head = message.head
        deletedClock = message.deletedvclock
    }
}

extension ContentMetadata {
    init(_ content: RpbContent) {
        self.init()
        contentType = content.contentType.byteBuffer
        charset = content.charset.byteBuffer
        contentEncoding = content.contentEncoding.byteBuffer
        links = content.links.map {
            Link(bucket: $0.bucket.byteBuffer, key: $0.key.byteBuffer, tag: $0.tag.byteBuffer)
        }
        userMetadata = content.usermeta.map { Pair(name: $0.key.byteBuffer, value: $0.value.byteBuffer) }
        indexes = content.indexes.map { Pair(name: $0.key.byteBuffer, value: $0.value.byteBuffer) }
    }
}
