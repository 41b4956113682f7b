//! An experiment of one's own, `experiment.toml`, with a measure that it calls by name.

use std::{error::Error, path::Path, sync::Arc};

use dfdx::prelude::Cpu;
use inductive_papers::{
    experiments::{Ended, Experiment, Preset, Registry, Request, run},
    report::NamedTable,
};
use inductive_train::{Silent, TrainOptions};

/// Its table.
pub fn table(folder: &Path) -> Result<NamedTable, Box<dyn Error>> {
    let mut registry = Registry::builtin()?;
    registry.measures.number("wrong", |at| Some(100.0 - at.metrics()?.test_top1));
    registry.add(Experiment::from_toml(include_str!("../experiment.toml"), "experiment.toml")?)?;
    let data = "stripes:5".to_owned();
    let request = Request { data, preset: Preset::Smoke, runs: folder.to_owned(), ..Request::new("outside") };
    let study = Arc::new(registry).study(request)?;
    match run(&Cpu::default(), &study, &TrainOptions::default(), &mut Silent)? {
        Ended::Complete { report, .. } => report.tables.into_iter().next().ok_or("no table".into()),
        Ended::Interrupted { .. } => Err("nobody stopped it".into()),
    }
}
