//! Runs the cells of a study, one after the other, and makes the report.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use inductive_models::Zoo;
use inductive_train::{Outcome, Progress, Silent, TrainOptions, train};

use super::{Cell, CellResult, Error, Result, Study, facts, learned};
use crate::Report;

/// What a study tells while it runs.
pub trait StudyProgress {
    /// The study begins; `finished` of its cells have a stored result.
    fn study(&mut self, study: &Study, finished: usize);
    /// What the user should know of the data.
    fn notices(&mut self, notices: &[String]);
    /// A cell begins. Returns the listener for its run.
    fn cell(&mut self, index: usize, cell: &Cell) -> Box<dyn Progress + '_>;
    /// A cell has ended, or had its result from an earlier start (`stored`).
    fn done(&mut self, index: usize, result: &CellResult, stored: bool);
    /// All cells are done; what is computed without training, and the report, come next.
    fn reporting(&mut self);
}

/// Says nothing.
impl StudyProgress for Silent {
    fn study(&mut self, _: &Study, _: usize) {}
    fn notices(&mut self, _: &[String]) {}
    fn cell(&mut self, _: usize, _: &Cell) -> Box<dyn Progress + '_> {
        Box::new(Silent)
    }
    fn done(&mut self, _: usize, _: &CellResult, _: bool) {}
    fn reporting(&mut self) {}
}

/// How a study ended.
pub enum Ended {
    /// All cells ran; the report has been written to these files.
    Complete {
        /// The report.
        report: Box<Report>,
        /// What was written.
        files: Vec<PathBuf>,
    },
    /// It was asked to stop. The same command goes on.
    Interrupted {
        /// Cells that are finished.
        finished: usize,
        /// All cells.
        cells: usize,
    },
}

/// Runs what has not run yet and writes the report into the study's folder.
///
/// # Errors
/// A folder in which a report would overwrite what is no report ([`Report::check`]), before anything runs. Data that cannot be loaded; a run that fails, with the name of its cell; a report that cannot be written.
pub fn run<D: Zoo>(
    device: &D,
    study: &Study,
    options: &TrainOptions,
    progress: &mut dyn StudyProgress,
) -> Result<Ended> {
    Report::check(&study.folder)?;
    let of_cell = |cell: &Cell| {
        let name = format!("{} seed {}", cell.name, cell.seed);
        move |error| Error::Cell { cell: name.clone(), error: Box::new(error) }
    };
    let mut results: Vec<Option<CellResult>> = Vec::new();
    for cell in &study.cells {
        let stored =
            inductive_train::finished(&cell.recipe, study.cell_folder(cell)).map_err(of_cell(cell))?;
        results.push(stored.map(|result| CellResult { cell: cell.clone(), result }));
    }
    progress.study(study, results.iter().flatten().count());
    let mut data = None;
    let load = |cell: &Cell| cell.recipe.load_data();
    let mut notices = Vec::new();
    for (index, cell) in study.cells.iter().enumerate() {
        if let Some(result) = &results[index] {
            progress.done(index, result, true);
            continue;
        }
        let data = match &mut data {
            Some(data) => data,
            none => {
                let loaded = none.insert(load(cell)?);
                notices = loaded.notices.clone();
                progress.notices(&notices);
                loaded
            }
        };
        let folder = study.cell_folder(cell);
        let outcome = train(device, &cell.recipe, data, folder, options, &mut *progress.cell(index, cell));
        match outcome.map_err(of_cell(cell))? {
            Outcome::Finished(result) => {
                let result = CellResult { cell: cell.clone(), result };
                progress.done(index, &result, false);
                results[index] = Some(result);
            }
            _ => {
                let finished = results.iter().flatten().count();
                return Ok(Ended::Interrupted { finished, cells: study.cells.len() });
            }
        }
    }
    let results: Vec<CellResult> = results.into_iter().flatten().collect();
    progress.reporting();
    let mut report = study.measured(&results)?;
    study.compute(&mut report)?;
    report.command = study.request.command.clone();
    for notice in notices {
        report.differs(format!("data: {notice}"));
    }
    if let Some(CellResult { cell, .. }) = results.first() {
        let loaded = || data.as_ref().map_or_else(|| load(cell), |data| Ok(data.clone()));
        // Without the images of a finished study its report is still worth having.
        let classes =
            facts::classes(&cell.recipe.data).or_else(|| loaded().ok().map(|data| data.test.num_classes()));
        if let Some(classes) = classes {
            learned::complete(&mut report, study.request.preset, &results, classes);
        }
        learned::initial_weights(&mut report, &results);
    }
    for (name, values) in provenance(&results) {
        report.fact(name, values.into_iter().collect::<Vec<_>>().join("; "));
    }
    if results.is_empty() {
        report.fact("version", env!("CARGO_PKG_VERSION"));
        let files = report.write(&study.folder)?;
        return Ok(Ended::Complete { report: Box::new(report), files });
    }
    let seconds: f64 = results.iter().filter_map(|r| r.result.metrics.last()).map(|m| m.seconds).sum();
    let images: f64 = results.iter().map(trained_images).sum();
    report.fact(
        "training",
        format!(
            "{} runs, {:.0} minutes, {:.0} images/s with evaluation",
            results.len(),
            seconds / 60.0,
            images / seconds.max(1e-9)
        ),
    );
    let files = report.write(&study.folder)?;
    Ok(Ended::Complete { report: Box::new(report), files })
}

/// Where the runs were made, from what each wrote about itself at every start: all values that occur.
fn provenance(results: &[CellResult]) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut facts: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for result in results {
        let text = inductive_files::read_to_string(result.result.folder.join("env.json")).unwrap_or_default();
        let starts: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        for start in starts {
            for key in ["version", "git", "rustc", "build", "cpu", "threads", "device"] {
                let value = match start.get(key) {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(serde_json::Value::Null) | None => continue,
                    Some(other) => other.to_string(),
                };
                facts.entry(key).or_default().insert(value);
            }
        }
    }
    facts
}

/// Training images that a run has seen.
fn trained_images(result: &CellResult) -> f64 {
    result.result.metrics.last().map_or(0.0, |m| (m.step * result.cell.recipe.batch_size as u64) as f64)
}
