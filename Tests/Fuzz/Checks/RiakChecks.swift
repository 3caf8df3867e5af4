// Bytes from the ports of Riak's protocols: frames, messages, HTTP requests, and answers at a client.

import HTTPTypes
package import NIOCore
import TorcModel
import TorcReplication
import TorcWire

private let clusterKey = ClusterKey(secret: Array("a cluster key for fuzzing".utf8))!

package func checkRiakDecoders(_ input: ByteBuffer) {
    var bytes = input
    switch bytes.readInteger(as: UInt8.self).map({ $0 % 4 }) {
    case nil: break
    case 0: checkFrames(bytes)
    case 1: checkRequest(bytes)
    case 2: checkHTTP(bytes)
    default: checkAnswer(bytes)
    }
}

/// The frames of a stream do not depend on how it is cut into reads, and never hold more than arrived.
private func checkFrames(_ bytes: ByteBuffer) {
    func frames(readBytes: Int) -> ([RiakFrame], RiakFrameError?) {
        var decoder = RiakFrameDecoder(maximumFrameBytes: 1 << 16)
        var frames: [RiakFrame] = []
        var rest = bytes
        while let read = rest.readSlice(length: min(readBytes, rest.readableBytes)), read.readableBytes > 0 {
            decoder.append(read)
            precondition(decoder.pendingBytes <= bytes.readableBytes)
            do {
                while let frame = try decoder.next() { frames.append(frame) }
            } catch {
                return (frames, error)
            }
        }
        return (frames, nil)
    }
    let whole = frames(readBytes: .max)
    precondition(whole == frames(readBytes: 3), "frames depend on the reads")
    var encoded = ByteBuffer()
    for frame in whole.0 { frame.encode(into: &encoded) }
    precondition(
        encoded == bytes.getSlice(at: bytes.readerIndex, length: encoded.readableBytes), "a frame has two encodings")
    for frame in whole.0 { checkMessage(frame) }
}

private func checkRequest(_ bytes: ByteBuffer) {
    var body = bytes
    guard let code = body.readInteger(as: UInt8.self) else { return }
    checkMessage(RiakFrame(code: code, body: body))
}

/// What is taken for a request is one that the store may be given, and every answer to it can be written.
private func checkMessage(_ frame: RiakFrame) {
    guard
        let request = try? RiakRequestDecoder(clusterKey: clusterKey).decode(frame, keyEntropy: { (1, 2) }),
        case .object(let object) = request
    else { return }
    checkObject(object.request)
    let encoder = RiakResponseEncoder(clusterKey: clusterKey)
    for answer in answers(to: object.request) {
        let response = encoder.encode(answer, to: object)
        precondition(response.encodedBytes >= RiakFrame.headerBytes)
        let objects: [RiakMessageCode] = [.getResponse, .putResponse]
        if objects.contains(where: { $0.rawValue == response.code }) {
            guard (try? RiakClientMessages.object(response)) != nil else {
                preconditionFailure("\(response) cannot be read back")
            }
        }
    }
}

private func checkObject(_ request: ClientRequest) {
    guard let key = try? ObjectKey(storageKey: request.key.storageKey) else {
        preconditionFailure("\(request.key) is no storage key")
    }
    precondition(key == request.key)
    guard case .put(let put) = request else { return }
    guard let metadata = try? ContentMetadata(decoding: put.metadata) else {
        preconditionFailure("\(put.metadata) is no metadata")
    }
    precondition(metadata.encoded == put.metadata, "metadata has two encodings")
}

/// Answers that carry what the client sent: one version, and two of them.
private func answers(to request: ClientRequest) -> [ClientAnswer] {
    let dots = [Dot(actor: Actor(rawValue: 1), counter: 1), Dot(actor: Actor(rawValue: 2), counter: 7)]
    let all = Participation(primaries: 2)
    func object(_ count: Int) -> ClientObject {
        var metadata = ByteBuffer()
        var value = ByteBuffer()
        if case .put(let put) = request { (metadata, value) = (put.metadata, put.value) }
        return ClientObject(
            siblings: dots.prefix(count).map {
                Sibling(dot: $0, timestamp: HybridTimestamp(rawValue: .max), metadata: metadata, value: value)
            },
            context: CausalContext(clock: VersionVector(dots), latestTimestamp: .zero))
    }
    return (0...2).flatMap { count -> [ClientAnswer] in
        [.get(.found(object(count), all)), .write(.ok(all, object(count)))]
    }
}

/// `METHOD path`, then a line a header, an empty line, the body.
private func checkHTTP(_ bytes: ByteBuffer) {
    let translator = RiakHTTPTranslator(clusterKey: clusterKey)
    var lines = bytes.readableBytesView.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)[...]
        .map { String(decoding: $0, as: UTF8.self) }[...]
    guard let first = lines.popFirst() else { return }
    let words = first.split(separator: " ", maxSplits: 1)
    guard let method = words.first.flatMap({ HTTPRequest.Method(String($0)) }) else { return }
    var fields: HTTPFields = [:]
    while let line = lines.popFirst(), !line.isEmpty {
        let parts = line.split(separator: ":", maxSplits: 1)
        if parts.count == 2, let name = HTTPField.Name(String(parts[0])) {
            fields.append(HTTPField(name: name, value: parts[1].trimmingPrefix { $0 == " " }.description))
        }
    }
    let head = HTTPRequest(
        method: method, scheme: "http", authority: "h", path: words.count > 1 ? String(words[1]) : "/",
        headerFields: fields)
    let body = ByteBuffer(string: lines.joined(separator: "\n"))
    switch translator.parse(head, body: body, keyEntropy: { (1, 2) }) {
    case .object(let object):
        checkObject(object.request)
        for answer in answers(to: object.request) {
            check(translator.respond(to: object, answer))
            var writing = object
            if case .get(let read) = answer, writing.preliminaryRead != nil {
                if let response = writing.conclude(read, translator) { check(response) }
                precondition(writing.preliminaryRead == nil)
            }
        }
    case .answered(let response): check(response)
    case .list(var listing):
        for piece: ListPiece in [.items([bytes]), .items([]), .done] { _ = listing.take(piece) }
    case .ping, .stats, .properties, .setProperties, .resetProperties, .preferenceList: break
    }
}

/// No header's value ends its line.
private func check(_ response: RiakHTTPResponse) {
    precondition((200...599).contains(response.head.status.code))
    for field in response.head.headerFields {
        precondition(!field.value.utf8.contains { $0 == 10 || $0 == 13 || $0 == 0 }, "\(field) breaks its line")
    }
}

/// At a client nothing that a server sends may do more than fail.
private func checkAnswer(_ bytes: ByteBuffer) {
    var body = bytes
    guard let code = body.readInteger(as: UInt8.self) else { return }
    let frame = RiakFrame(code: code, body: body)
    _ = try? RiakClientMessages.object(frame)
    _ = try? RiakClientMessages.names(frame)
    _ = try? RiakClientMessages.properties(frame)
    _ = try? RiakClientMessages.serverInfo(frame)
    _ = try? RiakClientMessages.preferenceList(frame)
    _ = try? RiakClientMessages.ring(frame)
    _ = RiakClientMessages.error(frame)
}
