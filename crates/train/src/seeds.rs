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
    mix(mix(mix(seed) ^ purpose as u64) ^ index)
}

/// SplitMix64 (Steele, Lea, Flood 2014): a bijection, so different inputs never collide.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn seeds_differ_between_recipes_purposes_and_steps() {
        let purposes = [
            Purpose::Weights,
            Purpose::Loader,
            Purpose::DropPath,
            Purpose::Subset,
            Purpose::Init,
            Purpose::Switch,
        ];
        let seeds: BTreeSet<u64> = (0..10)
            .flat_map(|seed| purposes.into_iter().flat_map(move |p| (0..10).map(move |i| derive(seed, p, i))))
            .collect();
        assert_eq!(seeds.len(), 600);
    }
}
