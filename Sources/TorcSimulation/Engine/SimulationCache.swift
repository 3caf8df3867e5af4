// Answers from a coordinator's memory, in runs whose buckets allow them.

import TorcModel
import TorcReplication

extension SimulationPlan {
    /// From a generator of their own. Where versions are mixed a bucket cannot have the property.
    mutating func drawCache() {
        var random = SeededGenerator(seed: seed ^ 0x4341_4348)
        guard versions == nil, random.chance(500) else { return }
        for index in buckets.indices where buckets[index].copies > 1 && random.chance(800) {
            buckets[index].properties.oneCacheMilliseconds = random.pick([5, 50, 200, 1_000])
            guard random.chance(900) else { continue }
            // No quorum that overlaps with what one replica says.
            buckets[index].properties.r = .one
            buckets[index].properties.w = buckets[index].copies > 2 ? random.pick([.one, .quorum]) : .one
            buckets[index].properties.dw = .count(0)
        }
        // A key is kept that is asked for again before it is written.
        mix.get = random.pick([60, 150, 400])
        if random.chance(500) { thinkTime = min(thinkTime, .milliseconds(1)) }
    }
}

extension Simulation {
    /// The answers that follow are from memory.
    func noteCached(_ key: ObjectKey, readers: Int) {
        coverage.note(.readCached)
        guard let key = keyIndex[key], cacheMilliseconds(key) > 0 else {
            return report(Violation(.staleCache, "\(key) is answered from memory, which its bucket does not allow"))
        }
        cachedAnswers = readers
    }

    func cacheMilliseconds(_ key: Int) -> UInt16 { plan.buckets[plan.keys[key].bucket].properties.oneCacheMilliseconds }

    /// As it leaves the node, even when its client has gone away. Whether it is from memory.
    func noteAnswer(_ answer: ClientAnswer, of id: ClientRequestID, _ process: ProcessID) -> Bool {
        let isCached = cachedAnswers > 0
        if isCached { cachedAnswers -= 1 }
        guard let key = cacheableKeys.removeValue(forKey: id) else { return false }
        let place = CacheChecker.Place(process: process.number, key: key)
        let time = nodes[process.node].clock.now(at: now).monotonic
        switch answer {
        case .write: cacheChecker.wrote(at: place)
        case .get(.found(let object, _)) where isCached:
            note(nodes[process.node].name, key: key, "answers from memory")
            report(cacheChecker.check(object, at: place, now: time, milliseconds: cacheMilliseconds(key)))
        case .get(.found(let object, _)):
            cacheChecker.read(object, at: place, now: time, milliseconds: cacheMilliseconds(key))
        case .get: break
        }
        return isCached
    }

    /// The instant at which an answer was true at the latest: by any node's clock, however slow.
    func instant(of open: OpenRequest) -> VirtualTime {
        guard open.isFromMemory else { return open.invoked }
        let age = Span.milliseconds(UInt64(cacheMilliseconds(open.key))) * 5
        return VirtualTime(nanoseconds: open.invoked.nanoseconds - min(open.invoked.nanoseconds, age.nanoseconds / 4))
    }
}
