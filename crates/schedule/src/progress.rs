//! Where a run is, and the clocks that read it.

use serde::{Deserialize, Serialize};

/// A point of a run: the number of optimizer updates made before this one, and the lengths that give it meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Updates made so far; 0 for the first update.
    pub step: u64,
    /// Updates in one epoch; 0 is read as 1.
    pub steps_per_epoch: u64,
    /// Updates in the whole run; 0 is read as 1.
    pub total_steps: u64,
}

impl Progress {
    /// Epochs so far, with the fraction of the current one.
    pub fn epoch(self) -> f64 {
        self.step as f64 / self.steps_per_epoch.max(1) as f64
    }

    /// Number of the current epoch, from 0.
    pub fn whole_epoch(self) -> u64 {
        self.step / self.steps_per_epoch.max(1)
    }

    /// Fraction of the run made so far: 0 at the start, 1 after the last update.
    pub fn fraction(self) -> f64 {
        self.step as f64 / self.total_steps.max(1) as f64
    }
}

/// How a schedule reads a run's progress as time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Clock {
    /// Updates made so far.
    Step,
    /// Epochs with their fraction: the value changes with every update (timm `--sched-on-updates`).
    Epoch,
    /// Number of the epoch: one value per epoch (timm: `step(epoch + 1)` after each epoch).
    WholeEpoch,
    /// Number of the epoch before this one: what runs see that call `step(epoch)` after each epoch, as DeiT's `main.py`,
    /// ConViT and EIT do. Epochs 0 and 1 both train with the value at 0.
    WholeEpochOneBehind,
    /// Fraction of the run, 0 to 1.
    Fraction,
}

impl Clock {
    /// The time this clock shows at `progress`.
    pub fn read(self, progress: Progress) -> f64 {
        match self {
            Self::Step => progress.step as f64,
            Self::Epoch => progress.epoch(),
            Self::WholeEpoch => progress.whole_epoch() as f64,
            Self::WholeEpochOneBehind => progress.whole_epoch().saturating_sub(1) as f64,
            Self::Fraction => progress.fraction(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_read_the_same_update_in_their_own_units() {
        let progress = Progress { step: 25, steps_per_epoch: 10, total_steps: 100 };
        let read = |clock: Clock| clock.read(progress);
        assert_eq!(read(Clock::Step), 25.0);
        assert_eq!(read(Clock::Epoch), 2.5);
        assert_eq!(read(Clock::WholeEpoch), 2.0);
        assert_eq!(read(Clock::WholeEpochOneBehind), 1.0);
        assert_eq!(read(Clock::Fraction), 0.25);
    }

    #[test]
    fn the_first_two_epochs_share_a_value_one_behind() {
        let at =
            |step| Clock::WholeEpochOneBehind.read(Progress { step, steps_per_epoch: 4, total_steps: 40 });
        assert_eq!([0, 3, 4, 7, 8, 12].map(at), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn lengths_of_zero_do_not_divide_by_zero() {
        let progress = Progress { step: 3, steps_per_epoch: 0, total_steps: 0 };
        assert_eq!((progress.epoch(), progress.whole_epoch(), progress.fraction()), (3.0, 3, 3.0));
    }
}
