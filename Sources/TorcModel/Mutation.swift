// Deliberate faults. They exist to show that the simulator's checkers notice what they are there to notice:
// `torc-simulate --mutation NAME` switches one on, and must find a violation. They are compiled in only with
// TORC_MUTATIONS; otherwise `isActive` is the constant false.

/// A fault that can be switched on in a simulation, named by what the broken code does.
package enum Mutation: String, CaseIterable, Sendable {
    case dropSiblingOnMerge
    case resurrectOnMerge
    /// Of two `lww` versions the one that arrived later wins, whatever its stamp.
    case lwwArrivalOrder
    /// A put supersedes what its context covers, and does not remember to have seen it.
    case forgetContextOnPut

    // The replica.
    case acknowledgeBeforeSync
    case acknowledgeUnchangedMergeUnsynced
    case readUnsynced
    /// The record is forgotten when its batch is committed, and read again from the store as if it were synced.
    case trustUnsyncedStore
    /// A stamped write leaves for the peers before it is in the log.
    case sendBeforeCommit
    case mintWhileReading
    case reuseActorAfterRestart
    /// An actor that others have seen more of than this replica remembers goes on minting.
    case ignoreAmnesia
    case skipLeafUpdate
    case capSiblingsOnMerge
    case ignoreWriteID
    case overwriteUnreadable
    /// An `lww` write is stamped by the clock, even if what it replaces has a larger stamp.
    case stampFromClockAlone

    // The store.
    /// Damage below the last sync mark is cut like a torn tail.
    case cutBelowSyncMark

    // The coordinator's.
    /// Operations are numbered from 1 in each incarnation.
    case restartOperationNumbers
    /// A read that wants objects takes one replica's "nothing here" for all of them.
    case absentOfOne
    case countReplicaTwice
    case coordinateForwardTwice
    case forwardAgainAfterSend
    case answerBeforeWriteBack
    case skipReadRepair
    case acceptStaleRestampAck
    case countUnsyncedMint
    case hashAsAgreement
    case ignoreUnreadable
    case conditionOnlyAtCoordinator
    case listUnsynced
    /// A read takes the answer of one that has asked replicas before it came.
    case joinSentRead

    // What is kept for reads at ONE.
    /// An object is answered from memory for longer than its bucket allows.
    case cacheOutlivesItsTime
    /// A write is kept when it is in the log, before it is on disk.
    case cacheUnsynced
    /// What is kept, and what is being read, outlives a write of it.
    case cacheSurvivesWrites

    // Membership's.
    /// Who is suspected says that it is alive in the incarnation in which it is suspected.
    case refuteInSameIncarnation
    /// A membership incarnation is told before it is on disk.
    case tellUnstoredIncarnation
    /// A node that did not run takes the answers that it missed for missing.
    case judgeAfterOwnPause
    case suspicionNeverEnds
    /// Who is dead is alive again when an older message says so.
    case olderAliveOverridesDead
    // Repair.
    /// A pair that was found equal is not compared again.
    case repairComparesOnce
    /// Objects are fetched, never sent.
    case repairPullsOnly
    /// Objects are sent, never fetched.
    case repairPushesOnly
    /// A fetched object replaces what is here.
    case repairOverwrites
    /// Of a stretch of keys only the first page is compared.
    case repairEndsAtFirstPage
    /// A key that only one side holds is passed over.
    case repairIgnoresAbsentKeys
    /// The next page begins where this side's ended, although the peer's ended before.
    case repairSkipsBetweenPages

    // Hints.
    /// A hint is deleted when it has been sent.
    case dropHintBeforeAnswer
    /// A hint that was written again while it was delivered is deleted with what was delivered.
    case dropChangedHint
    /// A delivery that the target refused counts as one that it took.
    case dropRefusedHint
    /// A stand-in counts once for each replica that it stands for.
    case countFallbackTwice
    /// A stand-in counts toward pw.
    case countFallbackAsPrimary
    /// A stand-in that keeps nothing counts as a replica that holds nothing.
    case countFallbackAbsence
    case acknowledgeUnsyncedHint
    /// Past its bound a stand-in drops what it acknowledges.
    case pretendWhenHintsFull
    case forgetHintsAtStart

    // Rings.
    /// A vote on the next ring is told before it is on disk.
    case answerRingBeforeStored
    /// A member that starts knows nothing of how it voted.
    case forgetRingVoteAtStart
    /// A member accepts a ring although it has promised more to another proposer.
    case acceptRingBelowPromise
    /// A proposer stays with its own plan, whatever the members have accepted.
    case ignoreAcceptedRing
    /// Half of the members are enough to decide.
    case decideRingByMinority

    // Moves.
    /// While copies move, W in the list that reads go to is enough.
    case writeToOneList
    /// A replica that is compared for a move still takes writes of the ring before it.
    case takeWritesOfFormerRing
    /// Reads go to the next list before what moves has arrived.
    case readBeforeArrival
    /// Writes leave the former list before every node reads from the next.
    case retireEarly
    /// A node that holds a transition says that it is done with it before its lanes are.
    case reportBeforeLanes
    /// What a fenced node says counts.
    case listenToFenced
    // Reaping.
    /// A tombstone is reaped when all replicas hold it, with no regard to messages that carry what it covers.
    case reapWithoutAging
    /// A tombstone is reaped while hints are kept.
    case reapDespiteHints
    /// A replica that cannot be asked is taken to hold the tombstone.
    case reapWithoutAbsentOwner
    /// What a sender read too long ago is merged all the same.
    case mergeStaleWrites
    /// A record is reaped that has become another than the one that was agreed on.
    case reapChangedRecord

    // Pruning.
    /// Entries are pruned when all replicas hold the object, with no regard to hints and messages.
    case pruneWithoutAging
    /// Entries are pruned although a replica still mints with their actor.
    case pruneMintingActor
    /// Entries are pruned although a version of theirs stands.
    case pruneLiveDot
    /// A round of pruning is begun without asking whether all replicas know of such a thing.
    case sendUnknownMessage

    // Scrubbing.
    /// Leaves are judged that were written to while their records were read.
    case scrubWithoutWaiting
    /// A leaf that is wrong is told, and left as it is.
    case scrubKeepsLeaf

    // Expiry.
    /// Readers are shown versions past their expiry.
    case showExpired
    /// A replica removes what its own clock takes for expired, with no regard to the others'.
    case removeExpiredAlone
    /// A replica takes the asker's word that a version has expired.
    case expireByAskersClock

    // Backups.
    /// Hints are delivered, and go, while a backup holds removals.
    case deliverWhileHeld
    /// Tombstones are reaped while a backup holds removals.
    case reapWhileHeld

    #if TORC_MUTATIONS
        /// Set once, before a simulation starts its first step.
        nonisolated(unsafe) package static var active: Mutation?
        package var isActive: Bool { Mutation.active == self }
    #else
        @inlinable package var isActive: Bool {
            @inline(__always) get { false }
        }
    #endif
}
