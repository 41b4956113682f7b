//! How a run is asked for, and how it ended.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use inductive_files::shown;

use crate::{
    Best, Error, Inside, Metrics, Recipe, Result,
    folder::RunFolder,
    metrics::read_metrics,
    state::{Parts, Position, StateHeader},
};

/// How often the state is written between evaluations, which always write it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SaveEvery {
    /// After so many seconds; the default is 300.
    Seconds(f64),
    /// After so many updates.
    Steps(u64),
    /// Only at evaluations.
    Never,
}

/// What does not change the result of a run.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// When to write the state between evaluations. Default: every 300 seconds.
    pub save_every: SaveEvery,
    /// Set to true from anywhere, it ends the run after the update at hand, with everything saved. Default: none.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { save_every: SaveEvery::Seconds(300.0), stop: None }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It made all its updates.
    Finished(RunResult),
    /// It was asked to stop, and can go on later.
    Interrupted {
        /// Updates made.
        step: u64,
        /// Updates in the run.
        total_steps: u64,
        /// Where it is kept. The same call goes on with it.
        folder: PathBuf,
    },
}

/// What a finished run reached.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    /// All lines of metrics; the last is of the end.
    pub metrics: Vec<Metrics>,
    /// What the layers did before the first update; `None` for a run of an earlier version.
    pub start: Option<Inside>,
    /// The best evaluation.
    pub best: Best,
    /// The run's folder.
    pub folder: PathBuf,
}

/// The stored result of the run of `recipe` in `folder`; `None` if there is none, or it has not ended.
///
/// # Errors
/// [`Error::OtherRecipe`] if the folder holds a run of another recipe; [`Error::State`] for a damaged one.
pub fn finished(recipe: &Recipe, folder: impl AsRef<Path>) -> Result<Option<RunResult>> {
    let folder = RunFolder::look(folder.as_ref());
    let Some(state) = StateHeader::read(&folder.state())? else { return Ok(None) };
    folder.compare(&state.recipe, &recipe.resolve()?)?;
    folder.compare_parts(&state.parts, &Parts::default())?;
    stored_result(&folder, &state.position)
}

pub(crate) fn stored_result(folder: &RunFolder, position: &Position) -> Result<Option<RunResult>> {
    let (true, Some(best)) = (position.finished, position.best) else { return Ok(None) };
    let metrics = read_metrics(folder.metrics(), position.step)?;
    if metrics.last().is_none_or(|last| last.step != position.step) {
        let problem = "the run is finished, but its last line is missing".to_owned();
        return Err(Error::State { path: folder.metrics(), problem });
    }
    let start = match inductive_files::read_to_string(folder.start()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        text => {
            let text = text.map_err(Error::io("read what the layers do at the start", folder.start()))?;
            let broken = |error: serde_json::Error| Error::State {
                path: folder.start(),
                problem: shown(error).to_string(),
            };
            Some(serde_json::from_str(&text).map_err(broken)?)
        }
    };
    Ok(Some(RunResult { metrics, start, best, folder: folder.path().to_owned() }))
}
