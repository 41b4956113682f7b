//! An experiment of one's own, `experiment.toml`, with a measure that it calls by name.

use std::{error::Error, path::Path, sync::Arc};

use dfdx::prelude::Cpu;
use inductive_papers::experiments::{Ended, Experiment, Preset, Registry, Request, run};
use inductive_report::text::Terminal;
use inductive_train::{Silent, TrainOptions};

/// Its table as text.
pub fn table(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut registry = Registry::builtin()?;
    registry.measures.number("wrong", |at| Some(100.0 - at.metrics()?.test_top1));
    registry.add(Experiment::from_toml(include_str!("../experiment.toml"), "experiment.toml")?)?;
    let data = "stripes:5".to_owned();
    let request = Request { data, preset: Preset::Smoke, runs: folder.to_owned(), ..Request::new("outside") };
    let study = Arc::new(registry).study(request)?;
    match run(&Cpu::default(), &study, &TrainOptions::default(), &mut Silent)? {
        Ended::Complete { report, .. } => {
            let tables = report.tables.iter().map(|named| named.table.terminal(&Terminal::default()));
            Ok(tables.collect())
        }
        Ended::Interrupted { .. } => Err("nobody stopped it".into()),
    }
}
