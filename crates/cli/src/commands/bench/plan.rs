//! What is measured: the arguments, settled and checked before anything runs.

use std::path::PathBuf;

use inductive_checkpoint::check_writable;
use inductive_files::destination;
use inductive_models::{ModelSpec, find};
use inductive_train::{
    Environment,
    bench::{MOST_BATCH, Mode},
};

use super::{peer::find_python, protocol::Task};
use crate::{
    args::{Bench, BenchMode, Peer},
    commands::Settings,
    device::Kind,
    error::{Error, Result},
};

/// Classes of every model that is measured.
pub const CLASSES: usize = 100;

/// Measured if no model is named, with images per batch.
pub const DEFAULT: [(&str, usize); 6] = [
    ("deit_tiny_patch4_32", 64),
    ("convit_tiny_patch4_32", 64),
    ("convit_micro", 128),
    ("eit_micro", 128),
    ("convit_tiny", 8),
    ("deit_tiny_patch16_224", 8),
];

const MOST_ROUNDS: usize = 1000;
const MOST_SECONDS: f64 = 3600.0;

/// What is done.
#[derive(Debug)]
pub struct Plan {
    pub device: Kind,
    pub tasks: Vec<Task>,
    pub rounds: usize,
    pub seconds: f64,
    pub machine: Environment,
    /// The Python of the peer.
    pub python: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub csv: Option<PathBuf>,
}

impl Plan {
    pub fn new(settings: &Settings, args: Bench) -> Result<Self> {
        check_numbers(&args)?;
        let device = settings.device;
        let machine =
            Environment { device: device.to_string(), ..Environment::current::<dfdx::prelude::Cpu>() };
        let modes: &[Mode] = match args.mode {
            BenchMode::Train => &[Mode::Training],
            BenchMode::Inference => &[Mode::Inference],
            BenchMode::Both => &[Mode::Inference, Mode::Training],
        };
        let mut tasks = Vec::new();
        for (spec, batch) in models(&args)? {
            let task = |&mode| Task {
                variant: args.peer.map_or("eager", Peer::variant).to_owned(),
                ..Task::new(spec.clone(), batch, mode, machine.threads, args.seconds).on(device)
            };
            tasks.extend(modes.iter().map(task));
        }
        if let (Some(json), Some(csv)) = (&args.json, &args.csv)
            && destination(json)? == destination(csv)?
        {
            return Err(usage("--json and --csv name the same file; give two"));
        }
        [&args.json, &args.csv].into_iter().flatten().try_for_each(check_writable)?;
        let python = args.peer.map(|_| find_python(args.python)).transpose()?;
        let Bench { rounds, seconds, json, csv, .. } = args;
        Ok(Self { device, tasks, rounds, seconds, machine, python, json, csv })
    }

    /// About how long it takes, in seconds: rounds, and for each process a start.
    pub fn duration(&self) -> f64 {
        let side = |start: f64| start + self.rounds as f64 * self.seconds;
        self.tasks.len() as f64 * (side(1.0) + self.python.as_ref().map_or(0.0, |_| side(5.0)))
    }
}

fn check_numbers(args: &Bench) -> Result<()> {
    let at_least_1 = |name: &str, value: usize, most: usize| match value {
        0 => Err(usage(format!("--{name} 0: give at least 1"))),
        value if value > most => Err(usage(format!("--{name} {value}: give at most {most}"))),
        _ => Ok(()),
    };
    at_least_1("batch", args.batch.unwrap_or(1), MOST_BATCH)?;
    at_least_1("rounds", args.rounds, MOST_ROUNDS)?;
    // Neither is not-a-number more than 0.
    if !(args.seconds > 0.0 && args.seconds <= MOST_SECONDS) {
        let most = MOST_SECONDS;
        return Err(usage(format!("--seconds {}: give more than 0, at most {most}", args.seconds)));
    }
    Ok(())
}

/// Models and images per batch.
fn models(args: &Bench) -> Result<Vec<(ModelSpec, usize)>> {
    let names: Vec<&str> = if args.models.is_empty() {
        DEFAULT.iter().map(|(name, _)| *name).collect()
    } else {
        args.models.iter().map(String::as_str).collect()
    };
    let settle = |name| {
        let spec = ModelSpec { classes: CLASSES, ..find(name)?.spec };
        let batch = args.batch.unwrap_or_else(|| usual_batch(&spec));
        Ok((spec, batch))
    };
    names.into_iter().map(settle).collect()
}

/// That of the default set, else 64 small images or 8 large ones.
fn usual_batch(spec: &ModelSpec) -> usize {
    let listed = DEFAULT.iter().find(|(name, _)| *name == spec.name).map(|(_, batch)| *batch);
    listed.unwrap_or(if spec.image.0 <= 64 { 64 } else { 8 })
}

fn usage(text: impl Into<String>) -> Error {
    Error::Usage(text.into())
}
