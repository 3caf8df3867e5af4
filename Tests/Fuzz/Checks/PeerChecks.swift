// Bytes from the peer port: messages, frames, handshakes, and the properties that are stored in their coding.

package import NIOCore
import TorcModel
import TorcReplication
import TorcWire

package func checkPeerDecoders(_ input: ByteBuffer) {
    var bytes = input
    switch bytes.readInteger(as: UInt8.self).map({ $0 % 4 }) {
    case nil: break
    case 0: checkMessages(bytes)
    case 1: checkFrames(bytes)
    case 2: checkHandshake(bytes)
    default: checkStoredProperties(bytes)
    }
}

/// What decodes encodes to the bytes that it came from, and is no longer than was said.
private func checkMessages(_ bytes: ByteBuffer) {
    var reader = bytes
    while reader.readableBytes > 0 {
        let start = reader
        guard let message = try? PeerMessageCodec.decode(from: &reader) else { return }
        let consumed = start.getSlice(at: start.readerIndex, length: start.readableBytes - reader.readableBytes)!
        var encoded = ByteBuffer()
        PeerMessageCodec.encode(message, into: &encoded)
        precondition(encoded == consumed, "\(message) has two encodings")
        precondition(
            PeerMessageCodec.sizeBound(of: message) >= consumed.readableBytes, "\(message) is longer than said")
    }
}

/// The frames of a stream do not depend on how it is cut into reads, and never hold more than arrived.
private func checkFrames(_ bytes: ByteBuffer) {
    func frames(readBytes: Int) -> [PeerFrame] {
        var reader = PeerFrameReader(maximumPayloadBytes: 1 << 16)
        var assembly = BulkAssembly(maximumMessageBytes: 1 << 16)
        var frames: [PeerFrame] = []
        var rest = bytes
        while let read = rest.readSlice(length: min(readBytes, rest.readableBytes)), read.readableBytes > 0 {
            reader.append(read)
            precondition(reader.pendingBytes <= bytes.readableBytes)
            do {
                while let frame = try reader.next() {
                    frames.append(frame)
                    switch frame.kind {
                    case .control: checkMessages(frame.payload)
                    case .bulk: try assembly.append(frame.payload)
                    case .bulkEnd:
                        try assembly.append(frame.payload)
                        _ = try assembly.finish()
                    case .ping, .pong: break
                    }
                }
            } catch {
                return frames
            }
        }
        return frames
    }
    precondition(frames(readBytes: .max) == frames(readBytes: 3), "frames depend on the reads")
}

private func checkHandshake(_ bytes: ByteBuffer) {
    var reader = bytes
    while let (message, body) = try? HandshakeMessage.read(from: &reader) {
        precondition(body.readableBytes <= HandshakeMessage.maximumBodyBytes)
        // Text is cleaned and a hello may be longer than this build knows, so bytes may differ; meaning may not.
        var again = message.encoded
        guard let (second, _) = try? HandshakeMessage.read(from: &again) else {
            preconditionFailure("\(message) does not survive its own encoding")
        }
        precondition(second == message && again.readableBytes == 0, "\(message) became \(second)")
    }
}

private func checkStoredProperties(_ bytes: ByteBuffer) {
    guard let entries = try? PropertiesCoding.entries(stored: bytes) else { return }
    precondition(PropertiesCoding.stored(entries) == bytes, "\(entries) have two encodings")
}
