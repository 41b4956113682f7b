//! The experiments: which runs re-measure a published table, at which size, and what is made of their results.
//!
//! An [`Experiment`] is a file: arms (what differs in their recipes), sizes, and the tables, figures and claims that are made of
//! results. A [`Study`] of it is a list of [`Cell`]s (a model at a size of data with a seed), each a run of [`inductive_train`].
//! Cells that are finished are not run again, an interrupted one goes on where it was. What a file cannot say is Rust and has a
//! name in the [`Registry`]: what is read off a run ([`Measure`]), and what is computed without one.
//!
//! Others add to it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use inductive_papers::experiments::{Experiment, Preset, Registry, Request};
//!
//! let experiment = Experiment::from_toml(
//!     r#"
//!     paper = "mine"
//!     name = "width"
//!     about = "whether two heads are enough"
//!     title = "Width, on {data}"
//!
//!     [[arm]]
//!     name = "gated"
//!     label = "gated"
//!
//!     [[arm]]
//!     name = "plain"
//!     label = "plain"
//!     recipe = { local_up_to_layer = 0 }
//!
//!     [preset.smoke]
//!     seeds = 2
//!     recipe = { epochs = "2 steps", batch_size = 8, synthetic = { train = 40, test = 20 } }
//!
//!     [[table]]
//!     name = "losses"
//!     title = "Test loss per hour"
//!     rows = "arms"
//!     columns = [{ head = "model", text = "{label}" }, { head = "loss / hour", value = "test_loss(arm) / hours(arm)" }]
//!     "#,
//!     "width.toml",
//! )?;
//! let mut registry = Registry::builtin()?;
//! registry.measures.number("hours", |at| Some(at.metrics()?.seconds / 3600.0));
//! registry.add(experiment)?;
//! let study = Arc::new(registry).study(Request { preset: Preset::Smoke, ..Request::new("mine") })?;
//! assert_eq!(study.cells.len(), 4);
//! # Ok::<(), inductive_papers::experiments::Error>(())
//! ```

mod context;
mod correlation;
mod error;
mod evaluate;
mod exact;
mod expression;
mod facts;
mod learned;
mod make;
mod measure;
mod registry;
mod rows;
mod run;
mod size;
mod spec;
mod study;
mod template;
#[cfg(test)]
mod tests;
mod work;

use std::{fmt, path::PathBuf, str::FromStr};

use inductive_train::{Recipe, RunResult};
use serde::Deserialize;

pub use error::{Error, Result};
pub use measure::{At, Measure, Measures, Moment};
pub use registry::Registry;
pub use run::{Ended, StudyProgress, run};
pub use spec::Experiment;
pub use study::Study;

/// How much is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Seconds: only shows that it runs.
    Smoke,
    /// Minutes on two cores; the default.
    Quick,
    /// Hours on a CPU, for real data.
    Small,
}

impl Preset {
    /// All, smallest first.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Small];

    /// About how long it takes on two cores.
    pub fn takes(self) -> &'static str {
        match self {
            Self::Smoke => "seconds",
            Self::Quick => "minutes",
            Self::Small => "hours",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Small => "small",
        })
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "paper" => Err(Error::Preset {
                name: text.to_owned(),
                why: "it is not built: ImageNet does not fit the in-memory data sets, RandAugment, mixup and repeated \
                      augmentation are missing, and of PRS no recipe is available; "
                    .to_owned(),
            }),
            _ => Self::ALL
                .into_iter()
                .find(|preset| preset.to_string() == text)
                .ok_or_else(|| Error::Preset { name: text.to_owned(), why: String::new() }),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The paper: see [`Registry::experiments`]; or an experiment's file, a path that ends in `.toml`.
    pub paper: String,
    /// The experiment of the paper; `None`: its main one.
    pub table: Option<String>,
    /// Data as `--data` takes it.
    pub data: String,
    /// How much is computed.
    pub preset: Preset,
    /// Number of paired seeds; `None`: the preset's.
    pub seeds: Option<u64>,
    /// The folder that holds all runs.
    pub runs: PathBuf,
    /// The command that asks for this, for the report.
    pub command: String,
}

/// The most paired seeds.
const MAX_SEEDS: u64 = 1000;

impl Request {
    /// A paper, or a file, on the embedded data at preset `quick`.
    pub fn new(paper: impl Into<String>) -> Self {
        Self {
            paper: paper.into(),
            table: None,
            data: "synthetic".to_owned(),
            preset: Preset::Quick,
            seeds: None,
            runs: PathBuf::from("runs"),
            command: String::new(),
        }
    }

    /// The number of seeds: what was asked for, or else `preset`.
    fn seeds_or(&self, preset: u64) -> Result<u64> {
        match self.seeds.unwrap_or(preset) {
            0 => Err(Error::Request(
                "0 seeds measure nothing; give at least 1, and 2 or more for a verdict".to_owned(),
            )),
            seeds if seeds > MAX_SEEDS => {
                Err(Error::Request(format!("{seeds} seeds; give at most {MAX_SEEDS}")))
            }
            seeds => Ok(seeds),
        }
    }
}

/// A share as text: `0.05` is `5%`.
fn percent(fraction: f64) -> String {
    format!("{}%", (fraction * 1e4).round() / 100.0)
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name without the seed, also of its folder: `convit-10pct`.
    pub name: String,
    /// The arm of the experiment.
    pub variant: String,
    /// Share of the training images, in (0, 1].
    pub fraction: f64,
    /// Seed; runs of one seed are paired.
    pub seed: u64,
    /// The run.
    pub recipe: Recipe,
}

/// A finished cell.
#[derive(Clone, Debug)]
pub struct CellResult {
    /// What was run.
    pub cell: Cell,
    /// What came out.
    pub result: RunResult,
}
