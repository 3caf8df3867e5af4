// The bytes of a record, to the disk and from it.

import NIOCore
import TorcModel

extension MicroSubject {
    static let records = [
        MicroSubject("record: encode", "an object of one sibling of 1 KiB, its header and checksum") {
            let inputs = MicroInputs()
            let objects = (0..<MicroInputs.count).map { inputs.object($0, counters: [4, 5, 2], writer: 0) }
            let head = header(inputs)
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let place = index % MicroInputs.count
                    let record = Record(header: head, body: objects[place].encoded)
                    sum &+= UInt64(record.encoded(for: inputs.names[place]).readableBytes)
                }
                return sum
            }
        },
        MicroSubject("record: decode", "the same, checked, and its object") {
            let inputs = MicroInputs()
            let head = header(inputs)
            let records = (0..<MicroInputs.count).map { index in
                let object = inputs.object(index, counters: [4, 5, 2], writer: 0)
                return Record(header: head, body: object.encoded).encoded(for: inputs.names[index])
            }
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let place = index % MicroInputs.count
                    let record = try Record(decoding: records[place], for: inputs.names[place])
                    sum &+= UInt64(try record.object().siblings.count)
                }
                return sum
            }
        },
    ]

    private static func header(_ inputs: MicroInputs) -> LocalHeader {
        LocalHeader(
            copies: 3, minting: .init(actor: inputs.actors[0], incarnation: Incarnation(rawValue: 9), counter: 4))
    }
}
