//! Random numbers as a pure function of where they are used, never of when.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator handed to transforms and used by the loader and the synthetic set.
pub type SampleRng = ChaCha8Rng;

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
///
/// The four numbers are the ChaCha key itself, so different uses never share a stream.
pub(crate) fn stream(purpose: Purpose, seed: u64, major: u64, minor: u64) -> SampleRng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([purpose as u64, seed, major, minor]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_depend_on_each_of_their_coordinates() {
        let draw = |purpose, seed, major, minor| stream(purpose, seed, major, minor).r#gen::<u64>();
        let reference = draw(Purpose::Order, 1, 2, 3);
        assert_eq!(reference, draw(Purpose::Order, 1, 2, 3));
        assert_ne!(reference, draw(Purpose::Augment, 1, 2, 3));
        assert_ne!(reference, draw(Purpose::Order, 0, 2, 3));
        assert_ne!(reference, draw(Purpose::Order, 1, 0, 3));
        assert_ne!(reference, draw(Purpose::Order, 1, 2, 0));
    }
}
