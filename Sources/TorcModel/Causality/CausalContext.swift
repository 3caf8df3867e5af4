// What a client hands back to say which versions its write replaces. To the client it is opaque bytes. It is
// sealed with the cluster key and bound to its object, because a forged or misplaced clock destroys data: a
// put with a context that covers everything would silently delete every concurrent version.

package import Crypto
package import NIOCore

/// The version vector that a reader saw, and the largest stamp that it saw.
package struct CausalContext: Hashable, Sendable {
    package var clock: VersionVector
    package var latestTimestamp: HybridTimestamp

    package init(clock: VersionVector, latestTimestamp: HybridTimestamp) {
        self.clock = clock
        self.latestTimestamp = latestTimestamp
    }

    package init(of object: VersionedObject) {
        self.init(clock: object.clock, latestTimestamp: object.latestTimestamp)
    }

    package func encode(into buffer: inout ByteBuffer) {
        buffer.writeVarint(latestTimestamp.rawValue)
        clock.encode(into: &buffer)
    }

    package init(decoding buffer: inout ByteBuffer) throws(MalformedBytes) {
        latestTimestamp = HybridTimestamp(rawValue: try buffer.readVarint("context"))
        clock = try VersionVector(decoding: &buffer)
    }
}

/// Why a client's context was refused.
package enum ContextRefusal: Error, Hashable, Sendable {
    /// Not bytes that Torc hands out, or of another version.
    case malformed
    /// Sealed with another cluster's key, or for another object, or altered.
    case forged
}

/// The cluster's secret and what is derived from it. Every node is configured with the same one.
package struct ClusterKey: Sendable {
    package static let minimumSecretBytes = 16

    package let hashSeed: HashSeed
    /// Authenticates the peer handshake.
    package let peerKey: SymmetricKey
    /// Keyed and copied for each context: keying it costs as much as the rest.
    private let contextSeal: KeyedSHA256

    /// Nil when the secret is shorter than 16 bytes.
    package init?(secret: [UInt8]) {
        guard secret.count >= Self.minimumSecretBytes else { return nil }
        let root = SymmetricKey(data: secret)
        func derive(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(inputKeyMaterial: root, info: Array("torc \(purpose)".utf8), outputByteCount: 32)
        }
        contextSeal = KeyedSHA256(key: derive("context"))
        peerKey = derive("peer")
        hashSeed = HashSeed(
            rawValue: derive("hash").withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) })
    }

    private static let tokenVersion: UInt8 = 1
    private static let sealBytes = 16

    /// The client's token: version, context, seal.
    package func seal(_ context: CausalContext, for key: ObjectKey) -> ByteBuffer {
        var token = ByteBuffer()
        token.reserveCapacity(32 + context.clock.entries.count * 12)
        token.writeInteger(Self.tokenVersion)
        context.encode(into: &token)
        let (first, second) = authenticator(of: token, for: key)
        token.writeMultipleIntegers(first, second)
        return token
    }

    package func open(_ token: ByteBuffer, for key: ObjectKey) throws(ContextRefusal) -> CausalContext {
        var body = token
        guard let signed = body.readSlice(length: max(0, token.readableBytes - Self.sealBytes)),
            signed.readableBytes > 0, signed.getInteger(at: signed.readerIndex, as: UInt8.self) == Self.tokenVersion,
            let theirs = body.readMultipleIntegers(as: (UInt64, UInt64).self)
        else { throw .malformed }
        let mine = authenticator(of: signed, for: key)
        // Both halves, whatever the first says: how long it takes tells nothing.
        guard (mine.0 ^ theirs.0) | (mine.1 ^ theirs.1) == 0 else { throw .forged }
        var reader = signed
        reader.moveReaderIndex(forwardBy: 1)
        do {
            let context = try CausalContext(decoding: &reader)
            try reader.requireEmpty("context")
            return context
        } catch {
            throw .malformed
        }
    }

    /// The first sixteen bytes of the code, eight in each number.
    private func authenticator(of body: ByteBuffer, for key: ObjectKey) -> (UInt64, UInt64) {
        let code = body.withUnsafeReadableBytes { body in
            key.storageKey.withUnsafeReadableBytes { contextSeal.authenticationCode(for: body, $0) }
        }
        return code.withUnsafeBytes { bytes in
            (
                UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }
}

/// HMAC-SHA256 (RFC 2104) with the key's two blocks hashed once. `HMAC` of the library hashes them for each
/// message, which for a context costs more than the context.
package struct KeyedSHA256: Sendable {
    private static let blockBytes = 64

    private var inner = SHA256()
    private var outer = SHA256()

    /// A key of at most 64 bytes.
    package init(key: SymmetricKey) {
        var block = key.withUnsafeBytes { Array($0) }
        precondition(block.count <= Self.blockBytes, "a key of \(block.count) bytes")
        block += Array(repeating: 0, count: Self.blockBytes - block.count)
        block.map { $0 ^ 0x36 }.withUnsafeBytes { inner.update(bufferPointer: $0) }
        block.map { $0 ^ 0x5c }.withUnsafeBytes { outer.update(bufferPointer: $0) }
    }

    /// Of a message in two pieces; the second may be empty.
    package func authenticationCode(
        for message: UnsafeRawBufferPointer,
        _ rest: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) -> SHA256.Digest {
        var inner = inner
        inner.update(bufferPointer: message)
        if rest.count > 0 { inner.update(bufferPointer: rest) }
        var outer = outer
        inner.finalize().withUnsafeBytes { outer.update(bufferPointer: $0) }
        return outer.finalize()
    }
}
