// Where a key belongs, and how the ring is dealt.

import TorcModel
import TorcReplication

extension MicroSubject {
    static let rings = [
        MicroSubject("ring: lookup", "a key's position (SHA-1), its partition and who holds it") {
            let inputs = MicroInputs()
            let size = RingSize.standard
            let plan = try ClaimPlan(size: size, members: members(6))
            let placement = Placement(Ring(epoch: 1, size: size, owners: plan.owners))
            return { count in
                var sum: UInt64 = 0
                for index in 0..<count {
                    let key = ObjectKey(bucket: inputs.bucket, key: inputs.keys[index % MicroInputs.count])
                    let holders = placement.holders(of: size.partition(of: key.position), copies: 3)
                    sum &+= holders[0].rawValue
                }
                return sum
            }
        },
        MicroSubject("claim: first ring", "64 partitions dealt to six nodes", counted: 2) {
            let nodes = members(6)
            return { count in
                var sum: UInt64 = 0
                for _ in 0..<count {
                    sum &+= try ClaimPlan(size: .standard, members: nodes).owners[0].rawValue
                }
                return sum
            }
        },
        MicroSubject("claim: a node joins", "the seventh, on a ring of 64 partitions", counted: 2) {
            let ring = Ring(
                epoch: 1, size: .standard, owners: try ClaimPlan(size: .standard, members: members(6)).owners)
            let nodes = members(7)
            return { count in
                var sum: UInt64 = 0
                for _ in 0..<count { sum &+= UInt64(try ClaimPlan(changing: ring, members: nodes).moves.count) }
                return sum
            }
        },
    ]

    private static func members(_ count: Int) -> [ClaimMember] {
        (1...count).map { ClaimMember(node: NodeID(cluster: "bench", node: "node\($0)")) }
    }
}
