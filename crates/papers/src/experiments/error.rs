//! Errors of asking for, running and reporting an experiment.

use inductive_files::{did_you_mean, shown};

use super::Preset;
use inductive_report::text::one_of;

fn nearest(name: &str, known: &[String]) -> String {
    did_you_mean(name, known.iter().map(String::as_str))
}

/// What went wrong with an experiment, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No experiment for this paper.
    #[error("no experiment for `{}`; there is {}{}", shown(name), known.join(", "), nearest(name, known))]
    Paper {
        /// What was asked for.
        name: String,
        /// Papers with experiments.
        known: Vec<String>,
    },
    /// No experiment for this table.
    #[error(
        "{}: no experiment for `{}`; there is {}{}", shown(paper), shown(table), known.join(", "), nearest(table, known)
    )]
    Table {
        /// The paper.
        paper: String,
        /// What was asked for.
        table: String,
        /// Tables with experiments.
        known: Vec<String>,
    },
    /// No such preset.
    #[error(
        "preset `{}`: {why}choose {}{}",
        shown(name), one_of(Preset::ALL), nearest(name, &Preset::ALL.map(|preset| preset.to_string()))
    )]
    Preset {
        /// What was asked for.
        name: String,
        /// Why it is not there, if there is more to say.
        why: String,
    },
    /// An experiment's file that cannot be read or meant.
    #[error("{}: {}", shown(file), shown(problem))]
    Experiment {
        /// The file.
        file: String,
        /// What is wrong, where, and what to do.
        problem: String,
    },
    /// The preset does not fit the request.
    #[error("{}", shown(_0))]
    Request(String),
    /// A run failed.
    #[error("{}: {error}", shown(cell))]
    Cell {
        /// The run.
        cell: String,
        /// Why.
        error: Box<inductive_train::Error>,
    },
    /// The data cannot be loaded.
    #[error(transparent)]
    Train(Box<inductive_train::Error>),
    /// Initial weights that cannot be computed.
    #[error("{}", shown(_0))]
    Init(#[from] inductive_init::Error),
    /// The registry or the report.
    #[error(transparent)]
    Report(#[from] crate::Error),
}

impl From<inductive_train::Error> for Error {
    fn from(error: inductive_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

impl Error {
    pub(crate) fn experiment(file: &str, problem: String) -> Self {
        Self::Experiment { file: file.to_owned(), problem }
    }

    /// Whether the request was wrong, not the machine or the data.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Paper { .. }
                | Self::Table { .. }
                | Self::Preset { .. }
                | Self::Experiment { .. }
                | Self::Request(_)
        )
    }
}

/// `Result` with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
