//! One statement "A > B", judged over paired seeds.

use serde::{Deserialize, Serialize};

use crate::{
    stats::{Interval, Seeded, t_quantile},
    verdict::Verdict,
};

/// The statement "left > right" for two quantities measured with the same seeds. For "less than", swap the sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What is claimed, in words.
    pub statement: String,
    /// Unit of the difference, e.g. `points`.
    pub unit: String,
    /// What should be greater.
    pub left: Seeded,
    /// What it should be greater than.
    pub right: Seeded,
}

/// A comparison with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What is claimed, in words.
    pub statement: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Number of paired seeds.
    pub n: usize,
    /// Mean of the paired differences; `None` without a pair and where a value is not finite.
    pub difference: Option<f64>,
    /// 95 % Student-t interval of that mean; `None` with fewer than two pairs.
    pub interval: Option<Interval>,
    /// Unit of both.
    pub unit: String,
    /// Why the verdict is what it is.
    pub reason: String,
}

const ABOVE: &str = "the whole 95 % interval is above 0";
const BELOW: &str = "the whole 95 % interval is below 0";
const NO_SPREAD: &str = "all seeds give the same difference, so their spread is unknown; run more seeds";
const AROUND: &str = "the 95 % interval contains 0";

/// The most seeds worth naming.
const MANY_SEEDS: usize = 10_000;

/// Width of an interval, relative to its middle, that is nothing but the rounding of differences.
pub(super) const ROUNDING: f64 = 1e-9;

impl Judged {
    /// Whether two sides are within `bound` of each other: `None` where the seeds cannot say.
    pub fn is_within(&self, bound: f64) -> Option<bool> {
        let interval = self.interval?;
        if -bound <= interval.low && interval.high <= bound {
            return Some(true);
        }
        (self.verdict != Verdict::Undecided).then_some(false)
    }

    /// How many paired seeds would decide an undecided comparison if mean and spread of the differences stayed as they are.
    pub fn seeds_needed(&self) -> Option<usize> {
        let (difference, interval) = (self.difference?.abs(), self.interval?);
        let half = 0.5 * (interval.high - interval.low);
        let deviation = half * (self.n as f64).sqrt() / t_quantile(0.975, self.n - 1);
        let decides = |n: &usize| t_quantile(0.975, n - 1) * deviation / (*n as f64).sqrt() < difference;
        (self.verdict == Verdict::Undecided).then(|| (self.n + 1..=MANY_SEEDS).find(decides))?
    }

    /// Whether the reason says no more than the interval does.
    pub(super) fn interval_says_why(&self) -> bool {
        [ABOVE, BELOW, AROUND].contains(&self.reason.as_str())
    }
}

impl Comparison {
    /// States that `left` is greater than `right`.
    pub fn new(statement: impl Into<String>, unit: impl Into<String>, left: Seeded, right: Seeded) -> Self {
        Self { statement: statement.into(), unit: unit.into(), left, right }
    }

    /// The verdict: *holds* if the whole 95 % interval of the mean paired difference is above 0, *fails* if all of it is
    /// below, *undecided* otherwise; always undecided with fewer than two pairs, where all differences are equal but for
    /// rounding (accuracies on few images are coarse), and where a value is not finite.
    pub fn judge(&self) -> Judged {
        let differences = self.left.minus(&self.right);
        let judged = |verdict, difference, interval, reason: String| Judged {
            statement: self.statement.clone(),
            verdict,
            n: differences.len(),
            difference,
            interval,
            unit: self.unit.clone(),
            reason: reason + &self.unpaired(),
        };
        if let Some((seed, _)) = differences.iter().find(|(_, value)| !value.is_finite()) {
            return judged(Verdict::Undecided, None, None, format!("seed {seed} gave no finite number"));
        }
        let Some(summary) = differences.summary() else {
            return judged(Verdict::Undecided, None, None, "no seed has both sides".to_owned());
        };
        let Some(interval) = Interval::of(&summary) else {
            let reason = "one seed gives no interval; run more seeds".to_owned();
            return judged(Verdict::Undecided, Some(summary.mean), None, reason);
        };
        let (verdict, reason) = if interval.high - interval.low <= ROUNDING * summary.mean.abs() {
            (Verdict::Undecided, NO_SPREAD)
        } else if interval.low > 0.0 {
            (Verdict::Holds, ABOVE)
        } else if interval.high < 0.0 {
            (Verdict::Fails, BELOW)
        } else {
            (Verdict::Undecided, AROUND)
        };
        judged(verdict, Some(summary.mean), Some(interval), reason.to_owned())
    }

    /// Names the seeds that only one side has.
    fn unpaired(&self) -> String {
        let only = |a: &Seeded, b: &Seeded| -> Vec<u64> {
            a.iter().map(|(seed, _)| seed).filter(|&seed| b.get(seed).is_none()).collect()
        };
        let mut seeds = only(&self.left, &self.right);
        seeds.extend(only(&self.right, &self.left));
        seeds.sort_unstable();
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        match seeds.is_empty() {
            true => String::new(),
            false => format!(" (left out, measured on one side only: seed {})", seeds.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(left: &[f64], right: &[f64]) -> Judged {
        let seeded = |values: &[f64]| (1..).zip(values.iter().copied()).collect();
        Comparison::new("A > B", "points", seeded(left), seeded(right)).judge()
    }

    #[test]
    fn equal_differences_decide_nothing() {
        let (left, right) = ([(0, 2.0), (1, 3.0)], [(0, 1.0), (1, 2.0)]);
        let judged =
            Comparison::new("a > b", "points", left.into_iter().collect(), right.into_iter().collect())
                .judge();
        assert_eq!((judged.verdict, judged.n), (Verdict::Undecided, 2));
        assert!(judged.reason.contains("same difference"), "{}", judged.reason);
        // 4 of 60 images more, from different counts: 6.67 points but for the last bits
        let of_60 = |images: [f64; 2]| images.map(|count| count / 60.0 * 100.0);
        let judged = judge(&of_60([11.0, 8.0]), &of_60([7.0, 4.0]));
        assert_eq!((judged.verdict, judged.n), (Verdict::Undecided, 2), "{judged:?}");
    }

    #[test]
    fn an_interval_above_zero_holds_and_one_below_fails() {
        let holds = judge(&[60.0, 61.0, 59.5], &[50.0, 51.5, 49.0]);
        assert_eq!((holds.verdict, holds.n), (Verdict::Holds, 3));
        assert!((holds.difference.unwrap() - 10.0).abs() < 1e-12);
        assert_eq!(judge(&[50.0, 51.5, 49.0], &[60.0, 61.0, 59.5]).verdict, Verdict::Fails);
    }

    #[test]
    fn a_lead_smaller_than_its_noise_is_undecided() {
        let open = judge(&[51.0, 50.0, 52.0], &[50.0, 50.5, 50.5]);
        assert!(open.difference.unwrap() > 0.0 && open.interval.unwrap().low < 0.0);
        assert_eq!(open.verdict, Verdict::Undecided);
    }

    #[test]
    fn two_seeds_need_a_lead_of_thirteen_standard_errors() {
        // t(.975, 1) = 12.706: differences 1 and 1.18 have mean 1.09 and half-width 1.14.
        assert_eq!(judge(&[1.0, 1.18], &[0.0, 0.0]).verdict, Verdict::Undecided);
        assert_eq!(judge(&[1.0, 1.16], &[0.0, 0.0]).verdict, Verdict::Holds);
    }

    #[test]
    fn fewer_than_two_pairs_are_undecided_however_large_the_lead() {
        let one = judge(&[90.0], &[10.0]);
        assert_eq!(
            (one.verdict, one.n, one.difference, one.interval),
            (Verdict::Undecided, 1, Some(80.0), None)
        );
        assert_eq!(judge(&[], &[]).reason, "no seed has both sides");
    }

    #[test]
    fn equal_results_are_undecided() {
        assert_eq!(judge(&[5.0, 6.0, 7.0], &[5.0, 6.0, 7.0]).verdict, Verdict::Undecided);
    }

    #[test]
    fn a_run_that_diverged_is_named_and_decides_nothing() {
        let diverged = judge(&[60.0, f64::NAN, 61.0], &[50.0, 50.0, 50.0]);
        assert_eq!((diverged.verdict, diverged.difference), (Verdict::Undecided, None));
        assert_eq!(diverged.reason, "seed 2 gave no finite number");
    }

    #[test]
    fn seeds_of_one_side_are_named_not_used() {
        let odd = judge(&[60.0, 61.0, 62.0], &[50.0, 51.0]);
        assert_eq!(odd.n, 2);
        assert!(odd.reason.ends_with("measured on one side only: seed 3)"), "{}", odd.reason);
    }

    proptest! {
        #[test]
        fn swapping_the_sides_swaps_holds_and_fails(pairs in prop::collection::vec((-9.0..9.0, -9.0..9.0), 0..8)) {
            let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let swapped = match judge(&left, &right).verdict {
                Verdict::Holds => Verdict::Fails,
                Verdict::Fails => Verdict::Holds,
                open => open,
            };
            prop_assert_eq!(judge(&right, &left).verdict, swapped);
        }
    }
}
