//! How long a run is, and its learning rate at every step.

use std::sync::Arc;

use inductive_schedule::{Clock, CosineWarmup, Duration, Progress, RunSize, Schedule};

use crate::{Error, Recipe, Result};

/// A recipe's lengths in steps, for a given number of batches per epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Updates in an epoch.
    pub steps_per_epoch: u64,
    /// Updates in the run.
    pub total_steps: u64,
    /// Updates between evaluations.
    pub eval_steps: u64,
    run: RunSize,
    schedule: Arc<dyn Schedule + Send + Sync>,
    clock: Clock,
}

impl Plan {
    /// The plan of `recipe` where an epoch has `steps_per_epoch` batches.
    ///
    /// # Errors
    /// [`Error::Recipe`] if the run is shorter than its warm-up; [`Error::Schedule`] if it is too long to count.
    pub fn new(recipe: &Recipe, steps_per_epoch: u64) -> Result<Self> {
        let batch_size = recipe.batch_size as u64;
        // An epoch is what the loader hands out, so that "3 epochs" ends at the end of the third.
        let mut run = RunSize { dataset_size: steps_per_epoch * batch_size, batch_size, total_steps: None };
        let total_steps = recipe.epochs.to_steps(run)?.max(1);
        run.total_steps = Some(total_steps);
        let eval_steps = recipe.eval_every.to_steps(run)?.max(1);
        let in_epochs = |steps: u64| steps as f64 / steps_per_epoch as f64;
        let warmup_epochs = match recipe.warmup_epochs {
            // Not rounded to steps, so that the published rates come out to the last bit.
            Duration::Epochs(epochs) => epochs,
            other => in_epochs(other.to_steps(run)?),
        };
        let epochs = match recipe.epochs {
            Duration::Epochs(epochs) => epochs,
            _ => in_epochs(total_steps),
        };
        if warmup_epochs > epochs {
            let expected = format!("at most the run's {epochs} epochs");
            return Err(Error::Recipe {
                field: "warmup_epochs",
                got: recipe.warmup_epochs.to_string(),
                expected,
            });
        }
        let schedule = CosineWarmup::new(epochs, recipe.learning_rate())
            .with_warmup(warmup_epochs, recipe.warmup_lr)
            .with_min_lr(recipe.min_lr);
        schedule.check()?;
        Ok(Self {
            steps_per_epoch,
            total_steps,
            eval_steps,
            run,
            schedule: Arc::new(schedule),
            clock: recipe.clock,
        })
    }

    /// The same lengths with another learning rate, whose time `clock` shows.
    pub fn with_schedule(self, clock: Clock, schedule: Arc<dyn Schedule + Send + Sync>) -> Self {
        Self { schedule, clock, ..self }
    }

    /// What turns a length of time into steps of this run.
    pub fn run_size(&self) -> RunSize {
        self.run
    }

    /// Learning rate of update number `step`, from 0.
    pub fn lr(&self, step: u64) -> f64 {
        let Self { steps_per_epoch, total_steps, .. } = *self;
        self.schedule.at(Progress { step, steps_per_epoch, total_steps }, self.clock)
    }

    /// Whether metrics are due after `step` updates.
    pub fn reports_after(&self, step: u64) -> bool {
        step > 0 && (step.is_multiple_of(self.eval_steps) || step == self.total_steps)
    }

    /// Epochs after `step` updates.
    pub fn epoch(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schedule_trains_two_epochs_at_the_start() {
        let recipe = Recipe {
            epochs: Duration::Epochs(300.0),
            warmup_epochs: Duration::Epochs(5.0),
            clock: Clock::WholeEpochOneBehind,
            ..Recipe::default()
        };
        let plan = Plan::new(&recipe, 10).unwrap();
        assert_eq!((plan.total_steps, plan.eval_steps), (3000, 10));
        let epochs = [0, 1, 2, 6].map(|epoch| plan.lr(epoch * 10));
        // facebookresearch/convit, main.py: timm's cosine schedule, told the epoch before the one that begins.
        assert_eq!(epochs[..3], [1e-6, 1e-6, 0.00020080000000000003]);
        assert!((epochs[3] - 0.99932e-3).abs() < 1e-8, "{}", epochs[3]);
        assert_eq!(plan.lr(9), plan.lr(0));
        // The last epoch but one of the cosine: the run never sees the last.
        assert!((plan.lr(2999) - 1.0108561679951e-5).abs() < 1e-15, "{}", plan.lr(2999));
    }

    #[test]
    fn the_default_changes_with_every_update_and_ends_low() {
        let plan = Plan::new(&Recipe::default(), 10).unwrap();
        assert_eq!((plan.total_steps, plan.lr(0)), (200, 1e-6));
        assert!(plan.lr(5) < plan.lr(6) && plan.lr(100) > plan.lr(101));
        assert!(plan.lr(10) > 0.99e-3 && plan.lr(199) < 1.1e-5);
    }

    #[test]
    fn reports_are_due_at_multiples_and_at_the_end() {
        let recipe =
            Recipe { epochs: Duration::Steps(25), eval_every: Duration::Epochs(1.0), ..Recipe::default() };
        let plan = Plan::new(&recipe, 10).unwrap();
        let due: Vec<u64> = (0..=25).filter(|step| plan.reports_after(*step)).collect();
        assert_eq!(due, [10, 20, 25]);
    }

    #[test]
    fn a_warmup_longer_than_the_run_is_refused_by_name() {
        let recipe = Recipe { warmup_epochs: Duration::Epochs(30.0), ..Recipe::default() };
        let error = Plan::new(&recipe, 10).unwrap_err().to_string();
        assert!(error.contains("`warmup_epochs` is 30 epochs") && error.contains("20 epochs"), "{error}");
    }
}
