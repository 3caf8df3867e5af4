// What a run of `ClusterScale` is told to do, and what it found.

package struct ClusterScalePlan: Sendable {
    package var nodes: Int
    /// Messages that are lost, in a thousand.
    package var lossPerMille: Int
    package var period = Span.milliseconds(500)
    package var delay = Span.microseconds(200)...Span.milliseconds(2)
    /// How long the cluster is watched while nothing happens.
    package var restPeriods: UInt64 = 120
    /// Each of a death, a change of properties, a join, a return, a new build.
    package var trials = 5
    /// Buckets with properties of their own from the beginning.
    package var scopes = 200
    /// Q.
    package var partitions = 16_384
    package var seed: UInt64 = 1

    package init(nodes: Int, lossPerMille: Int) {
        self.nodes = nodes
        self.lossPerMille = lossPerMille
    }
}

/// Times in protocol periods.
package struct ClusterScaleReport: Codable, Sendable {
    /// How a piece of news came to be known: how many knew it after each tenth of a period. The last entry is
    /// everybody, unless the limit came first.
    package struct Spread: Codable, Sendable {
        package var known: [Int] = []
        package var nodes: Int

        /// When the last one knew; nil: not within the limit.
        package var all: Double? {
            guard let last = known.last, last == nodes else { return nil }
            return Double(known.count - 1) / 10
        }
    }

    package struct Trial: Codable, Sendable {
        /// Nobody asks it any more where others can be asked.
        package var suspected: Spread
        package var dead: Spread
        package var returned: Spread
        /// A new member, by all who are there, since its commit.
        package var joined: Spread
        /// The ring that it is in; and until the operator was told that it is agreed on.
        package var ring: Spread
        package var ringAnswered: Double?
        package var build: Spread
        /// A bucket's properties, by all who are there.
        package var property: Spread
        /// Until whoever had set them was told that a majority has them.
        package var propertyAnswered: Double?
        /// How long after its return one that was away for a change of properties knew it, and the new ring.
        package var missedProperty: Double?
        package var missedRing: Double?
        /// What was sent to it until five periods after its return was known.
        package var bytesToReturning: Int
    }

    /// What nodes sent, of one kind, for each node and second.
    package struct Traffic: Codable, Sendable {
        package var messages: Double
        package var bytes: Double

        package init(messages: Double = 0, bytes: Double = 0) {
            self.messages = messages
            self.bytes = bytes
        }
    }

    package var start: Spread
    package var probes = Traffic()
    package var exchanges = Traffic()
    package var properties = Traffic()
    package var rings = Traffic()
    package var largestMessageBytes = 0
    /// Of those who were well, counted once for each who says so by itself.
    package var falseSuspicions = 0
    package var falseDeaths = 0
    /// All nodes' time together, for the rate of these.
    package var nodePeriods = 0.0
    package var trials: [Trial] = []

    package var total: Traffic {
        [probes, exchanges, properties, rings].reduce(into: Traffic()) {
            $0.messages += $1.messages
            $0.bytes += $1.bytes
        }
    }

    /// All news reached everybody.
    package var isComplete: Bool {
        start.all != nil
            && trials.allSatisfy { trial in
                [
                    trial.suspected.all, trial.dead.all, trial.returned.all, trial.joined.all, trial.ring.all,
                    trial.ringAnswered, trial.build.all, trial.property.all, trial.propertyAnswered,
                    trial.missedProperty, trial.missedRing,
                ].allSatisfy { $0 != nil }
            }
    }
}
