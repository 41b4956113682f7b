//! The experiments: which runs re-measure a published table, at which size, and what is made of their results.
//!
//! A [`Study`] is a list of [`Cell`]s (a model at a size of data with a seed), each a run of [`inductive_train`]. Cells
//! that are finished are not run again, an interrupted one goes on where it was. A [`Protocol`] turns the results into a
//! [`Report`].

mod convit;
mod eit;
mod error;
mod learned;
mod prs;
mod results;
mod run;
mod structured_init;

use std::{fmt, path::PathBuf, str::FromStr};

use inductive_train::{Choice, Recipe, RunResult, SubsetSpec};

pub use error::{Error, Result};
pub use run::{Ended, StudyProgress, run};

use crate::Report;

/// How much is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::Small => "an hour or so",
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
    /// The paper: see [`protocols`].
    pub paper: String,
    /// The table; `None`: the paper's first.
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

/// Images of CIFAR, which may be there in part.
const CIFAR: f64 = 50_000.0;

/// The share of the data: of CIFAR a number of images for each class, so that it means the same where only a part is there.
fn subset(data: &str, fraction: f64) -> SubsetSpec {
    let classes = match data.split(':').next() {
        Some("cifar10") => Some(10.0),
        Some("cifar100") => Some(100.0),
        _ => None,
    };
    match classes {
        _ if fraction >= 1.0 => SubsetSpec::All,
        Some(classes) => {
            SubsetSpec::Part { choice: Choice::First, amount: CIFAR * fraction / classes, percent: false }
        }
        None => SubsetSpec::Part { choice: Choice::First, amount: 100.0 * fraction, percent: true },
    }
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name without the seed, also of its folder: `convit-10pct`.
    pub name: String,
    /// The side of the comparison it belongs to.
    pub variant: &'static str,
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

/// A table that can be measured again.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// The paper, as it is asked for.
    pub paper: &'static str,
    /// The table, as `published.toml` names it, or what is measured where no table is published.
    pub table: &'static str,
    /// What it shows, one line.
    pub about: &'static str,
    cells: fn(&Request) -> Result<Vec<Cell>>,
    report: fn(&Request, &[CellResult]) -> Result<Report>,
    exact: Option<fn(&mut Report, &Request) -> Result<()>>,
}

/// All tables that can be measured again.
pub fn protocols() -> Vec<Protocol> {
    vec![
        convit::TABLE2,
        eit::CLAIMS,
        eit::EXACT,
        structured_init::CLAIMS,
        structured_init::EXACT,
        structured_init::HEADS,
        structured_init::CONVMIXER,
        structured_init::FULL,
        prs::SCHEDULE,
        prs::EXACT,
        prs::GATES,
        prs::FRACTIONS,
        prs::ABLATION,
        prs::OFFSETS,
    ]
}

/// A request, resolved: what will run and where.
pub struct Study {
    /// What was asked for.
    pub request: Request,
    /// The table.
    pub protocol: Protocol,
    /// All runs, in order.
    pub cells: Vec<Cell>,
    /// The study's folder: `<runs>/<paper>-<preset>-<data>` for its first table, `<runs>/<paper>-<table>-<preset>-<data>`
    /// for the others; `<runs>/<paper>-<table>` where nothing is trained.
    pub folder: PathBuf,
}

impl Study {
    /// Finds the protocol and lists its runs.
    ///
    /// # Errors
    /// A paper or table that does not exist or is not built; a preset that does not fit the data; data that do not parse.
    pub fn new(request: Request) -> Result<Self> {
        let known = protocols();
        let of_paper: Vec<&Protocol> = known.iter().filter(|p| p.paper == request.paper).collect();
        if of_paper.is_empty() {
            let mut papers: Vec<_> = known.iter().map(|p| p.paper.to_owned()).collect();
            papers.dedup();
            return Err(Error::Paper { name: request.paper, known: papers });
        }
        let found = match &request.table {
            None => of_paper.first().copied(),
            Some(table) => of_paper.iter().copied().find(|p| p.table == table),
        };
        let Some(&protocol) = found else {
            let table = request.table.unwrap_or_default();
            let tables = of_paper.iter().map(|p| p.table.to_owned()).collect();
            return Err(Error::Table { paper: request.paper, table, known: tables });
        };
        let spec: inductive_data::DataSpec = request.data.parse().map_err(inductive_train::Error::from)?;
        let kind = spec.to_string();
        let kind = kind.split(':').next().unwrap_or("data");
        let cells = (protocol.cells)(&request)?;
        let folder = match cells.is_empty() {
            true => format!("{}-{}", request.paper, protocol.table),
            false if of_paper[0].table == protocol.table => {
                format!("{}-{}-{kind}", request.paper, request.preset)
            }
            false => format!("{}-{}-{}-{kind}", request.paper, protocol.table, request.preset),
        };
        let folder = request.runs.join(folder);
        Ok(Self { request, protocol, cells, folder })
    }

    /// What the results of the runs say: tables, figures, verdicts.
    ///
    /// # Errors
    /// A registry without a claim that the table is about; a model that cannot be built.
    pub fn measured(&self, results: &[CellResult]) -> Result<Report> {
        (self.protocol.report)(&self.request, results)
    }

    /// Adds what is computed without a run; nothing for a table without such a part.
    ///
    /// # Errors
    /// Initial weights that cannot be computed, a model that cannot be built.
    pub fn compute(&self, report: &mut Report) -> Result<()> {
        self.protocol.exact.map_or(Ok(()), |exact| exact(report, &self.request))
    }

    /// The folder of a cell.
    pub fn cell_folder(&self, cell: &Cell) -> PathBuf {
        self.folder.join(format!("{}-s{}", cell.name, cell.seed))
    }
}
