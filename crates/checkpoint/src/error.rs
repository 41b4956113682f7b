//! The error of every function of this crate.

use std::{io, path::PathBuf};

use inductive_files::shown;
use safetensors::Dtype;

use crate::LoadReport;

/// What went wrong with a checkpoint: which file, where in it, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ----- files -----
    /// The operating system refused.
    #[error("{}: cannot {action}: {error}", shown(path.display()))]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file is something else than safetensors.
    #[error("{}: expected a safetensors file, this is {kind}; {}", shown(path.display()), shown(help))]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What to do about it.
        help: String,
    },
    /// The file breaks the rules of the safetensors format.
    #[error("{}: invalid safetensors file at byte {offset}: {}", shown(path.display()), shown(problem))]
    Format {
        /// The file.
        path: PathBuf,
        /// The byte of the file at which the rule is broken (for a tensor: where its data begins).
        offset: u64,
        /// The rule and what breaks it.
        problem: String,
    },

    // ----- tensors of a file -----
    /// The file has no such tensor.
    #[error("{}: no tensor named {name:?}{}", shown(path.display()), did_you_mean(nearest))]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The name that was looked for.
        name: String,
        /// The most similar name in the file.
        nearest: Option<String>,
    },
    /// The tensor is of another type than asked for.
    #[error("{}: tensor {name:?}: expected {expected}, got {got}", shown(path.display()))]
    WrongDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What would have been accepted.
        expected: &'static str,
        /// What the file holds.
        got: Dtype,
    },
    /// No tensor of the file lies in the section asked for.
    #[error(
        "{}: no tensor's name begins with {section:?}; the first name is {first:?}",
        shown(path.display())
    )]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The beginning of names that was asked for.
        section: String,
        /// The first name in the file.
        first: String,
    },

    // ----- files and models -----
    /// The file does not fit the model; the model is unchanged.
    #[error("{0}")]
    Mismatch(Box<LoadReport>),
    /// A tensor cannot be written, or adapted, as asked.
    #[error("tensor {name:?}: {}", shown(problem))]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The model's own parameters could not be read or written.
    #[error(transparent)]
    Parameters(#[from] inductive_nn::Error),
}

impl From<inductive_files::Error> for Error {
    fn from(inductive_files::Error { action, path, error }: inductive_files::Error) -> Self {
        Self::Io { action, path, error }
    }
}

/// The result of every function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an I/O error with what was being done.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }

    /// A tensor that cannot be written or adapted.
    pub(crate) fn tensor(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), problem: problem.into() }
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n:?}?"))
}
