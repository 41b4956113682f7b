//! Random numbers as a function of what they are for, never of when they are drawn: the one scheme of all crates.
//!
//! A *purpose* is a number that a crate gives to each use of random numbers, so that a change of one use leaves the others alone.
//! Whoever needs a generator takes a [`stream`]; whoever hands a seed on to somebody else [`derive()`]s one. Each crate counts its
//! purposes for itself; in a run its streams begin with a seed that was derived for it.

use rand::SeedableRng;

/// What a [`Stream`] can do.
pub use rand::RngCore;

/// The generator of a [`stream`].
pub type Stream = rand_chacha::ChaCha8Rng;

/// The generator of (`purpose`, `seed`, `major`, `minor`), for example of (augmentation, seed, epoch, position).
///
/// The four numbers are the ChaCha key itself, so that different uses never share a stream.
pub fn stream(purpose: u64, seed: u64, major: u64, minor: u64) -> Stream {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([purpose, seed, major, minor]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Stream::from_seed(key)
}

/// The generator of a seed alone: for a measurement that draws once, in which nothing else could want the same numbers.
pub fn of_seed(seed: u64) -> Stream {
    Stream::seed_from_u64(seed)
}

/// The seed of the `index`-th use for `purpose` under `seed`.
pub fn derive(seed: u64, purpose: u64, index: u64) -> u64 {
    mix(mix(mix(seed) ^ purpose) ^ index)
}

/// The `index`-th number of SplitMix64 begun with `seed`.
pub fn nth(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(index.wrapping_mul(GOLDEN)))
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so different inputs never collide.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_splitmix64s() {
        // The first numbers of the reference implementation (Vigna, prng.di.unimi.it/splitmix64.c) begun with 1234567.
        let reference = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!([0, 1, 2, 3].map(|index| nth(1234567, index)), reference);
    }

    #[test]
    fn streams_depend_on_each_of_their_coordinates() {
        let draw =
            |[purpose, seed, major, minor]: [u64; 4]| stream(purpose, seed, major, minor).r#gen::<u64>();
        let reference = [1, 2, 3, 4];
        assert_eq!(draw(reference), draw(reference));
        for coordinate in 0..4 {
            let mut other = reference;
            other[coordinate] += 1;
            assert_ne!(draw(other), draw(reference), "{other:?}");
        }
    }

    #[test]
    fn seeds_differ_between_seeds_purposes_and_uses() {
        let all = (0..10).flat_map(|seed| (1..7).map(move |purpose| (seed, purpose)));
        let seeds: BTreeSet<u64> =
            all.flat_map(|(seed, purpose)| (0..10).map(move |index| derive(seed, purpose, index))).collect();
        assert_eq!(seeds.len(), 600);
    }
}
