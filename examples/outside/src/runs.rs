//! Runs with everything of one's own, whole or stopped on the way.

use std::{
    error::Error,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dfdx::prelude::Cpu;
use inductive_data::Transform;
use inductive_schedule::{Clock, Duration};
use inductive_train::{Metrics, Outcome, Progress, Recipe, Run, StepInfo, TrainOptions};

use crate::{hook, schedule, transform};

/// A run of `model`, with initial weights by this name, with data, transform, schedule, hook and measure of this package.
pub fn run(model: &str, init: Option<&str>) -> Run<Cpu> {
    let recipe = Recipe {
        model: model.to_owned(),
        init: init.map(Into::into),
        image_size: Some((8, 24).into()),
        data: "stripes:37".to_owned(),
        batch_size: 37,
        epochs: Duration::Epochs(10.0),
        eval_every: Duration::Epochs(5.0),
        drop_path: 0.0,
        ..Recipe::default()
    };
    let brightness: Arc<dyn Transform> = Arc::new(transform::Brightness(10));
    Run::new(recipe)
        .transforms([brightness])
        .schedule(Clock::Fraction, schedule::Triangle { top: 1e-2 })
        .hook(hook::MeanLoss::default())
        .measure(hook::LargestWeight)
}

/// Stops after so many updates, if it is told how many.
struct Watch(Option<u64>, Arc<AtomicBool>);

impl Progress for Watch {
    fn step(&mut self, step: &StepInfo) {
        self.1.store(Some(step.step) == self.0, Ordering::Relaxed);
    }
}

/// The lines of metrics of a run that ended; none of one that was stopped.
pub fn train(run: Run<Cpu>, folder: &Path, stop_after: Option<u64>) -> Result<Vec<Metrics>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), ..TrainOptions::default() };
    match run.train(&Cpu::default(), folder, &options, &mut Watch(stop_after, stop))? {
        Outcome::Finished(result) => Ok(result.metrics.iter().map(Metrics::without_timing).collect()),
        _ => Ok(Vec::new()),
    }
}
