// What the control machine hands to the membership, and back.

import TorcModel

extension Control {
    mutating func tellMembership(of event: ControlEvent, _ now: Now, _ effects: inout [ControlEffect]) {
        if let heard = event.ofMembership { tellMembership(heard, now, &effects) }
    }

    mutating func tellMembership(_ heard: MembershipEvent, _ now: Now, _ effects: inout [ControlEffect]) {
        var made: [MembershipEffect] = []
        membership.handle(heard, now: now.monotonic, effects: &made)
        for effect in made {
            switch effect {
            case .store(let incarnation): effects.append(.storeMembershipIncarnation(incarnation))
            case .send(let message, let peer): effects.append(.send(.membership(message), to: peer))
            case .routing(let suspected): effects.append(.routing(suspected: suspected))
            case .observed(let observation): effects.append(.observed(observation))
            }
        }
    }
}

extension ControlEvent {
    /// The part of it that the membership hears; nil: it is no concern of its.
    fileprivate var ofMembership: MembershipEvent? {
        switch self {
        case .peer(let node, .membership(let message)): .message(from: node, message)
        case .peerUp(let node, _): .peerUp(node)
        case .peerDown(let node): .peerDown(node)
        case .membershipStored(let incarnation): .stored(incarnation)
        case .facts(let facts): .facts(facts)
        case .tick: .tick
        default: nil
        }
    }
}
