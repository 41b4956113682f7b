//! One seed per purpose, all from the recipe's: a change of one use of random numbers leaves the others alone.

/// What random numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Order of the images, crops and flips.
    Loader = 2,
    /// Stochastic depth, one seed per step.
    DropPath = 3,
    /// Which images a random subset takes.
    Subset = 4,
    /// Initial weights that a strategy designs.
    Init = 5,
    /// Positions that are drawn when a layer switches.
    Switch = 6,
}

/// The seed of the `index`-th use for `purpose`.
pub(crate) fn derive(seed: u64, purpose: Purpose, index: u64) -> u64 {
    inductive_random::derive(seed, purpose as u64, index)
}
