// What the control machine hands to the agreement on rings, and back.

import TorcModel

extension Control {
    mutating func tellAgreement(of event: ControlEvent, _ now: Now, _ effects: inout [ControlEffect]) {
        guard let heard = event.ofAgreement else { return }
        var made: [RingEffect] = []
        agreement.handle(heard, now: now.monotonic, effects: &made)
        for effect in made {
            switch effect {
            case .store(let number, let record): effects.append(.storeRing(number, record))
            case .send(let message, let peer): effects.append(.send(.ring(message), to: peer))
            case .installed(let state): effects.append(.ringInstalled(state))
            case .answer(let request, let answer): effects.append(.answerRing(request, answer))
            case .observed(let observation): effects.append(.ringObserved(observation))
            }
        }
    }
}

extension ControlEvent {
    /// The part of it that the agreement hears; nil: it is no concern of its.
    fileprivate var ofAgreement: RingEvent? {
        switch self {
        case .peer(let node, .ring(let message)): .message(from: node, message)
        case .peerUp(let node): .peerUp(node)
        case .peerDown(let node): .peerDown(node)
        case .ring(let request, let order): .order(request, order)
        case .ringStored(let number): .stored(number)
        case .tick: .tick
        default: nil
        }
    }
}
