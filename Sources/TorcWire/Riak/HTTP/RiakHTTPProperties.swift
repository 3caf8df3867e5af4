// Bucket properties as JSON. See `RiakProperties.swift` for what is refused and what has no effect.

import HTTPTypes
import NIOCore
import TorcModel
import TorcReplication

extension PropertiesChange {
    init(json body: ByteBuffer) throws(RiakHTTPFailure) {
        guard let props = JSONValue(decoding: body)?["props"], case .object(let fields) = props else {
            throw RiakHTTPFailure(.badRequest, "The body must be JSON: {\"props\":{…}}")
        }
        func bad(_ name: String, _ wanted: String) -> RiakHTTPFailure {
            RiakHTTPFailure(.badRequest, "Bucket property \(name) must be \(wanted)")
        }
        func flag(_ name: String, _ value: JSONValue) throws(RiakHTTPFailure) -> Bool {
            guard case .bool(let flag) = value else { throw bad(name, "true or false") }
            return flag
        }
        func count(_ name: String, _ value: JSONValue) throws(RiakHTTPFailure) -> UInt8 {
            guard case .integer(let count) = value, count >= 0 else { throw bad(name, "an integer") }
            return UInt8(clamping: count)
        }
        func quorum(_ name: String, _ value: JSONValue) throws(RiakHTTPFailure) -> Quorum? {
            switch value {
            case .integer(let count) where count >= 0: return .count(UInt8(clamping: count))
            case .string("one"): return .one
            case .string("quorum"): return .quorum
            case .string("all"): return .all
            case .string("default"): return nil
            default: throw bad(name, "an integer, \"one\", \"quorum\" or \"all\"")
            }
        }
        func refuse(_ name: String, unless isOff: Bool) throws(RiakHTTPFailure) {
            if !isOff { throw RiakHTTPFailure(.badRequest, "Bucket property \(name) is not supported") }
        }
        self.init()
        var allowMult: Bool?
        var lastWriteWins: Bool?
        for (name, value) in fields {
            switch name {
            case "n_val": n = try count(name, value)
            case "allow_mult": allowMult = try flag(name, value)
            case "last_write_wins": lastWriteWins = try flag(name, value)
            case "r": r = try quorum(name, value)
            case "w": w = try quorum(name, value)
            case "pr": pr = try quorum(name, value)
            case "pw": pw = try quorum(name, value)
            case "dw": dw = try quorum(name, value)
            case "rw": rw = try quorum(name, value)
            case "node_confirms": nodeConfirms = try count(name, value)
            case "notfound_ok": notFoundOK = try flag(name, value)
            case "basic_quorum": basicQuorum = try flag(name, value)
            case "one_cache_ms":
                guard case .integer(let count) = value, count >= 0 else { throw bad(name, "an integer") }
                oneCacheMilliseconds = UInt16(clamping: count)
            case "precommit", "postcommit": try refuse(name, unless: value == .array([]))
            case "search", "consistent", "write_once": try refuse(name, unless: value == .bool(false))
            case "search_index", "datatype": try refuse(name, unless: false)
            default: break
            }
        }
        conflictMode = ConflictMode(allowMult: allowMult, lastWriteWins: lastWriteWins)
    }
}

extension BucketProperties {
    func json(of scope: PropertiesScope) -> JSONValue {
        var fields: [(String, JSONValue)] = []
        if case .bucket(let bucket) = scope { fields.append(("name", .string(String(buffer: bucket.name)))) }
        fields += [
            ("n_val", .integer(Int(n))), ("allow_mult", .bool(conflictMode == .siblings)),
            ("last_write_wins", .bool(conflictMode == .lww)), ("r", r.json), ("w", w.json), ("pr", pr.json),
            ("pw", pw.json), ("dw", dw.json), ("rw", rw.json), ("node_confirms", .integer(Int(nodeConfirms))),
            ("notfound_ok", .bool(notFoundOK)), ("basic_quorum", .bool(basicQuorum)),
            ("one_cache_ms", .integer(Int(oneCacheMilliseconds))), ("precommit", .array([])),
            ("postcommit", .array([])), ("chash_keyfun", RiakFunction.keyHash.json),
            ("linkfun", RiakFunction.linkWalk.json), ("search", .bool(false)), ("consistent", .bool(false)),
            ("write_once", .bool(false)),
        ]
        return .object(fields)
    }
}

extension Quorum {
    fileprivate var json: JSONValue {
        switch self {
        case .count(let count): .integer(Int(count))
        case .one: .string("one")
        case .quorum: .string("quorum")
        case .all: .string("all")
        }
    }
}

extension RiakFunction {
    fileprivate var json: JSONValue { .object([("mod", .string(module)), ("fun", .string(function))]) }
}
