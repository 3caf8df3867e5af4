// Bucket properties between Riak's terms and Torc's.
//
// Riak has two switches for conflicts, Torc one mode: `allow_mult = false` and `last_write_wins = true` both
// mean `lww`. What Torc does not have (hooks, search, data types, write-once) is refused when it is asked
// for; what only tunes Riak's own insides (the `*_vclock` limits, the hash function, `repl`) is accepted and
// has no effect.

import FoundationEssentials
import NIOCore
package import TorcModel
import TorcReplication

/// Riak's symbolic quorums: words for a number, at the top of the 32-bit range.
package enum RiakQuorum {
    package static let one: UInt32 = 4_294_967_294
    package static let quorum: UInt32 = 4_294_967_293
    package static let all: UInt32 = 4_294_967_292
    /// The bucket's.
    package static let bucketDefault: UInt32 = 4_294_967_291

    /// Nil: the bucket's. A number too large for any bucket stays too large for any bucket.
    static func decode(_ value: UInt32) -> Quorum? {
        switch value {
        case one: .one
        case quorum: .quorum
        case all: .all
        case bucketDefault: nil
        default: .count(UInt8(clamping: value))
        }
    }

    static func encode(_ quorum: Quorum) -> UInt32 {
        switch quorum {
        case .count(let count): UInt32(count)
        case .one: one
        case .quorum: self.quorum
        case .all: all
        }
    }
}

extension PropertiesChange {
    init(_ props: RpbBucketProps) throws(RiakRequestError) {
        func refuse(_ wanted: Bool, _ name: String) throws(RiakRequestError) {
            if wanted { throw RiakRequestError("Bucket property \(name) is not supported") }
        }
        try refuse(!props.precommit.isEmpty, "precommit")
        try refuse(!props.postcommit.isEmpty, "postcommit")
        try refuse(props.search, "search")
        try refuse(!props.searchIndex.isEmpty, "search_index")
        try refuse(!props.datatype.isEmpty, "datatype")
        try refuse(props.consistent, "consistent")
        try refuse(props.writeOnce, "write_once")
        self.init()
        if props.hasNVal { n = UInt8(clamping: props.nVal) }
        conflictMode = ConflictMode(
            allowMult: props.hasAllowMult ? props.allowMult : nil,
            lastWriteWins: props.hasLastWriteWins ? props.lastWriteWins : nil)
        if props.hasR { r = RiakQuorum.decode(props.r) }
        if props.hasW { w = RiakQuorum.decode(props.w) }
        if props.hasPr { pr = RiakQuorum.decode(props.pr) }
        if props.hasPw { pw = RiakQuorum.decode(props.pw) }
        if props.hasDw { dw = RiakQuorum.decode(props.dw) }
        if props.hasRw { rw = RiakQuorum.decode(props.rw) }
        if props.hasBasicQuorum { basicQuorum = props.basicQuorum }
        if props.hasNotfoundOk { notFoundOK = props.notfoundOk }
    }
}

extension ConflictMode {
    /// What Riak's two switches ask for; nil: what is.
    package init?(allowMult: Bool?, lastWriteWins: Bool?) {
        switch (allowMult, lastWriteWins) {
        case (_, true), (false, _): self = .lww
        case (true, _): self = .siblings
        case (nil, _): return nil
        }
    }
}

extension RpbBucketProps {
    init(_ properties: BucketProperties) {
        self.init()
        nVal = UInt32(properties.n)
        allowMult = properties.conflictMode == .siblings
        lastWriteWins = properties.conflictMode == .lww
        hasPrecommit_p = false
        hasPostcommit_p = false
        chashKeyfun = RpbModFun(RiakFunction.keyHash)
        linkfun = RpbModFun(RiakFunction.linkWalk)
        pr = RiakQuorum.encode(properties.pr)
        r = RiakQuorum.encode(properties.r)
        w = RiakQuorum.encode(properties.w)
        pw = RiakQuorum.encode(properties.pw)
        dw = RiakQuorum.encode(properties.dw)
        rw = RiakQuorum.encode(properties.rw)
        basicQuorum = properties.basicQuorum
        notfoundOk = properties.notFoundOK
        search = false
        consistent = false
        writeOnce = false
    }
}

/// The functions that Riak names in its default properties: clients show them, none calls them.
package struct RiakFunction: Sendable {
    package var module: String
    package var function: String

    package static let keyHash = RiakFunction(module: "riak_core_util", function: "chash_std_keyfun")
    package static let linkWalk = RiakFunction(module: "riak_kv_wm_link_walker", function: "mapreduce_linkfun")
}

extension RpbModFun {
    init(_ function: RiakFunction) {
        self.init()
        module = Data(copying: function.module)
        self.function = Data(copying: function.function)
    }
}
