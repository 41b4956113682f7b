//! Mean, standard deviation, and 95 % intervals over seeds.

use std::{collections::BTreeMap, f64::consts::FRAC_PI_2};

use inductive_report::Summary;
use serde::{Deserialize, Serialize};

/// One measured quantity, by seed.
///
/// Seeds pair runs: two quantities measured with the same seed saw the same data in the same order, so that their
/// difference is less noisy than either.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seeded(BTreeMap<u64, f64>);

impl Seeded {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the value of a seed, in place of an earlier one.
    pub fn insert(&mut self, seed: u64, value: f64) {
        self.0.insert(seed, value);
    }

    /// The value of a seed.
    pub fn get(&self, seed: u64) -> Option<f64> {
        self.0.get(&seed).copied()
    }

    /// Seeds and values, by seed.
    pub fn iter(&self) -> impl Iterator<Item = (u64, f64)> + '_ {
        self.0.iter().map(|(&seed, &value)| (seed, value))
    }

    /// The values, by seed.
    pub fn values(&self) -> Vec<f64> {
        self.0.values().copied().collect()
    }

    /// Number of seeds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no seed was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `f` of the two values of every seed that both have; other seeds are left out.
    pub fn paired_with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        self.iter().filter_map(|(seed, a)| Some((seed, f(a, other.get(seed)?)))).collect()
    }

    /// Paired differences, `self - other`.
    pub fn minus(&self, other: &Self) -> Self {
        self.paired_with(other, |a, b| a - b)
    }

    /// Paired relative lead in percent, `100 (self / other - 1)`: the "gap" of ConViT Table 2.
    pub fn lead_over(&self, other: &Self) -> Self {
        self.paired_with(other, |a, b| 100.0 * (a / b - 1.0))
    }

    /// Mean, standard deviation and number of seeds.
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(&self.values())
    }
}

impl FromIterator<(u64, f64)> for Seeded {
    fn from_iter<I: IntoIterator<Item = (u64, f64)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// That of the mean of a sample, `mean +- t(.975, n - 1) sd / sqrt(n)`; `None` for one value.
    pub fn of(summary: &Summary) -> Option<Self> {
        let half = t_quantile(0.975, summary.n.saturating_sub(1)) * summary.sd? / (summary.n as f64).sqrt();
        Some(Self { low: summary.mean - half, high: summary.mean + half })
    }
}

/// The quantile of Student's t: the value that a t-distributed number with `df` degrees of freedom stays below with
/// probability `p`. NaN for `df = 0` and for `p` outside 0 to 1.
///
/// Found by bisection in the angle `theta = atan(t / sqrt(df))`, good to about 1e-12. (The crate `statrs` has it too, but
/// brings `nalgebra` into the lock file even without its default features.)
pub fn t_quantile(p: f64, df: usize) -> f64 {
    if df == 0 || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let within = (2.0 * p - 1.0).abs();
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        *if t_within(middle, df) < within { &mut low } else { &mut high } = middle;
    }
    // Beyond 10^5 degrees the distribution no longer changes in any digit that is printed.
    ((0.5 * (low + high)).tan() * (df.min(MAX_DF) as f64).sqrt()).copysign(p - 0.5)
}

const MAX_DF: usize = 100_000;

/// The probability that a t-distributed number is within `+- sqrt(df) tan(theta)`: the finite sums for whole degrees of
/// freedom, Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even).
fn t_within(theta: f64, df: usize) -> f64 {
    let (sin, cos) = theta.sin_cos();
    let df = df.min(MAX_DF);
    let odd = df % 2;
    // 1, (1/2) cos^2, (1 3 / 2 4) cos^4, ... for even df; cos, (2/3) cos^3, (2 4 / 3 5) cos^5, ... for odd df.
    let mut term = if odd == 1 { cos } else { 1.0 };
    let mut sum = 0.0;
    for k in (2 + odd..=df).step_by(2) {
        sum += term;
        term *= cos * cos * (k - 1) as f64 / k as f64;
    }
    if odd == 1 { (theta + sin * sum) / FRAC_PI_2 } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(values: &[f64]) -> Seeded {
        (0..).zip(values.iter().copied()).collect()
    }

    /// The .975 quantile for df 1 to 30, as printed in tables of Student's t.
    const T975: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];

    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        for (df, want) in (1..).zip(T975) {
            assert!((t_quantile(0.975, df) - want).abs() < 5.1e-4, "df {df}: {}", t_quantile(0.975, df));
            assert!((t_quantile(0.025, df) + t_quantile(0.975, df)).abs() < 1e-9);
        }
    }

    #[test]
    fn t_quantiles_meet_the_closed_forms_of_one_and_two_degrees() {
        for p in [0.6_f64, 0.9, 0.975, 0.995] {
            let one = (std::f64::consts::PI * (p - 0.5)).tan();
            let two = (2.0 * p - 1.0) * (2.0 / (4.0 * p * (1.0 - p))).sqrt();
            assert!((t_quantile(p, 1) / one - 1.0).abs() < 1e-9, "{p}");
            assert!((t_quantile(p, 2) / two - 1.0).abs() < 1e-9, "{p}");
        }
        assert!((t_quantile(0.975, usize::MAX) - 1.959_964).abs() < 1e-4);
        assert!(t_quantile(0.5, 3).abs() < 1e-12);
        assert!(t_quantile(0.975, 0).is_nan() && t_quantile(1.5, 3).is_nan());
    }

    #[test]
    fn the_interval_is_students() {
        // 2 +- 4.302652729911275 / sqrt(3)
        let interval = Interval::of(&Summary::of(&[1.0, 2.0, 3.0]).unwrap()).unwrap();
        assert!(
            (interval.low + 0.484_137_712_1).abs() < 1e-6 && (interval.high - 4.484_137_712_1).abs() < 1e-6
        );
        assert_eq!(Interval::of(&Summary::of(&[3.0]).unwrap()), None);
    }

    #[test]
    fn differences_are_taken_within_a_seed_and_only_where_both_ran() {
        let a: Seeded = [(1, 10.0), (2, 20.0), (3, 30.0)].into_iter().collect();
        let b: Seeded = [(3, 1.0), (1, 5.0), (9, 0.0)].into_iter().collect();
        assert_eq!(a.minus(&b).iter().collect::<Vec<_>>(), [(1, 5.0), (3, 29.0)]);
        assert_eq!(a.lead_over(&b).get(1), Some(100.0));
    }

    #[test]
    fn pairing_removes_what_the_seeds_share() {
        let noise = [3.0, -8.0, 5.0, 1.0];
        let a = seeded(&noise.map(|x| x + 1.0));
        let difference = a.minus(&seeded(&noise)).summary().unwrap();
        assert!((difference.mean - 1.0).abs() < 1e-12 && difference.sd.unwrap() < 1e-12);
    }
}
