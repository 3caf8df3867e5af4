// What must hold for any bytes at all. Each check takes an input, feeds it to decoders and traps when one of
// them breaks a promise: the fuzzers run them on inputs that they breed, the tests on the inputs that were
// kept (Tests/Corpus). The first byte of an input chooses the decoder, so that one corpus serves several.

package import NIOCore

/// A named check: the name is that of its corpus folder and, with the first letter raised and "Fuzz" added,
/// of its fuzz target.
package struct FuzzCheck: Sendable {
    package var name: String
    package var check: @Sendable (ByteBuffer) -> Void

    package static let all: [FuzzCheck] = [
        FuzzCheck(name: "peer", check: checkPeerDecoders),
        FuzzCheck(name: "model", check: checkModelDecoders),
        FuzzCheck(name: "riak", check: checkRiakDecoders),
        FuzzCheck(name: "resp", check: checkRESPDecoders),
    ]
}

/// For `LLVMFuzzerTestOneInput`.
package func fuzzInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> ByteBuffer {
    ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
}
