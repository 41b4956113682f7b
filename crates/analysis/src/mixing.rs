//! What learning the channel mixing alone can do when spatial filters stay as they were drawn (arXiv 2404.01139, Proposition 1).
//!
//! ```text
//! X = Z B                           Z [N, k] maps on a grid, B [k, D], both normal: X has rank k
//! features  F[:, d] = h_d * x_d     h_d: frozen f x f filter of channel d, zero padding
//! wanted    Y = sum_d (g_d * x_d) w_d^T       g_d: random f x f filters, w_d: random mixing
//! residual  = min_W |F W - Y| / |Y|           Frobenius norms
//! ```
//!
//! Y lies in the span of the `T_j z_l` (f^2 shifts, k maps), which has `k f^2` dimensions, and so do the features. Where
//! they span all of it the residual is 0, whatever Y is. Normal filters do so from `D = k f^2` on. An impulse is
//! one shift: every shift must be that of k channels at least, so drawn ones need more channels and evenly dealt ones
//! do not. A constant box leaves the k dimensions of its one filter.
//!
//! Activations, norms and residual connections are not part of it, as they are not part of the proposition.

use inductive_init::Matrix;
use inductive_random::stream;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// Singular values below this share of the largest count as 0.
const CUT: f64 = 1e-10;
/// Residuals below this count as 0: far above rounding errors (1e-10 and less), far below what one missing direction costs.
pub const NO_RESIDUAL: f64 = 1e-6;

/// The frozen filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filters {
    /// All elements normal.
    Gaussian,
    /// One element 1, drawn for each channel.
    RandomImpulse,
    /// One element 1, the next one for the next channel: all shifts equally often.
    BalancedImpulse,
    /// All elements equal.
    Box,
}

/// The size of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixing {
    /// Maps are `side` x `side`; `side^2` should be above `k f^2`, or any features fit any wish.
    pub side: usize,
    /// k: rank of the input.
    pub rank: usize,
    /// f: side of the filters.
    pub kernel: usize,
    /// Channels of the wanted output.
    pub outputs: usize,
}

/// What the best channel mixing reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// Norm of what is missed over the norm of what is wanted, 0 to 1.
    pub residual: f64,
    /// Dimensions of what the features span.
    pub rank: usize,
}

/// What is drawn of one channel, one after the other: a larger D has the channels of a smaller one first.
#[derive(Clone, Copy)]
enum Purpose {
    Maps = 1,
    Input = 2,
    Frozen = 3,
    Wanted = 4,
    Mix = 5,
}

impl Mixing {
    /// `k f^2`: dimensions of everything that f x f filters can make of the input.
    pub fn dimensions(&self) -> usize {
        self.rank * self.kernel * self.kernel
    }

    /// The best mixing of `channels` = D features by least squares, over singular values (those below 1e-10 of the largest count
    /// as 0). A function of its arguments alone.
    ///
    /// The residual is NaN where nothing is wanted (a size of 0).
    pub fn measure(&self, filters: Filters, channels: usize, seed: u64) -> Mixed {
        const NOTHING: Mixed = Mixed { residual: f64::NAN, rank: 0 };
        let places = self.side * self.side;
        let input = self.input(channels, seed);
        let frozen = self.frozen(filters, channels, seed);
        let wanted = self.normal(Purpose::Wanted, channels * self.kernel.pow(2), seed);
        let mix = self.normal(Purpose::Mix, channels * self.outputs, seed);
        let mut features = Matrix::from_fn(places, channels, |_, _| 0.0);
        let mut target = Matrix::from_fn(places, self.outputs, |_, _| 0.0);
        for (channel, map) in input.chunks_exact(places.max(1)).enumerate() {
            let of_channel = channel * self.kernel.pow(2)..(channel + 1) * self.kernel.pow(2);
            let feature = self.filtered(map, &frozen[of_channel.clone()]);
            let wanted = self.filtered(map, &wanted[of_channel]);
            let mix = &mix[channel * self.outputs..][..self.outputs];
            for (place, (feature, wanted)) in feature.iter().zip(wanted).enumerate() {
                features.values_mut()[place * channels + channel] = *feature;
                let target = &mut target.values_mut()[place * self.outputs..][..self.outputs];
                target.iter_mut().zip(mix).for_each(|(target, w)| *target += wanted * w);
            }
        }
        let norm = frobenius(target.values());
        if channels == 0 || norm.is_nan() || norm <= 0.0 {
            return NOTHING;
        }
        let Ok(svd) = features.svd("features") else {
            return NOTHING;
        };
        let least = CUT * svd.values[0];
        let rank = svd.values.iter().take_while(|s| **s > least).count();
        let directions = svd.left.first_columns(rank);
        let reached = directions.times(&directions.transposed_times(&target));
        let mut missed = target;
        missed.values_mut().iter_mut().zip(reached.values()).for_each(|(missed, reached)| *missed -= reached);
        Mixed { residual: frobenius(missed.values()) / norm, rank }
    }

    /// The fewest channels that leave no residual ([`NO_RESIDUAL`]), if `most` do. More channels never do less: they are
    /// added to those that are there.
    pub fn channels_needed(&self, filters: Filters, most: usize, seed: u64) -> Option<usize> {
        let is_enough = |channels| self.measure(filters, channels, seed).residual <= NO_RESIDUAL;
        if !is_enough(most) {
            return None;
        }
        // fewer than k channels give the input a smaller rank than k, which is another question
        let (mut low, mut high) = (self.rank, most);
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_enough(middle) { high = middle } else { low = middle + 1 }
        }
        Some(high)
    }

    /// X, channel by channel: `[channels, side, side]`.
    fn input(&self, channels: usize, seed: u64) -> Vec<f64> {
        let places = self.side * self.side;
        let maps = self.normal(Purpose::Maps, self.rank * places, seed);
        let factors = self.normal(Purpose::Input, channels * self.rank, seed);
        let mut input = vec![0.0; channels * places];
        for (x, factors) in input.chunks_exact_mut(places.max(1)).zip(factors.chunks_exact(self.rank.max(1)))
        {
            for (factor, z) in factors.iter().zip(maps.chunks_exact(places)) {
                x.iter_mut().zip(z).for_each(|(x, z)| *x += factor * z);
            }
        }
        input
    }

    /// The frozen filters, `[channels, kernel, kernel]`.
    fn frozen(&self, filters: Filters, channels: usize, seed: u64) -> Vec<f64> {
        let size = self.kernel * self.kernel;
        let mut rng = stream(Purpose::Frozen as u64, seed, 0, 0);
        let mut frozen = match filters {
            Filters::Gaussian => return self.normal(Purpose::Frozen, channels * size, seed),
            Filters::Box => return vec![1.0 / size as f64; channels * size],
            Filters::RandomImpulse | Filters::BalancedImpulse => vec![0.0; channels * size],
        };
        for (channel, filter) in frozen.chunks_exact_mut(size.max(1)).enumerate() {
            let shift = match filters {
                Filters::RandomImpulse => rng.gen_range(0..size),
                _ => channel % size,
            };
            filter[shift] = 1.0;
        }
        frozen
    }

    fn normal(&self, purpose: Purpose, count: usize, seed: u64) -> Vec<f64> {
        let mut rng = stream(purpose as u64, seed, 0, 0);
        (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// A map, `[side, side]`, under a filter, `[kernel, kernel]`, centred, with zeros beyond the border.
    fn filtered(&self, map: &[f64], filter: &[f64]) -> Vec<f64> {
        let (side, half) = (self.side, (self.kernel / 2) as isize);
        let mut result = vec![0.0; map.len()];
        for (index, weight) in filter.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            let (down, right) =
                ((index / self.kernel) as isize - half, (index % self.kernel) as isize - half);
            for y in 0..side {
                let Some(from_row) = y.checked_add_signed(down).filter(|y| *y < side) else { continue };
                for x in 0..side {
                    if let Some(from) = x.checked_add_signed(right).filter(|x| *x < side) {
                        result[y * side + x] += weight * map[from_row * side + from];
                    }
                }
            }
        }
        result
    }
}

fn frobenius(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 36 dimensions in 100 places.
    const SMALL: Mixing = Mixing { side: 10, rank: 4, kernel: 3, outputs: 5 };

    #[test]
    fn sharp_filters_need_as_many_channels_as_there_are_dimensions() {
        for filters in [Filters::Gaussian, Filters::BalancedImpulse] {
            for seed in 0..3 {
                for channels in [36, 40, 150] {
                    let mixed = SMALL.measure(filters, channels, seed);
                    assert!(mixed.residual < NO_RESIDUAL, "{filters:?} {channels}: {mixed:?}");
                    assert_eq!(mixed.rank, 36);
                }
                for channels in [18, 32, 35] {
                    let mixed = SMALL.measure(filters, channels, seed);
                    assert!(mixed.residual > 0.01, "{filters:?} {channels}: {mixed:?}");
                    assert_eq!(mixed.rank, channels);
                }
                assert_eq!(SMALL.channels_needed(filters, 100, seed), Some(36));
            }
        }
    }

    #[test]
    fn drawn_impulses_need_k_channels_of_every_shift() {
        for seed in 0..5 {
            let needed = SMALL.channels_needed(Filters::RandomImpulse, 400, seed).unwrap();
            let counts = |channels| {
                let frozen = SMALL.frozen(Filters::RandomImpulse, channels, seed);
                let mut counts = [0usize; 9];
                frozen.iter().enumerate().filter(|(_, v)| **v == 1.0).for_each(|(i, _)| counts[i % 9] += 1);
                counts
            };
            let least = |channels| counts(channels).into_iter().min().unwrap();
            assert_eq!((least(needed - 1), least(needed)), (3, 4), "seed {seed}");
            assert!(needed > 36, "seed {seed}: {needed}");
            let dimensions: usize = counts(36).iter().map(|count| count.min(&4)).sum();
            assert_eq!(SMALL.measure(Filters::RandomImpulse, 36, seed).rank, dimensions);
        }
    }

    #[test]
    fn boxes_have_the_dimensions_of_the_input_however_many_there_are() {
        for channels in [4, 36, 300] {
            let mixed = SMALL.measure(Filters::Box, channels, 0);
            assert_eq!(mixed.rank, 4);
            assert!(mixed.residual > 0.5, "{mixed:?}");
        }
        assert_eq!(SMALL.channels_needed(Filters::Box, 300, 0), None);
    }

    #[test]
    fn filters_move_maps_without_wrapping_around() {
        let size = Mixing { side: 3, ..SMALL };
        let map: Vec<f64> = (1..=9).map(f64::from).collect();
        let mut filter = [0.0; 9];
        // looks up and to the right
        filter[2] = 2.0;
        assert_eq!(size.filtered(&map, &filter), [0.0, 0.0, 0.0, 4.0, 6.0, 0.0, 10.0, 12.0, 0.0]);
        assert_eq!(size.filtered(&map, &[1.0; 9])[4], 45.0);
    }

    #[test]
    fn more_channels_keep_those_that_were_there_and_seeds_are_others() {
        let (few, many) = (SMALL.input(5, 1), SMALL.input(9, 1));
        assert_eq!(many[..few.len()], few);
        for filters in [Filters::Gaussian, Filters::RandomImpulse] {
            let (few, many) = (SMALL.frozen(filters, 5, 1), SMALL.frozen(filters, 9, 1));
            assert_eq!(many[..few.len()], few);
        }
        let measure = |seed| SMALL.measure(Filters::Gaussian, 20, seed);
        assert_eq!(measure(1), measure(1));
        assert_ne!(measure(1), measure(2));
    }

    #[test]
    fn nothing_wanted_has_no_residual() {
        assert!(SMALL.measure(Filters::Gaussian, 0, 0).residual.is_nan());
        for empty in [
            Mixing { side: 0, ..SMALL },
            Mixing { rank: 0, ..SMALL },
            Mixing { kernel: 0, ..SMALL },
            Mixing { outputs: 0, ..SMALL },
        ] {
            for filters in [Filters::Gaussian, Filters::RandomImpulse, Filters::Box] {
                assert!(empty.measure(filters, 4, 0).residual.is_nan(), "{empty:?}");
                assert_eq!(empty.channels_needed(filters, 4, 0), None);
            }
        }
    }
}
