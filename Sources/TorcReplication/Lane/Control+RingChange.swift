// What the control machine hands to the agreement on rings, and back.

import TorcModel

extension Control {
    mutating func tellAgreement(of event: ControlEvent, _ now: Now, _ effects: inout [ControlEffect]) {
        if case .progress(let lane, let progress) = event { return heard(progress, of: lane, now, &effects) }
        if let heard = event.ofAgreement { tellAgreement(heard, now, &effects) }
    }

    private mutating func tellAgreement(_ heard: RingEvent, _ now: Now, _ effects: inout [ControlEffect]) {
        var made: [RingEffect] = []
        agreement.handle(heard, now: now.monotonic, effects: &made)
        for effect in made {
            switch effect {
            case .store(let number, let record): effects.append(.storeRing(number, record))
            case .send(let message, let peer): effects.append(.send(.ring(message), to: peer))
            case .installed(let state):
                follow(state, now, &effects)
                effects.append(.ringInstalled(state))
            case .answer(let request, let answer): effects.append(.answerRing(request, answer))
            case .observed(let observation): effects.append(.ringObserved(observation))
            }
        }
        if Mutation.reportBeforeLanes.isActive, agreement.state.transition != nil,
            agreement.reports[node] == nil, made.contains(where: \.isInstallation)
        {
            var report = HandoffReport()
            report.compares = .max
            tellAgreement(.progress(report), now, &effects)
        }
    }

    /// Who the members are now.
    private mutating func follow(_ state: ClusterState, _ now: Now, _ effects: inout [ControlEffect]) {
        members = state.members.map(\.node)
        laneProgress = [:]
        tellMembership(.membersChanged(state.participants.map(\.node)), now, &effects)
    }

    /// When all lanes have said how far they are with the placement that is held here, the members hear of it: so none
    /// of them works by the last one any more.
    private mutating func heard(
        _ progress: LaneProgress, of lane: Int, _ now: Now, _ effects: inout [ControlEffect]
    ) {
        guard progress.placement == agreement.state.placementFingerprint else { return }
        laneProgress[lane] = progress.report
        guard laneProgress.count == laneCount else { return }
        var report = HandoffReport()
        for lane in 0..<laneCount { report.add(laneProgress[lane]!) }
        tellAgreement(.progress(report), now, &effects)
    }
}

extension RingEffect {
    fileprivate var isInstallation: Bool {
        if case .installed = self { true } else { false }
    }
}

extension ControlEvent {
    /// The part of it that the agreement hears; nil: it is no concern of its.
    fileprivate var ofAgreement: RingEvent? {
        switch self {
        case .peer(let node, .ring(let message)): .message(from: node, message)
        case .peerUp(let node, _): .peerUp(node)
        case .peerDown(let node): .peerDown(node)
        case .ring(let request, let order): .order(request, order)
        case .ringStored(let number): .stored(number)
        case .tick: .tick
        default: nil
        }
    }
}
