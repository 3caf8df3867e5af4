// A client's request, from its bytes to what the coordinator is asked.

import NIOCore
import TorcLoad
import TorcModel
import TorcReplication
import TorcWire

extension MicroSubject {
    static let protocols = [
        MicroSubject("riak: parse a put", "1 KiB, with a context, whose seal is checked") {
            let inputs = MicroInputs()
            let cluster = try clusterKey()
            let frames = (0..<MicroInputs.count).map { index in
                let context = CausalContext(of: inputs.object(index, counters: [3, 5, 2], writer: 1))
                var bytes = ByteBuffer()
                RiakFrames.writePut(
                    bucket: inputs.bucket.name, key: inputs.keys[index],
                    context: cluster.seal(context, for: inputs.names[index]), value: inputs.values[index], w: nil,
                    wantsContext: true, into: &bytes)
                return bytes
            }
            return try riakParser(frames, cluster)
        },
        MicroSubject("riak: parse a get", "a key of a bucket") {
            let inputs = MicroInputs()
            let frames = (0..<MicroInputs.count).map { index in
                var bytes = ByteBuffer()
                RiakFrames.writeGet(bucket: inputs.bucket.name, key: inputs.keys[index], r: nil, into: &bytes)
                return bytes
            }
            return try riakParser(frames, clusterKey())
        },
        MicroSubject("redis: parse a SET", "1 KiB") {
            let inputs = MicroInputs()
            let commands = (0..<MicroInputs.count).map { index in
                var bytes = ByteBuffer()
                let words = [ByteBuffer(string: "SET"), inputs.keys[index], inputs.values[index]]
                bytes.writeString("*\(words.count)\r\n")
                for word in words {
                    bytes.writeString("$\(word.readableBytes)\r\n")
                    bytes.writeImmutableBuffer(word)
                    bytes.writeString("\r\n")
                }
                return bytes
            }
            var reader = RESPReader(wordBytes: 1 << 20, commandBytes: 1 << 20)
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    reader.append(commands[index % MicroInputs.count])
                    guard let words = try reader.next() else { throw MicroFailure("a command is not whole") }
                    sum &+= UInt64(words[2].readableBytes)
                }
                return sum
            }
        },
    ]

    private static func clusterKey() throws -> ClusterKey {
        guard let key = ClusterKey(secret: Array("a cluster that lives for one run".utf8)) else {
            throw MicroFailure("the secret is too short")
        }
        return key
    }

    private static func riakParser(_ frames: [ByteBuffer], _ cluster: ClusterKey) throws -> (Int) throws -> UInt64 {
        let decoder = RiakRequestDecoder(clusterKey: cluster)
        let limits = RiakConnectionLimits(objectBytes: MicroInputs.valueBytes)
        var reader = RiakFrameDecoder(maximumFrameBytes: limits.frameBytes)
        return { count in
            var sum: UInt64 = 0
            for index in 0..<count {
                reader.append(frames[index % MicroInputs.count])
                guard let frame = try reader.next(),
                    case .object(let request) = try decoder.decode(frame, keyEntropy: { (0, 0) })
                else { throw MicroFailure("a request's frame is none") }
                sum &+= request.request.key.position.rawValue
            }
            return sum
        }
    }
}
