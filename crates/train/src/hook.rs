//! What can be done beside the updates of a run, and what can be measured in it.

use std::{collections::BTreeMap, path::Path};

use inductive_data::Loader;
use inductive_models::Zoo;

use crate::{Error, Learner, Metrics, Plan, Progress, Result, StepReport};

/// Something that happens beside the updates of a run. Every method but the name does nothing unless it is given.
///
/// Hooks run in the order in which they were added. A run that was stopped or killed and goes on must have the bits of one that was
/// not, so what a hook does follows from the learner, the moment and its own fields, and those that change are its
/// [`state`](Self::state). A layer that it has made attention ([`Learner::switch`]) is so when the run goes on, without its doing.
pub trait Hook<D: Zoo> {
    /// Tells it from the other hooks of the run; letters, digits, `-` and `_`.
    fn name(&self) -> &str;

    /// Before the run's first update, whether or not it is made in this start: a run that is stopped before it has this again when it
    /// goes on, after [`restore`](Self::restore). [`before_step`](Self::before_step) comes after it. So a hook that switches a layer here
    /// first looks whether that has left convolution already.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn start(&mut self, learner: &mut Learner<D>, at: &mut Now<'_>) -> Result<()> {
        let _ = (learner, at);
        Ok(())
    }

    /// Before the update that comes after `at.step` updates.
    ///
    /// # Errors
    /// End the run; [`Error::part`] makes an error of any text.
    fn before_step(&mut self, learner: &mut Learner<D>, at: &mut Now<'_>) -> Result<()> {
        let _ = (learner, at);
        Ok(())
    }

    /// Whether [`after_step`](Self::after_step) is to be called, which makes every update wait for what came of the last one. A hook that has
    /// nothing there says no: on a GPU updates then follow each other without a pause.
    fn sees_every_step(&self) -> bool {
        true
    }

    /// After the update that was the `at.step`-th. report: what it did.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn after_step(&mut self, learner: &mut Learner<D>, report: &StepReport, at: &mut Now<'_>) -> Result<()> {
        let _ = (learner, report, at);
        Ok(())
    }

    /// After an evaluation and before its line is written, which it may complete; numbers that are not finite are left out of it. A run that is killed before the state is saved
    /// makes the evaluation again, from the state before it.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn after_evaluation(
        &mut self,
        learner: &mut Learner<D>,
        metrics: &mut Metrics,
        at: &mut Now<'_>,
    ) -> Result<()> {
        let _ = (learner, metrics, at);
        Ok(())
    }

    /// What it needs to go on later. Saved with the weights.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn state(&self) -> Result<HookState> {
        Ok(HookState::default())
    }

    /// Goes on from what [`state`](Self::state) gave, if that was more than nothing. Comes after the learner has its weights back,
    /// and before the first update.
    ///
    /// # Errors
    /// As [`before_step`](Self::before_step).
    fn restore(&mut self, state: HookState, learner: &mut Learner<D>) -> Result<()> {
        let _ = (state, learner);
        Ok(())
    }
}

/// A moment of a run, as a hook sees it.
#[non_exhaustive]
pub struct Now<'a> {
    /// Updates made.
    pub step: u64,
    /// Lengths in steps, and the learning rate.
    pub plan: &'a Plan,
    /// The run's folder. Names that the run itself writes are not to be touched.
    pub folder: &'a Path,
    /// The test images, in order.
    pub test: &'a Loader,
    /// Who is told what happens.
    pub progress: &'a mut dyn Progress,
}

/// What a hook needs to go on: numbers by name, and a text for all else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookState {
    /// Any text.
    pub text: String,
    /// Numbers by name, as they are saved: bit by bit.
    pub tensors: BTreeMap<String, Vec<f32>>,
}

/// A number that is taken of a learner after every evaluation, and written to [`Metrics::measures`] by its name.
pub trait Gauge<D: Zoo> {
    /// How it is called in `metrics.jsonl`; letters, digits, `-` and `_`.
    fn name(&self) -> &str;

    /// The number; one that is not finite is left out of the line.
    ///
    /// # Errors
    /// End the run; [`Error::part`] makes an error of any text.
    fn measure(&mut self, learner: &Learner<D>, at: &mut Now<'_>) -> Result<f64>;
}

/// All measures of a run.
pub(crate) struct Measures<D>(pub Vec<Box<dyn Gauge<D>>>);

impl<D: Zoo> Hook<D> for Measures<D> {
    fn name(&self) -> &str {
        "measures"
    }

    fn sees_every_step(&self) -> bool {
        false
    }

    fn after_evaluation(
        &mut self,
        learner: &mut Learner<D>,
        metrics: &mut Metrics,
        at: &mut Now<'_>,
    ) -> Result<()> {
        for measure in &mut self.0 {
            let value = measure.measure(learner, at)?;
            metrics.measures.insert(measure.name().to_owned(), value);
        }
        Ok(())
    }
}

/// Refuses names that are not plain, or are given twice.
pub(crate) fn check_names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::part(what, format!("`{name}`: a name has letters, digits, `-` and `_`")));
        }
        if seen.contains(&name) {
            return Err(Error::part(what, format!("`{name}` is there twice; give each a name of its own")));
        }
        seen.push(name);
    }
    Ok(())
}
