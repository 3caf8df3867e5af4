// Which of the deliberate faults a simulation can show.

package import TorcModel

extension Mutation {
    /// `ignoreAmnesia` is the second of two locks: every start draws new actors, so no run comes
    /// to an actor that others have seen more of. Step tests show it alone.
    ///
    /// `reapWithoutAging` and `mergeStaleWrites` need a message that is under way for longer than the greatest age: some
    /// hundred runs showed neither. A step test shows that what is stale is refused.
    ///
    /// `listenToFenced`: what a removed node had alone is lost anyway, so that runs with removals promise too little to tell.
    ///
    /// Those that a run of this simulator can express; each must be found.
    package static var simulated: [Mutation] { allCases.filter { !shownByStepsAlone.contains($0) } }

    private static let shownByStepsAlone: [Mutation] = [
        .ignoreAmnesia, .reapWithoutAging, .mergeStaleWrites, .listenToFenced,
    ]
}
