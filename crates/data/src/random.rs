//! What the random numbers of this crate are for.

/// The generator handed to transforms and used by the loader and the synthetic set.
pub type SampleRng = inductive_random::Stream;

/// What a stream of random numbers is for; keeps streams with equal counters apart.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
    Subset = 3,
    SyntheticTrain = 4,
    SyntheticTest = 5,
}

/// The generator of (`purpose`, `seed`, `major`, `minor`), for example of (augmentation, seed, epoch, position).
pub(crate) fn stream(purpose: Purpose, seed: u64, major: u64, minor: u64) -> SampleRng {
    inductive_random::stream(purpose as u64, seed, major, minor)
}
