// Who waits at a lane for what. A closure is called on the lane's loop, a reply on its connection's own.

import NIOCore
import TorcReplication
import TorcWire

/// Who waits for the answer to a request.
enum AnswerReceiver: Sendable {
    case riak(RiakReply)
    case resp(RESPReply)
    case closure(@Sendable (ClientAnswer) -> Void)

    func take(_ answer: ClientAnswer) {
        switch self {
        case .riak(let reply):
            if reply.eventLoop.inEventLoop {
                reply.answer(answer)
            } else {
                reply.eventLoop.execute { reply.answer(answer) }
            }
        case .resp(let reply):
            if reply.eventLoop.inEventLoop {
                reply.answer(answer)
            } else {
                reply.eventLoop.execute { reply.answer(answer) }
            }
        case .closure(let closure): closure(answer)
        }
    }
}

/// Who takes the pieces of a listing.
enum ListingReceiver: Sendable {
    case riak(RiakReply)
    case resp(RESPReply)
    case closure(@Sendable (ListPiece) -> Void)

    func take(_ piece: ListPiece) {
        switch self {
        case .riak(let reply):
            if reply.eventLoop.inEventLoop {
                reply.listed(piece)
            } else {
                reply.eventLoop.execute { reply.listed(piece) }
            }
        case .resp(let reply):
            if reply.eventLoop.inEventLoop {
                reply.listed(piece)
            } else {
                reply.eventLoop.execute { reply.listed(piece) }
            }
        case .closure(let closure): closure(piece)
        }
    }
}
