// A delete that came without context: what a quorum holds is read, and exactly that is deleted. A version
// that is written meanwhile stays, as it does beside every write whose context does not cover it.
//
// Nothing there is success: the client wanted nothing there.

import TorcModel

/// What is done once the read has ended.
enum DeleteStep: Hashable, Sendable {
    case done(WriteAnswer)
    case write(CausalContext)
}

struct DeleteOperation: Sendable {
    var writer: Writer
    let key: ObjectKey
    let options: QuorumOptions
    let properties: BucketProperties
    var plan: WritePlan
    let deadline: MonotonicTime

    func read(_ outcome: GetOutcome) -> DeleteStep {
        switch outcome {
        case .absent(let participation): .done(.ok(participation, nil))
        // What has expired still stands in the record, and is deleted.
        case .found(let object, let participation):
            object.isTombstone ? .done(.ok(participation, nil)) : .write(CausalContext(of: object))
        case .refused(let refusal): .done(.refused(refusal))
        case .failed(let failure):
            .done(.refused(.unreachable(needed: failure.needed, reachable: failure.answered)))
        }
    }

    func write(_ context: CausalContext, id: OperationID) -> PutOperation {
        PutOperation(
            id: id, key: key, writer: writer, options: options, properties: properties, plan: plan,
            context: context, change: .delete, deadline: deadline)
    }
}
