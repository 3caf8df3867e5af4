// Writes that go to another node to be coordinated: because this one holds no replica of the key, or cannot read its own.

import TorcModel

extension Coordinator {
    /// To the first replica that can be reached, once. A write that was forwarded here is not sent on: its
    /// sender's ring and this one differ, and it would hear nothing of how far the write went.
    mutating func forward(
        _ request: ClientRequest, for writer: Writer, _ properties: BucketProperties, _ plan: WritePlan,
        _ deadline: MonotonicTime, unreadable: [NodeID] = [], _ now: Now, _ effects: inout [CoordinatorEffect]
    ) throws(Refusal) {
        let needed = plan.needed.copies
        if case .peer = writer { throw .unreachable(needed: needed, reachable: 0) }
        let nodes = plan.replicas.nodes
        var present = view.reachable(of: nodes).intersection(plan.replicas.serving)
        for place in nodes.indices where unreadable.contains(nodes[place]) { present.remove(place) }
        guard let target = view.next(of: present, in: nodes).map({ nodes[$0] }) else {
            throw .unreachable(needed: needed, reachable: 0)
        }
        let id = register(writer)
        // Who coordinates it goes by what it keeps itself.
        var told = properties
        told.oneCacheMilliseconds = 0
        let message = ForwardedWrite(
            operation: id, incarnation: view.incarnation, request: request, properties: told,
            remaining: deadline.duration(since: now.monotonic))
        forwards[id] = ForwardedOperation(
            writer: writer, target: target, needed: needed, deadline: deadline, request: request,
            properties: properties, unreadable: unreadable)
        timers.wake(id, .forward, at: deadline)
        effects.append(.send(.forward(message), to: target))
    }

    /// To a replica that can read its record, as others could not. False: there is none.
    mutating func forwardPast(
        _ unreadable: [NodeID], _ request: ClientRequest, for writer: Writer, _ properties: BucketProperties,
        _ deadline: MonotonicTime, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) -> Bool {
        do throws(Refusal) {
            let plan = try plan(request.key, request.options, isDelete: request.isDelete, properties, writer)
            // Itself it has asked, or may not.
            try forward(
                request, for: writer, properties, plan, deadline, unreadable: unreadable + [view.node], now, &effects)
            return true
        } catch {
            return false
        }
    }

    /// What became of it at the node that it went to.
    mutating func forwarded(
        _ id: OperationID, _ result: WriteAnswer, by node: NodeID, _ now: Now, _ effects: inout [CoordinatorEffect]
    ) {
        guard let operation = forwards[id], operation.target == node else { return }
        forwards[id] = nil
        cache.changed(operation.request.key, at: now.monotonic)
        if case .refused(.unreadable) = result,
            forwardPast(
                operation.unreadable + [operation.target], operation.request, for: operation.writer,
                operation.properties, operation.deadline, now, &effects)
        {
            return
        }
        if case .ok(let participation, var object?) = result {
            // Judged there, a moment ago.
            object.instant = now.wall
            finish(operation.writer, .ok(participation, object), &effects)
        } else {
            finish(operation.writer, result, &effects)
        }
    }

    /// Whoever coordinates it will not be heard of again.
    mutating func lost(_ id: OperationID, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        guard let operation = forwards.removeValue(forKey: id) else { return }
        cache.changed(operation.request.key, at: now.monotonic)
        if Mutation.forwardAgainAfterSend.isActive {
            write(operation.request, for: operation.writer, operation.properties, operation.deadline, now, &effects)
            return
        }
        finish(operation.writer, operation.lost, &effects)
    }
}
