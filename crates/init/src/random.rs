//! Random numbers as a function of what they are for, never of when they are drawn.

use inductive_random::Stream;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::Matrix;

/// What a stream of random numbers is for; keeps streams with equal counters apart.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Offsets = 1,
    Scramble = 2,
    PseudoInput = 3,
    Start = 4,
    Noise = 5,
    QueryKey = 6,
    ValueProj = 7,
    Biases = 8,
    Linear = 9,
    Filters = 10,
    Convolution = 11,
}

/// The generator of (`purpose`, `seed`, `layer`, `index`).
pub(crate) fn stream(purpose: Purpose, seed: u64, layer: u64, index: u64) -> Stream {
    inductive_random::stream(purpose as u64, seed, layer, index)
}

/// Uniform on `[-bound, bound)`.
pub(crate) fn uniform(rows: usize, cols: usize, bound: f64, rng: &mut impl Rng) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| bound * (2.0 * rng.r#gen::<f64>() - 1.0))
}

/// Normal with deviation `std`.
pub(crate) fn normal(rows: usize, cols: usize, std: f64, rng: &mut impl Rng) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| {
        let value: f64 = StandardNormal.sample(rng);
        value * std
    })
}

/// Normal with deviation `std`, redrawn while outside +-`cut` (absolute, as in timm's `trunc_normal_`: the deviation of
/// the result is a little smaller than `std`).
pub(crate) fn truncated_normal(rows: usize, cols: usize, std: f64, cut: f64, rng: &mut impl Rng) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| {
        loop {
            let value: f64 = StandardNormal.sample(rng);
            if (value * std).abs() <= cut {
                return value * std;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(m: &Matrix) -> f64 {
        (m.values().iter().map(|v| v * v).sum::<f64>() / m.values().len() as f64).sqrt()
    }

    #[test]
    fn fills_have_their_deviation_and_stay_inside_their_bounds() {
        let mut rng = stream(Purpose::Noise, 0, 0, 0);
        let even = uniform(200, 200, 0.5, &mut rng);
        assert!(even.values().iter().all(|v| v.abs() <= 0.5));
        assert!((deviation(&even) - 0.5 / 3.0f64.sqrt()).abs() < 0.01);
        let cut = truncated_normal(200, 200, 1.0, 2.0, &mut rng);
        assert!(cut.values().iter().all(|v| v.abs() <= 2.0));
        // variance of N(0, 1) cut at two deviations: 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737
        assert!((deviation(&cut) - 0.7737f64.sqrt()).abs() < 0.01);
    }
}
