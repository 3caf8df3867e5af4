// What reconciles two states of an object.

import TorcModel

extension MicroSubject {
    static let merging = [
        MicroSubject("merge: newer", "a state and one that has seen it, three actors") {
            let inputs = MicroInputs()
            let older = (0..<MicroInputs.count).map { inputs.object($0, counters: [3, 5, 2], writer: 1) }
            let newer = (0..<MicroInputs.count).map { inputs.object($0, counters: [4, 5, 2], writer: 0) }
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let place = index % MicroInputs.count
                    sum &+= merged(older[place], newer[place])
                }
                return sum
            }
        },
        MicroSubject("merge: concurrent", "two states that have not seen each other: two siblings") {
            let inputs = MicroInputs()
            let left = (0..<MicroInputs.count).map { inputs.object($0, counters: [4, 5, 2], writer: 0) }
            let right = (0..<MicroInputs.count).map { inputs.object($0, counters: [3, 6, 2], writer: 1) }
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let place = index % MicroInputs.count
                    sum &+= merged(left[place], right[place])
                }
                return sum
            }
        },
        MicroSubject("put", "a write with the context of what it replaces") {
            let inputs = MicroInputs()
            let objects = (0..<MicroInputs.count).map { inputs.object($0, counters: [3, 5, 2], writer: 1) }
            let context = inputs.clock([3, 5, 2])
            let version = inputs.version(0, 4, value: 0)
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    var object = objects[index % MicroInputs.count]
                    object.put(version, context: context, mode: .siblings)
                    sum &+= UInt64(object.siblings.count)
                }
                return sum
            }
        },
    ]

    private static func merged(_ left: VersionedObject, _ right: VersionedObject) -> UInt64 {
        UInt64(left.merged(with: right).siblings.count)
    }
}
