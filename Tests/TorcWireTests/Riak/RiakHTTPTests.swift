import HTTPTypes
import NIOCore
import TestSupport
import Testing
import TorcModel
import TorcReplication
import TorcWire

private let translator = RiakHTTPTranslator(clusterKey: testKey)

private func parse(
    _ method: String, _ path: String, _ fields: HTTPFields = [:], body: String = ""
) -> RiakHTTPRequest {
    translator.parse(
        HTTPRequest(
            method: HTTPRequest.Method(method)!, scheme: "http", authority: "localhost", path: path,
            headerFields: fields),
        body: text(body), keyEntropy: testEntropy)
}

/// A request in one line: what a table of them compares.
private func summary(
    _ method: String, _ path: String, _ fields: HTTPFields = [.contentType: "text/plain"], body: String = ""
) -> String {
    switch parse(method, path, fields, body: body) {
    case .ping: "ping"
    case .stats: "stats"
    case .object(let object):
        switch object.request {
        case .get(let get): "get \(get.key)\(get.headOnly ? " head" : "")"
        case .put(let put): "put \(put.key)"
        case .delete(let delete): "delete \(delete.key)"
        }
    case .list(let list):
        switch list.request.subject {
        case .keys(let bucket): "keys \(bucket)"
        case .buckets(let type): "buckets \(String(buffer: type))"
        }
    case .properties(let scope): "props \(name(scope))"
    case .setProperties(let scope, _): "set \(name(scope))"
    case .resetProperties(let scope): "reset \(name(scope))"
    case .preferenceList(let key): "preflist \(key)"
    case .answered(let response): "\(response.head.status.code) \(String(buffer: response.body))"
    }
}

private func name(_ scope: PropertiesScope) -> String {
    switch scope {
    case .type(let type): "type \(String(buffer: type))"
    case .bucket(let bucket): "\(bucket)"
    }
}

private func object(_ request: RiakHTTPRequest) throws -> RiakHTTPObjectRequest {
    if case .object(let object) = request { return object }
    if case .answered(let response) = request { throw RiakRequestError(String(buffer: response.body)) }
    throw RiakRequestError("not of an object")
}

private let first = Dot(actor: Actor(rawValue: 0xaaaa_0000_0000_0001), counter: 1)
private let second = Dot(actor: Actor(rawValue: 0xbbbb_0000_0000_0002), counter: 1)
private let all = Participation(primaries: 2)

private func version(_ dot: Dot, _ value: String, _ adjust: (inout ContentMetadata) -> Void = { _ in }) -> Sibling {
    var metadata = ContentMetadata()
    metadata.contentType = text("text/plain")
    adjust(&metadata)
    // 2020-09-13 12:26:40
    return Sibling(
        dot: dot, timestamp: HybridTimestamp(rawValue: 1_600_000_000_250_000), metadata: metadata.encoded,
        value: text(value))
}

private func found(_ siblings: Sibling..., seen: [Dot] = [first, second]) -> GetAnswer {
    .found(
        ClientObject(
            siblings: siblings,
            context: CausalContext(
                clock: VersionVector(seen), latestTimestamp: HybridTimestamp(rawValue: 9))), all)
}

private func respond(
    _ answer: ClientAnswer, to method: String = "GET", _ path: String = "/buckets/b/keys/k",
    _ fields: HTTPFields = [.contentType: "text/plain"]
) throws -> RiakHTTPResponse {
    translator.respond(to: try object(parse(method, path, fields)), answer)
}

@Suite struct RiakHTTPRequestTests {
    @Test func routes() {
        let table: [(String, String, String)] = [
            ("GET", "/ping", "ping"), ("HEAD", "/ping", "ping"), ("GET", "/stats", "stats"),
            ("GET", "/buckets/b/keys/k", "get b/k"), ("HEAD", "/buckets/b/keys/k", "get b/k head"),
            ("PUT", "/buckets/b/keys/k", "put b/k"), ("POST", "/buckets/b/keys/k", "put b/k"),
            ("DELETE", "/buckets/b/keys/k", "delete b/k"),
            ("POST", "/buckets/b/keys", "put b/\(VersionTag.madeKey(testEntropy()))"),
            ("POST", "/buckets/b/keys/", "put b/\(VersionTag.madeKey(testEntropy()))"),
            ("GET", "/types/t/buckets/b/keys/k", "get t/b/k"), ("GET", "/types/default/buckets/b/keys/k", "get b/k"),
            ("GET", "/buckets/b%2Fc/keys/k+%C3%A4", "get b/c/k ä"),
            ("GET", "/buckets/b/keys?keys=true", "keys b"), ("GET", "/buckets/b/keys?keys=stream", "keys b"),
            ("GET", "/types/t/buckets/b/keys?keys=true", "keys t/b"), ("GET", "/buckets/b/keys", "200 {}"),
            ("GET", "/buckets?buckets=true", "buckets "), ("GET", "/types/t/buckets?buckets=stream", "buckets t"),
            ("GET", "/buckets/b/props", "props b"), ("PUT", "/buckets/b/props", "set b"),
            ("DELETE", "/buckets/b/props", "reset b"), ("GET", "/types/t/buckets/b/props", "props t/b"),
            ("GET", "/types/t/props", "props type t"), ("PUT", "/types/t/props", "set type t"),
            ("GET", "/types/default/props", "props type "),
            ("DELETE", "/types/t/props", "405 method not allowed\n"),
            ("GET", "/buckets/b/keys/k/preflist", "preflist b/k"),
            ("GET", "/riak/b/k", "get b/k"), ("PUT", "/riak/b/k", "put b/k"), ("GET", "/riak/b", "props b"),
            ("GET", "/riak/b?keys=true", "keys b"), ("GET", "/riak?buckets=true", "buckets "),
            ("POST", "/riak/b", "put b/\(VersionTag.madeKey(testEntropy()))"),
            ("GET", "/nothing", "404 not found\n"), ("GET", "/buckets/b", "404 not found\n"),
            ("GET", "/buckets/b/keys/k/more", "404 not found\n"), ("GET", "/types", "404 not found\n"),
            ("GET", "/types/t", "404 not found\n"),
            ("POST", "/ping", "405 method not allowed\n"), ("PATCH", "/buckets/b/keys/k", "405 method not allowed\n"),
            ("GET", "/buckets//keys/k", "400 Bucket cannot be zero-length\n"),
            ("GET", "/types//buckets/b/keys/k", "400 Type cannot be zero-length\n"),
            ("GET", "/buckets/b/keys//preflist", "400 Key cannot be zero-length\n"),
            ("GET", "/buckets/%zz/keys/k", "400 The path is badly escaped\n"),
            ("GET", "/buckets/b/keys/k?r=%4", "400 The query is badly escaped\n"),
            ("GET", "/buckets/b/keys/\(String(repeating: "k", count: 65_537))", "400 \(RiakText.keyTooLong)\n"),
        ]
        for (method, path, expected) in table {
            let isProps = path.hasSuffix("props") && method == "PUT"
            #expect(
                summary(method, path, body: isProps ? "{\"props\":{}}" : "") == expected,
                "\(method) \(path.prefix(100))")
        }
    }

    @Test func resourcesThatClientsLookUp() {
        let answer = summary("GET", "/")
        #expect(answer.hasPrefix("200 {\"riak_kv_wm_bucket_type\":\"/types\",\"riak_kv_wm_buckets\":\"/buckets\""))
    }

    @Test func queryOfAGet() throws {
        let request = try object(
            parse(
                "GET",
                "/buckets/b/keys/k?r=one&pr=2&node_confirms=1&basic_quorum=true&notfound_ok=false&timeout=250&what=x"))
        var get = GetRequest(key: objectKey("b", "k"))
        get.options.r = .one
        get.options.pr = .count(2)
        get.options.nodeConfirms = 1
        get.options.basicQuorum = true
        get.options.notFoundOK = false
        #expect(request.request == .get(get))
        #expect(request.timeout == .milliseconds(250))
    }

    @Test(arguments: [
        ("r=many", "r query parameter must be an integer or one of the following words: 'one', 'quorum' or 'all'"),
        ("pr=-1", "pr query parameter must be an integer or one of the following words: 'one', 'quorum' or 'all'"),
        ("notfound_ok=perhaps", "notfound_ok query parameter must be true or false"),
        ("timeout=soon", "Bad timeout value \"soon\""),
    ])
    func badQuery(query: String, message: String) {
        #expect(summary("GET", "/buckets/b/keys/k?\(query)") == "400 \(message)\n")
    }

    @Test(arguments: [
        ("1", 1), ("600", 600), ("0", nil), ("-5", nil), ("1.5", nil), ("3153600001", nil), ("soon", nil),
    ])
    func lifetimeOfAPut(text: String, seconds: UInt32?) throws {
        let fields: HTTPFields = [.contentType: "text/plain", HTTPField.Name("X-Torc-TTL")!: text]
        if let seconds {
            let request = try object(parse("PUT", "/buckets/b/keys/k", fields))
            guard case .put(let put) = request.request else {
                Issue.record("not a put")
                return
            }
            #expect(put.lifetimeSeconds == seconds && put.expiry == nil)
        } else {
            #expect(
                summary("PUT", "/buckets/b/keys/k", fields)
                    == "400 X-Torc-TTL must be a number of seconds from 1 to 3153600000\n")
        }
    }

    @Test func nameOfAWrite() throws {
        let fields: HTTPFields = [
            .contentType: "text/plain", HTTPField.Name("X-Torc-Write-Id")!: "0000000000000001fffffffffffffffe",
        ]
        guard case .put(let put) = try object(parse("PUT", "/buckets/b/keys/k", fields)).request else {
            Issue.record("not a put")
            return
        }
        #expect(put.writeID == WriteID(high: 1, low: .max - 1))
        #expect(
            summary("PUT", "/buckets/b/keys/k", [.contentType: "text/plain", HTTPField.Name("X-Torc-Write-Id")!: "7"])
                == "400 X-Torc-Write-Id must be 32 hexadecimal digits\n")
    }

    @Test func headersOfAPut() throws {
        let known = CausalContext(clock: VersionVector([first]), latestTimestamp: .zero)
        let token = base64(testKey.seal(known, for: objectKey("b", "k")))
        let fields: HTTPFields = [
            .contentType: "text/html; charset=\"utf-8\"", .contentEncoding: "gzip",
            HTTPField.Name("X-Riak-Vclock")!: token, HTTPField.Name("X-Riak-Meta-Colour")!: "red",
            HTTPField.Name("X-Riak-Index-age_int")!: "1, 2",
            HTTPField.Name("Link")!:
                "</buckets/lb/keys/l%20k>; riaktag=\"t\", </riak/b2/k2>; riaktag=\"u\", </buckets/b>; rel=\"up\"",
        ]
        let request = try object(
            parse("PUT", "/buckets/b/keys/k?w=2&dw=1&pw=all&returnbody=true", fields, body: "value"))
        guard case .put(let put) = request.request else {
            Issue.record("not a put")
            return
        }
        #expect(put.context == known)
        #expect(put.value == text("value"))
        #expect(put.options.w == .count(2))
        #expect(put.options.dw == .count(1))
        #expect(put.options.pw == .all)
        #expect(put.returnedBody == .full)
        let metadata = try ContentMetadata(decoding: put.metadata)
        #expect(metadata.contentType == text("text/html"))
        #expect(metadata.charset == text("utf-8"))
        #expect(metadata.contentEncoding == text("gzip"))
        #expect(metadata.userMetadata == [.init(name: text("Colour"), value: text("red"))])
        #expect(
            metadata.indexes == [
                .init(name: text("age_int"), value: text("1")), .init(name: text("age_int"), value: text("2")),
            ])
        #expect(
            metadata.links == [
                .init(bucket: text("lb"), key: text("l k"), tag: text("t")),
                .init(bucket: text("b2"), key: text("k2"), tag: text("u")),
            ])
    }

    @Test func whatAPutMustHave() {
        #expect(summary("PUT", "/buckets/b/keys/k", [:]) == "400 Missing Content-Type request header\n")
        for (token, message) in [
            ("bm90IG91cnM=", "Invalid vclock: not one that this cluster gives out"),
            ("not base64!", "Invalid vclock: not one that this cluster gives out"),
            (
                base64(
                    foreignKey.seal(
                        CausalContext(clock: VersionVector([first]), latestTimestamp: .zero), for: objectKey("b", "k"))),
                "Invalid vclock: it was altered, or belongs to another object or cluster"
            ),
        ] {
            #expect(
                summary(
                    "PUT", "/buckets/b/keys/k", [.contentType: "a/b", HTTPField.Name("X-Riak-Vclock")!: token])
                    == "400 \(message)\n")
        }
    }

    @Test func conditionsOfAPut() throws {
        func put(_ fields: HTTPFields) throws -> (condition: WriteCondition?, readsFirst: Bool) {
            var fields = fields
            fields[.contentType] = "text/plain"
            let request = try object(parse("PUT", "/buckets/b/keys/k", fields))
            guard case .put(let put) = request.request else { throw RiakRequestError("not a put") }
            return (put.condition, request.preliminaryRead != nil)
        }
        #expect(try put([.ifNoneMatch: "*"]) == (.ifNoneMatch, false))
        let clock = VersionVector([first])
        let token = base64(
            testKey.seal(CausalContext(clock: clock, latestTimestamp: .zero), for: objectKey("b", "k")))
        #expect(try put([HTTPField.Name("X-Riak-If-Not-Modified")!: token]) == (.ifNotModified(clock), false))
        #expect(try put([.ifMatch: "\"x\""]) == (nil, true))
        #expect(try put([.ifNoneMatch: "\"x\""]) == (nil, true))
        #expect(try put([.ifUnmodifiedSince: "Sun, 13 Sep 2020 12:26:40 GMT"]) == (nil, true))
        #expect(try put([:]) == (nil, false))
    }

    @Test func aPutThatReadsFirst() throws {
        func conclude(_ fields: HTTPFields, _ answer: GetAnswer) throws -> (
            Int?, WriteCondition?, RiakHTTPObjectRequest
        ) {
            var fields = fields
            fields[.contentType] = "text/plain"
            var request = try object(parse("PUT", "/buckets/b/keys/k", fields))
            let response = request.conclude(answer, translator)
            guard case .put(let put) = request.request else { throw RiakRequestError("not a put") }
            return (response?.head.status.code, put.condition, request)
        }
        let clock = VersionVector([first, second])
        let tag = "\"\(VersionTag.tag(of: first))\""
        let one = found(version(first, "v"))
        var outcome = try conclude([.ifMatch: tag], one)
        #expect(outcome.0 == nil)
        #expect(outcome.1 == .ifNotModified(clock))
        // Something came in between: the condition of HTTP has failed, not that of Riak.
        #expect(translator.respond(to: outcome.2, .write(.refused(.modified))).head.status == .preconditionFailed)
        #expect(try conclude([.ifMatch: "\"other\""], one).0 == 412)
        #expect(try conclude([.ifMatch: "*"], .absent(all)).0 == 412)
        outcome = try conclude([.ifNoneMatch: "\"other\""], one)
        #expect(outcome.0 == nil)
        #expect(outcome.1 == .ifNotModified(clock))
        #expect(try conclude([.ifNoneMatch: "\"other\", \(tag)"], one).0 == 412)
        outcome = try conclude([.ifNoneMatch: "\"other\""], .absent(all))
        #expect(outcome.1 == .ifNoneMatch)
        #expect(try conclude([.ifUnmodifiedSince: "Sun, 13 Sep 2020 12:26:40 GMT"], one).0 == nil)
        #expect(try conclude([.ifUnmodifiedSince: "Sun, 13 Sep 2020 12:26:39 GMT"], one).0 == 412)
        #expect(
            try conclude([.ifMatch: tag], .failed(ReadFailure(needed: 2, answered: 1, timedOut: true))).0 == 503)
    }

    @Test func propertiesFromJSON() throws {
        func set(_ json: String) -> String {
            switch parse("PUT", "/buckets/b/props", body: json) {
            case .setProperties(_, let change): "\(change)"
            case .answered(let response): String(buffer: response.body)
            default: "?"
            }
        }
        var change = PropertiesChange()
        change.n = 5
        change.conflictMode = .lww
        change.r = .one
        change.w = .count(3)
        change.nodeConfirms = 2
        change.notFoundOK = false
        change.oneCacheMilliseconds = 50
        #expect(
            set(
                #"{"props":{"n_val":5,"allow_mult":false,"r":"one","w":3,"pw":"default","node_confirms":2,"notfound_ok":false,"one_cache_ms":50,"precommit":[],"search":false,"young_vclock":20,"linkfun":{"mod":"m","fun":"f"}}}"#
            ) == "\(change)")
        #expect(set("{}") == "The body must be JSON: {\"props\":{…}}\n")
        #expect(set("nonsense") == "The body must be JSON: {\"props\":{…}}\n")
        #expect(set("") == "The body must be JSON: {\"props\":{…}}\n")
        #expect(set(#"{"props":{"n_val":"many"}}"#) == "Bucket property n_val must be an integer\n")
        #expect(set(#"{"props":{"one_cache_ms":-1}}"#) == "Bucket property one_cache_ms must be an integer\n")
        #expect(set(#"{"props":{"allow_mult":1}}"#) == "Bucket property allow_mult must be true or false\n")
        #expect(
            set(#"{"props":{"r":"most"}}"#)
                == "Bucket property r must be an integer, \"one\", \"quorum\" or \"all\"\n")
        #expect(set(#"{"props":{"search":true}}"#) == "Bucket property search is not supported\n")
        #expect(set(#"{"props":{"precommit":[{"mod":"m"}]}}"#) == "Bucket property precommit is not supported\n")
        #expect(set(String(repeating: "[", count: 100_000)) == "The body must be JSON: {\"props\":{…}}\n")
    }
}

@Suite struct RiakHTTPResponseTests {
    private let tag = VersionTag.tag(of: first)

    @Test func oneVersion() throws {
        let answer = found(
            version(first, "value") {
                $0.charset = text("utf-8")
                $0.contentEncoding = text("gzip")
                $0.links = [.init(bucket: text("l b"), key: text("lk"), tag: text("t"))]
                $0.userMetadata = [.init(name: text("Colour"), value: text("red\r\nX-Evil: yes"))]
                $0.indexes = [
                    .init(name: text("a_int"), value: text("1")), .init(name: text("a_int"), value: text("2")),
                ]
            })
        let response = try respond(.get(answer))
        let fields = response.head.headerFields
        #expect(response.head.status == .ok)
        #expect(response.body == text("value"))
        #expect(fields[.contentType] == "text/plain; charset=utf-8")
        #expect(fields[.contentEncoding] == "gzip")
        #expect(fields[.eTag] == "\"\(tag)\"")
        #expect(fields[.lastModified] == "Sun, 13 Sep 2020 12:26:40 GMT")
        #expect(
            fields[HTTPField.Name("Link")!] == "</buckets/l%20b/keys/lk>; riaktag=\"t\", </buckets/b>; rel=\"up\"")
        #expect(fields[HTTPField.Name("X-Riak-Meta-Colour")!] == "red X-Evil: yes")
        #expect(fields[HTTPField.Name("X-Riak-Index-a_int")!] == "1, 2")
        guard case .found(let object, _) = answer else { return }
        #expect(
            fields[HTTPField.Name("X-Riak-Vclock")!] == base64(testKey.seal(object.context, for: objectKey("b", "k"))))
    }

    @Test func howLongItStillStands() throws {
        var expiring = version(first, "value")
        expiring.expiry = WallTime(microseconds: 1_600_000_090_000_000)
        guard case .found(var object, _) = found(expiring) else { return }
        object.instant = WallTime(microseconds: 1_600_000_000_250_000)
        let fields = try respond(.get(.found(object, all))).head.headerFields
        #expect(fields[HTTPField.Name("X-Torc-TTL")!] == "90")
        #expect(fields[HTTPField.Name("X-Torc-Expires")!] == "Sun, 13 Sep 2020 12:28:10 GMT")
        let forEver = try respond(.get(found(version(first, "value")))).head.headerFields
        #expect(forEver[HTTPField.Name("X-Torc-TTL")!] == nil)
    }

    @Test func notFoundAndTombstone() throws {
        let absent = try respond(.get(.absent(all)))
        #expect(absent.head.status == .notFound)
        #expect(absent.body == text("not found\n"))
        #expect(absent.head.headerFields[HTTPField.Name("X-Riak-Vclock")!] == nil)
        let deleted = try respond(.get(found()))
        #expect(deleted.head.status == .notFound)
        #expect(deleted.head.headerFields[HTTPField.Name("X-Riak-Deleted")!] == "true")
        #expect(deleted.head.headerFields[HTTPField.Name("X-Riak-Vclock")!] != nil)
    }

    /// A vector may be pruned while nothing is written.
    @Test func theTagOfSiblingsIsOfWhatStands() throws {
        let overwritten = Dot(actor: Actor(rawValue: 77), counter: 3)
        let siblings = (version(first, "1"), version(second, "2"))
        let before = try respond(.get(found(siblings.0, siblings.1, seen: [first, second, overwritten])))
        let after = try respond(.get(found(siblings.0, siblings.1)))
        #expect(before.head.headerFields[.eTag] != nil)
        #expect(before.head.headerFields[.eTag] == after.head.headerFields[.eTag])
        #expect(try respond(.get(found(siblings.1))).head.headerFields[.eTag] != after.head.headerFields[.eTag])
    }

    @Test func siblingsAsText() throws {
        let response = try respond(.get(found(version(first, "1"), version(second, "2"))))
        #expect(response.head.status == .multipleChoices)
        #expect(response.head.headerFields[.contentType] == "text/plain")
        #expect(response.body == text("Siblings:\n\(tag)\n\(VersionTag.tag(of: second))\n"))
        let picked = try respond(
            .get(found(version(first, "1"), version(second, "2"))), "/buckets/b/keys/k?vtag=\(tag)")
        #expect(picked.head.status == .ok)
        #expect(picked.body == text("1"))
        let other = try respond(.get(found(version(first, "1"))), "/buckets/b/keys/k?vtag=none")
        #expect(other.head.status == .notFound)
    }

    @Test func siblingsAsParts() throws {
        var deleted = version(second, "")
        deleted.isTombstone = true
        let response = try respond(
            .get(found(version(first, "one"), deleted)), "/buckets/b/keys/k",
            [.accept: "application/json;q=0.5, multipart/mixed"])
        #expect(response.head.status == .multipleChoices)
        let type = try #require(response.head.headerFields[.contentType])
        let boundary = try #require(type.split(separator: "=").last)
        #expect(type == "multipart/mixed; boundary=\(boundary)")
        let link = "Link: </buckets/b>; rel=\"up\"\r\n"
        let modified = "Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT\r\n"
        #expect(
            String(buffer: response.body)
                == "\r\n--\(boundary)\r\nContent-Type: text/plain\r\n\(link)Etag: \(tag)\r\n\(modified)\r\none"
                + "\r\n--\(boundary)\r\nContent-Type: text/plain\r\n\(link)Etag: \(VersionTag.tag(of: second))\r\n"
                + "\(modified)X-Riak-Deleted: true\r\n\r\n\r\n--\(boundary)--\r\n")
        let refused = try respond(
            .get(found(version(first, "1"), version(second, "2"))), "/buckets/b/keys/k",
            [.accept: "multipart/mixed;q=0"])
        #expect(refused.head.headerFields[.contentType] == "text/plain")
    }

    @Test func noValueContainsTheBoundary() throws {
        let plain = try respond(
            .get(found(version(first, "1"), version(second, "2"))), "/buckets/b/keys/k", [.accept: "multipart/mixed"])
        let guessed = String(plain.head.headerFields[.contentType]!.split(separator: "=").last!)
        let hostile = try respond(
            .get(found(version(first, "--\(guessed)"), version(second, "2"))), "/buckets/b/keys/k",
            [.accept: "multipart/mixed"])
        #expect(hostile.head.headerFields[.contentType] == "multipart/mixed; boundary=\(guessed)x")
    }

    @Test func conditionsOfAGet() throws {
        func status(_ fields: HTTPFields) throws -> Int {
            try respond(.get(found(version(first, "v"))), to: "GET", "/buckets/b/keys/k", fields).head.status.code
        }
        let date = "Sun, 13 Sep 2020 12:26:40 GMT"
        let before = "Sun, 13 Sep 2020 12:26:39 GMT"
        #expect(try status([.ifNoneMatch: "\"\(tag)\""]) == 304)
        #expect(try status([.ifNoneMatch: "\"x\", W/\"\(tag)\""]) == 304)
        #expect(try status([.ifNoneMatch: "*"]) == 304)
        #expect(try status([.ifNoneMatch: "\"x\""]) == 200)
        #expect(try status([.ifMatch: "\"x\""]) == 412)
        #expect(try status([.ifMatch: "\"\(tag)\""]) == 200)
        #expect(try status([.ifModifiedSince: date]) == 304)
        #expect(try status([.ifModifiedSince: before]) == 200)
        #expect(try status([.ifModifiedSince: "yesterday"]) == 200)
        #expect(try status([.ifUnmodifiedSince: date]) == 200)
        #expect(try status([.ifUnmodifiedSince: before]) == 412)
    }

    @Test func writes() throws {
        let ok = ClientAnswer.write(.ok(all, nil))
        #expect(try respond(ok, to: "PUT").head.status == .noContent)
        #expect(try respond(ok, to: "DELETE").head.status == .noContent)
        for (path, location) in [
            ("/buckets/b%20c/keys", "/buckets/b%20c/keys/"), ("/types/t/buckets/b/keys", "/types/t/buckets/b/keys/"),
            ("/riak/b", "/riak/b/"),
        ] {
            let made = try respond(ok, to: "POST", path)
            #expect(made.head.status == .created)
            #expect(made.head.headerFields[.location] == location + VersionTag.madeKey(testEntropy()))
        }
        guard case .found(let object, _) = found(version(first, "v")) else { return }
        let returned = try respond(.write(.ok(all, object)), to: "PUT")
        #expect(returned.head.status == .ok)
        #expect(returned.body == text("v"))
        #expect(try respond(.write(.ok(all, object)), to: "POST", "/buckets/b/keys").head.status == .created)
        guard case .found(let both, _) = found(version(first, "1"), version(second, "2")) else { return }
        #expect(try respond(.write(.ok(all, both)), to: "PUT").head.status == .multipleChoices)
    }

    @Test func refusals() throws {
        let table: [(Refusal, Int)] = [
            (.matchFound, 412), (.modified, 409), (.notFound, 409), (.invalidQuorum(name: "w", asked: 4, n: 3), 400),
            (.objectTooLarge(bytes: 2, limit: 1), 413), (.tooManySiblings(count: 101, limit: 100), 409),
            (.overloaded, 503), (.unreachable(needed: 2, reachable: 1), 503), (.unreadable, 500), (.shuttingDown, 503),
            (.diskFull, 503),
        ]
        for (refusal, status) in table {
            #expect(try respond(.write(.refused(refusal)), to: "PUT").head.status.code == status, "\(refusal)")
        }
        let told = translator.respond(
            to: try object(parse("GET", "/buckets/b/keys/k", [:])), .get(.refused(.overloaded)),
            retryAfter: .microseconds(1_000_100))
        #expect(told.head.status == .serviceUnavailable && told.head.headerFields[.retryAfter] == "2")
        #expect(told.body == text("overload: ask again in 1001 ms\n"))
        let slow = try respond(.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: true))))
        #expect(slow.head.status == .serviceUnavailable)
        #expect(slow.body == text("request timed out\n"))
        #expect(
            try respond(.get(.failed(ReadFailure(needed: 2, answered: 1, timedOut: false)))).body
                == text("R-value unsatisfied: 1/2\n"))
        #expect(try respond(.write(.indeterminate(copies: 1, needed: 2)), to: "PUT").head.status == .serviceUnavailable)
    }

    @Test func propertiesAsJSON() {
        let response = translator.properties(BucketProperties(), of: .bucket(BucketID(name: text("b\"c"))))
        #expect(
            String(buffer: response.body).hasPrefix(
                #"{"props":{"name":"b\"c","n_val":3,"allow_mult":true,"last_write_wins":false,"r":"quorum","w":"quorum","pr":0"#
            ))
        #expect(
            String(buffer: translator.stats([("node_gets", .integer(3))]).body)
                == #"{"riak_kv_version":"3.2.0","node_gets":3}"#)
        #expect(translator.changed(.stored).head.status == .noContent)
        #expect(translator.changed(.refused(.copiesFixed)).head.status == .badRequest)
        #expect(
            String(
                buffer: translator.preferenceList([
                    PreferenceEntry(partition: PartitionID(2), node: "n", isPrimary: true)
                ]).body) == #"{"preflist":[{"partition":2,"node":"n","primary":true}]}"#)
    }
}

@Suite struct RiakHTTPListingTests {
    private func listing(_ path: String) throws -> RiakHTTPListing {
        guard case .list(let listing) = parse("GET", path) else { throw RiakRequestError("not a listing") }
        return listing
    }

    private func written(_ path: String, _ pieces: ListPiece...) throws -> String {
        var listing = try listing(path)
        return pieces.map { piece in
            switch listing.take(piece) {
            case .chunk(let bytes), .last(let bytes): String(buffer: bytes)
            case .failed(let response): "failed \(response.head.status.code)"
            case .broken: "broken"
            }
        }.joined()
    }

    @Test func oneTextInPieces() throws {
        let path = "/buckets/b/keys?keys=true"
        #expect(try written(path, .done) == #"{"keys":[]}"#)
        #expect(try written(path, .items([]), .items([text("a")]), .done) == #"{"keys":["a"]}"#)
        #expect(
            try written(path, .items([text("a"), text("b")]), .items([text("c\n")]), .done)
                == #"{"keys":["a","b","c\n"]}"#)
        #expect(try written(path, .items([bytes("FF41")]), .done) == #"{"keys":["%FFA"]}"#)
    }

    @Test func aStreamOfTexts() throws {
        #expect(
            try written("/buckets/b/keys?keys=stream", .items([text("a")]), .items([]), .items([text("b")]), .done)
                == #"{"keys":["a"]}{"keys":["b"]}{"keys":[]}"#)
        #expect(
            try written(
                "/buckets?buckets=stream", .items([text("a"), text("a")]), .items([text("a"), text("b")]), .done)
                == #"{"buckets":["a"]}{"buckets":["b"]}{"buckets":[]}"#)
    }

    @Test func whatBreaksOff() throws {
        #expect(try written("/buckets/b/keys?keys=true", .failed(partition: PartitionID(1))) == "failed 503")
        #expect(
            try written("/buckets/b/keys?keys=true", .items([]), .failed(partition: PartitionID(1)))
                == #"{"keys":[broken"#)
        #expect(
            try written("/buckets/b/keys?keys=stream", .items([text("a")]), .failed(partition: PartitionID(1)))
                == #"{"keys":["a"]}{"error":"\#(RiakText.listingFailed(PartitionID(1)))"}"#)
    }
}

private func base64(_ bytes: ByteBuffer) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text = ""
    var rest = Array(bytes.readableBytesView)[...]
    while !rest.isEmpty {
        let group = Array(rest.prefix(3))
        rest = rest.dropFirst(3)
        let bits =
            UInt32(group[0]) << 16 | UInt32(group.count > 1 ? group[1] : 0) << 8
            | UInt32(group.count > 2 ? group[2] : 0)
        for place in 0..<4 {
            text +=
                place <= group.count
                ? String(UnicodeScalar(alphabet[Int(bits >> (18 - 6 * UInt32(place)) & 63)])) : "="
        }
    }
    return text
}
