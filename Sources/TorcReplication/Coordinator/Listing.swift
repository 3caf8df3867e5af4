// Listings of clients: pages of one partition after another, at the pace at which the client takes them.

package import TorcModel

extension Coordinator {
    package mutating func list(
        _ request: RequestID, _ list: ListRequest, deadline: MonotonicTime, _ now: Now,
        _ effects: inout [CoordinatorEffect]
    ) {
        guard !draining, listings.count < view.limits.listings else {
            if !draining { effects.append(.observed(.overloaded)) }
            effects.append(.listed(request, .failed(partition: PartitionID(0))))
            return
        }
        let id = numbers.nextOperation()
        let copies =
            switch list.subject {
            case .keys(let bucket): properties[bucket].n
            case .buckets(let type): properties.type(type).n
            }
        listings[id] = ListOperation(
            request: request, subject: list.subject, copies: Int(copies),
            ring: lists.placement.ring.size, start: list.start, deadline: deadline, now: now.monotonic)
        requests[request] = id
        timers.wake(id, .list, at: deadline)
        advanceListing(id, now, &effects)
    }

    package mutating func listContinue(_ request: RequestID, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        guard let id = requests[request], listings[id]?.clientContinues() != nil else { return }
        advanceListing(id, now, &effects)
    }

    mutating func advanceListing(_ id: OperationID, _ now: Now, _ effects: inout [CoordinatorEffect]) {
        var questions: [(OperationID, ListOperation.Question)] = []
        guard let outcome = listings[id]?.advance(view, &lists, &numbers, now.monotonic, &questions, &effects) else {
            guard let subject = listings[id]?.subject, let copies = listings[id].map({ UInt8($0.copies) }) else {
                return
            }
            for (page, question) in questions {
                pages[page] = id
                timers.wake(page, .page, at: now.monotonic.advanced(by: ListOperation.pagePatience))
                let request = PageRequest(
                    operation: page, partition: question.partition, copies: copies, subject: subject,
                    after: question.after)
                effects.append(.send(.page(request), to: question.replica))
            }
            return
        }
        let piece: ListPiece =
            switch outcome {
            case .done: .done
            case .paused(let place): .paused(at: place)
            case .failed(let partition): .failed(partition: partition)
            }
        endListing(id, with: piece, &effects)
    }

    mutating func endListing(
        _ id: OperationID, with piece: ListPiece, _ effects: inout [CoordinatorEffect]
    ) {
        guard let listing = listings[id] else { return }
        dropListing(id)
        requests[listing.request] = nil
        effects.append(.listed(listing.request, piece))
    }

    mutating func dropListing(_ id: OperationID) {
        guard let listing = listings.removeValue(forKey: id) else { return }
        for page in listing.openPages { pages[page] = nil }
    }
}
