//! Trains what this package adds, stops a run and goes on with it, and checks what came of it.

mod experiment;
mod hook;
mod initializer;
mod mixer;
mod models;
mod operation;
mod schedule;
mod source;
mod transform;

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

/// A run of `model` with everything of one's own.
fn run(model: &str) -> Run<Cpu> {
    let recipe = Recipe {
        model: model.to_owned(),
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
fn train(run: Run<Cpu>, folder: &Path, stop_after: Option<u64>) -> Result<Vec<Metrics>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), ..TrainOptions::default() };
    match run.train(&Cpu::default(), folder, &options, &mut Watch(stop_after, stop))? {
        Outcome::Finished(result) => Ok(result.metrics.iter().map(Metrics::without_timing).collect()),
        _ => Ok(Vec::new()),
    }
}

fn check(holds: bool, what: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("it should be that {what}").into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    models::add()?;
    source::add()?;
    initializer::add()?;
    let folder = std::env::temp_dir().join(format!("inductive-outside-{}", std::process::id()));
    for model in [models::VIT, models::CONVIT] {
        let lines = train(run(model), &folder.join(model), None)?;
        let [first, last] = &lines[..] else { return Err("two lines of metrics".into()) };
        println!("{model}: top-1 {:.1} %, loss {:.2}, {:?}", last.test_top1, last.test_loss, last.measures);
        check(last.test_loss < first.test_loss && last.test_top1 > 100.0 / 37.0, "the model learns")?;
        check(last.lr < 1e-3 && first.lr > 9e-3, "the learning rate is the triangle's")?;
        check(last.measures.len() == 2, "hook and measure are in the line")?;
        let stopped = folder.join(format!("{model}-stopped"));
        check(train(run(model), &stopped, Some(13))?.is_empty(), "the run stops")?;
        check(train(run(model), &stopped, None)? == lines, "it goes on as if it had not stopped")?;
    }
    let recipe = Recipe {
        model: "deit_micro".to_owned(),
        init: Some(initializer::UNIFORM.into()),
        data: "stripes:5".to_owned(),
        batch_size: 20,
        epochs: Duration::Steps(2),
        ..Recipe::default()
    };
    let lines = train(Run::new(recipe), &folder.join("uniform"), None)?;
    println!("deit_micro, {}: loss {:.2}", initializer::UNIFORM, lines[0].test_loss);
    println!("{}", experiment::table(&folder.join("study"))?);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
