// A stamped record on its way from one node to another.

import NIOCore
import TorcModel
import TorcReplication
import TorcWire

extension MicroSubject {
    static let peerFrames = [
        MicroSubject("frame: encode", "a replica's write of 1 KiB, in a frame with its checksum") {
            let inputs = MicroInputs()
            let made = writes(inputs)
            var queue = OutboundQueue(limits: PeerLimits())
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    _ = queue.append(made[index % MicroInputs.count])
                    sum &+= UInt64(queue.next()?.0.readableBytes ?? 0)
                }
                return sum
            }
        },
        MicroSubject("frame: decode", "the same") {
            let inputs = MicroInputs()
            var queue = OutboundQueue(limits: PeerLimits())
            let frames = writes(inputs).map { write in
                _ = queue.append(write)
                return queue.next()!.0
            }
            var reader = PeerFrameReader(maximumPayloadBytes: 1 << 20)
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    reader.append(frames[index % MicroInputs.count])
                    guard var payload = try reader.next()?.payload else { throw MicroFailure("a frame is not whole") }
                    guard case .write(let write) = try PeerMessageCodec.decode(from: &payload) else {
                        throw MicroFailure("a write came out as something else")
                    }
                    sum &+= write.operation.rawValue
                }
                return sum
            }
        },
    ]

    private static func writes(_ inputs: MicroInputs) -> [PeerMessage] {
        (0..<MicroInputs.count).map { index in
            .write(
                ReplicaWrite(
                    operation: OperationID(lane: 0, number: UInt64(index)), key: inputs.names[index], copies: 3,
                    epoch: 1, body: inputs.object(index, counters: [4, 5, 2], writer: 0).encoded))
        }
    }
}
