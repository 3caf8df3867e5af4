// Deliberate faults. They exist to show that the simulator's checkers notice what they are there to notice:
// `torc-simulate --mutation NAME` switches one on, and must find a violation. They are compiled in only with
// TORC_MUTATIONS; otherwise `isActive` is the constant false.

/// A fault that can be switched on in a simulation, named by what the broken code does.
package enum Mutation: String, CaseIterable, Sendable {
    case dropSiblingOnMerge
    case resurrectOnMerge
    /// Damage below the last sync mark is cut like a torn tail.
    case cutBelowSyncMark

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
