//! `inductive bench`: speed and memory of models on this machine, on request beside PyTorch.
//!
//! Every model is measured in a process of its own (`worker`), so that its peak of memory is its own. The peer is another
//! process that keeps to the same `protocol`; rounds alternate, so that what else the machine does meets both.

mod error;
mod files;
mod loader;
mod measure;
mod peer;
mod plan;
mod process;
mod protocol;
mod show;
mod summary;
pub mod worker;

use std::time::Duration;

use inductive_ops::roof::{self, Roof};

pub use error::Error;
use loader::LoaderSpeed;
pub use plan::DEFAULT;
use plan::Plan;
use summary::Measurement;

use crate::{
    args::Bench,
    commands::{Done, Settings},
    device::Kind,
    error::Result,
    output::note,
    progress::{BenchView, time},
};

/// One of the windows in which matrix products are counted.
const WINDOW: Duration = Duration::from_millis(20);

/// All that was measured.
#[derive(Default)]
pub struct Outcome {
    /// Peaks of matrix products before the first model, between any two, and after the last.
    peaks: Vec<Roof>,
    measurements: Vec<Measurement>,
    /// None if an error came before.
    loader: Option<LoaderSpeed>,
    /// Whether nothing is left out.
    complete: bool,
}

impl Outcome {
    /// Nothing more is measured: the peak is known.
    fn finish(&mut self, complete: bool) {
        self.complete = complete;
        let best = (!self.peaks.is_empty()).then(|| self.best_peak().gflops);
        self.measurements.iter_mut().for_each(|measurement| measurement.set_peak(best));
    }

    /// What the machine can do: the highest peak.
    fn best_peak(&self) -> Roof {
        let none = Roof { gflops: 0.0, shape: [0; 3], threads: 0 };
        self.peaks.iter().copied().fold(none, Roof::max)
    }

    /// The lowest peak in GFLOP/s: far below the best where something else computed at the same time.
    fn lowest_peak(&self) -> f64 {
        self.peaks.iter().map(|peak| peak.gflops).fold(f64::INFINITY, f64::min)
    }
}

pub fn run(settings: &Settings, args: Bench) -> Result<Done> {
    let plan = Plan::new(settings, args)?;
    let (count, threads) = (plan.tasks.len(), plan.machine.threads);
    note(&format!("{count} to measure on {threads} threads, at least {}", time(plan.duration())));
    let mut outcome = Outcome::default();
    let measured = measure_all(&plan, BenchView::new(settings.plain, count), &mut outcome);
    if outcome.measurements.is_empty() {
        return measured.map(|()| Done::Complete);
    }
    // A late error does not discard what was measured before it; a full disk does not keep the result from being shown,
    // nor a closed output an error from being told.
    outcome.finish(measured.is_ok());
    let written = files::write(&plan, &outcome);
    let shown = show::show(&plan, &outcome);
    match (measured, written) {
        (Err(error), Ok(())) => {
            let _ = show::files(&plan);
            return Err(error);
        }
        (Err(first), Err(second)) => {
            note(&format!("error: {second}"));
            return Err(first);
        }
        (Ok(()), written) => written?,
    }
    shown?;
    show::files(&plan)?;
    show::next(&plan)?;
    Ok(Done::Complete)
}

/// Measures into `outcome`, which keeps what was finished before an error.
fn measure_all(plan: &Plan, mut view: BenchView, outcome: &mut Outcome) -> Result<()> {
    // Of the CPU: what a GPU does they say nothing of.
    let of_cpu = plan.device == Kind::Cpu;
    for task in &plan.tasks {
        let title = task.title();
        if of_cpu {
            view.now("peak of matrix products");
            outcome.peaks.push(roof::measure(WINDOW));
        }
        let measurement = measure::measure(plan, task, &|what| view.now(&format!("{title}: {what}")))?;
        view.done(&format!("{title}: {}", show::progress(&measurement)));
        outcome.measurements.push(measurement);
    }
    if of_cpu {
        outcome.peaks.push(roof::measure(WINDOW));
    }
    view.now("data loader");
    outcome.loader = Some(loader::measure(plan.rounds, plan.seconds, &outcome.measurements)?);
    Ok(())
}
