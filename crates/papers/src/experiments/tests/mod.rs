//! Tests of the experiments that come with the program: their recipes, and their verdicts on made-up results.

mod agree;
mod convit;
mod eit;
mod files;
mod limits;
mod models;
mod prs;
mod structured_init;

use std::collections::HashSet;

use inductive_train::{Best, Metrics, RunResult};

use super::*;
use crate::{Report, Verdict};

/// A finished run with this accuracy.
pub(super) fn finished(cell: Cell, top1: f64) -> CellResult {
    let metrics = Metrics {
        epoch: 1.0,
        step: 6,
        train_loss: 2.0,
        train_top1: 30.0,
        test_loss: 2.0,
        test_top1: top1,
        test_top5: top1 + 20.0,
        ema: None,
        lr: 1e-3,
        images_per_s: 100.0,
        seconds: 1.0,
        gates: vec![0.7],
        switched: Vec::new(),
        head_positions: Vec::new(),
        nonlocality: vec![1.8, 4.0],
        head_diversity: vec![0.5, top1 / 100.0],
        high_frequency: vec![0.3, top1 / 200.0],
        target_mass: Vec::new(),
        stable_rank: vec![2.0, 3.0],
        nuclear_rank: vec![5.0, 6.0],
        fourier: Vec::new(),
        measures: Default::default(),
    };
    let best = Best { step: 6, epoch: 1.0, top1 };
    CellResult { cell, result: RunResult { metrics: vec![metrics], start: None, best, folder: "run".into() } }
}

/// A finished run with this accuracy and what `change` makes of its last line.
fn finished_with(cell: Cell, top1: f64, change: impl Fn(&mut Metrics)) -> CellResult {
    let mut run = finished(cell, top1);
    run.result.metrics.iter_mut().for_each(change);
    run
}

fn study(paper: &str, table: &str, preset: Preset) -> Study {
    Study::new(Request { table: Some(table.to_owned()), preset, ..Request::new(paper) }).unwrap()
}

/// The report of runs that `finish` made of the study's cells, the number of each beside it.
fn report_of(study: &Study, finish: impl Fn(usize, Cell) -> CellResult) -> Report {
    let results: Vec<_> = study.cells.iter().cloned().enumerate().map(|(i, cell)| finish(i, cell)).collect();
    study.measured(&results).unwrap()
}

/// A little noise for the run of this number.
fn noise(i: usize) -> f64 {
    0.002 * (i.pow(3) % 89) as f64
}

fn verdict(report: &Report, id: &str) -> Verdict {
    report.claims.iter().find(|claim| claim.id == id).unwrap().verdict
}

#[test]
fn every_recipe_is_valid_every_cell_has_its_own_folder_and_seeds_are_paired() {
    for experiment in Registry::shared().unwrap().experiments().filter(|it| !it.arms.is_empty()) {
        for preset in Preset::ALL {
            let cells = study(&experiment.paper, &experiment.name, preset).cells;
            cells.iter().for_each(|cell| cell.recipe.validate().unwrap());
            let names: HashSet<_> = cells.iter().map(|cell| (&cell.name, cell.seed)).collect();
            assert_eq!(names.len(), cells.len(), "{} {preset}", experiment.name);
            assert!(cells.iter().map(|cell| cell.seed).max() > Some(0), "{} {preset}", experiment.name);
            // What a file says of an arm, and the fields that every run has of its own, are all that may differ.
            let fields: HashSet<&str> =
                experiment.arms.iter().flat_map(|arm| arm.recipe.keys()).map(String::as_str).collect();
            for cell in &cells {
                let first =
                    cells.iter().find(|it| (it.seed, it.fraction) == (cell.seed, cell.fraction)).unwrap();
                let [a, b] = [&first.recipe, &cell.recipe].map(|it| toml::Table::try_from(it).unwrap());
                let other = b.iter().filter(|(key, value)| a.get(*key) != Some(value)).map(|(key, _)| key);
                other.for_each(|key| {
                    assert!(fields.contains(key.as_str()), "{} {preset}: {key}", experiment.name)
                });
                assert_eq!(cell.recipe.epochs, cells[0].recipe.epochs);
            }
        }
    }
}

#[test]
fn no_seeds_and_presets_that_are_not_there_are_refused_with_the_reason() {
    let none = Request { seeds: Some(0), ..Request::new("convit") };
    assert!(Study::new(none).err().unwrap().is_usage());
    let error = "paper".parse::<Preset>().unwrap_err().to_string();
    assert!(error.contains("PRS"), "{error}");
}
