// Which of the deliberate faults a simulation can show.

package import TorcModel

extension Mutation {
    /// `ignoreAmnesia` is the second of two locks: every start draws new actors, so no run comes
    /// to an actor that others have seen more of. Step tests show it alone.
    ///
    /// Those that a run of this simulator can express; each must be found.
    package static var simulated: [Mutation] { allCases.filter { $0 != .ignoreAmnesia } }
}
