//! What a run tells while it runs; how it is shown is the caller's.

use std::path::Path;

use inductive_checkpoint::LoadReport;
use inductive_models::ModelSpec;

use crate::{Metrics, Plan, Recipe};

/// What runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RunInfo<'a> {
    /// The recipe, resolved.
    pub recipe: &'a Recipe,
    /// The model.
    pub model: &'a ModelSpec,
    /// Trainable numbers of the model.
    pub num_params: usize,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Lengths in steps.
    pub plan: &'a Plan,
    /// Updates before each layer of the recipe's `switch` leaves convolution, from the first layer; `None`: never. Times from
    /// the end of the run on do not come. Empty without such a table.
    pub switch_times: &'a [Option<u64>],
    /// Updates already made, in an earlier start.
    pub step: u64,
    /// The run's folder.
    pub folder: &'a Path,
}

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepInfo {
    /// Updates made, this one included.
    pub step: u64,
    /// Updates in the run.
    pub total_steps: u64,
    /// Epochs so far.
    pub epoch: f64,
    /// Loss of the batch.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Training images per second, over the last updates.
    pub images_per_s: f64,
    /// Seconds until the end at the pace so far, evaluation included.
    pub seconds_left: f64,
}

/// A layer leaves convolution for attention.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SwitchInfo<'a> {
    /// The layer: what the names of its parameters begin with.
    pub layer: &'a str,
    /// Updates made, with the layer as a convolution.
    pub step: u64,
    /// Updates in the run.
    pub total_steps: u64,
}

/// Receives what a run tells. Every method does nothing unless it is given.
pub trait Progress {
    /// Training begins, or goes on.
    fn start(&mut self, run: &RunInfo<'_>) {
        let _ = run;
    }
    /// An update was made.
    fn step(&mut self, step: &StepInfo) {
        let _ = step;
    }
    /// A layer was switched.
    fn switch(&mut self, switch: &SwitchInfo<'_>) {
        let _ = switch;
    }
    /// An evaluation was made; its line has been written.
    fn report(&mut self, metrics: &Metrics) {
        let _ = metrics;
    }
    /// The run begins with the weights of a file.
    fn loaded(&mut self, report: &LoadReport) {
        let _ = report;
    }
    /// Something the user should know.
    fn warning(&mut self, message: &str) {
        let _ = message;
    }
}

/// Tells nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
