//! The error of every function of this crate.

use std::{io, path::PathBuf};

/// What went wrong with a run, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ----- recipes -----
    /// A field of a recipe is outside its range.
    #[error("recipe: `{field}` is {got}; expected {expected}")]
    Recipe {
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A recipe that is no TOML, or has fields that do not exist.
    #[error("{}: not a recipe: {problem}", path.display())]
    RecipeText {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },

    /// A file of initial weights that is no TOML, or has parts that do not exist.
    #[error(
        "{}: not a strategy of initial weights: {problem}\n{}", path.display(),
        "A file has the parts that `init` can have in a recipe: linear, query_key, value_proj, position_scale."
    )]
    StrategyText {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },

    // ----- data -----
    /// The data are not what the model takes.
    #[error("{model} takes images of {expected}, {data} has {got}; choose another model or other data")]
    ImageSize {
        /// The model.
        model: String,
        /// Height and width it takes.
        expected: String,
        /// The data.
        data: String,
        /// Height and width they have.
        got: String,
    },
    /// The data given are not those the recipe names.
    #[error("the recipe names the data `{expected}`, but `{got}` was loaded; load what the recipe names")]
    WrongData {
        /// What the recipe names.
        expected: String,
        /// What was given.
        got: String,
    },

    // ----- the folder of a run -----
    /// The operating system refused.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Someone else trains in this folder.
    #[error("{}: another process trains in this folder; wait for it or choose another folder", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds a run of another recipe.
    #[error(
        "{}: this folder holds a run of another recipe: {differences}; choose another folder, or remove this one",
        folder.display()
    )]
    OtherRecipe {
        /// The folder.
        folder: PathBuf,
        /// The fields that differ, with both values.
        differences: String,
    },
    /// The images or labels are not those the run was started with.
    #[error("{}: the data have changed since this run was started; restore them or choose another folder", folder.display())]
    OtherData {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the run cannot be continued from.
    #[error("{}: cannot resume: {problem}; remove the folder to start again", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    // ----- training -----
    /// The loss, or a weight, is infinite or not a number.
    #[error(
        "training diverged at step {step}: {layer} is not finite; {}. Try a lower `lr`, a longer `warmup_epochs`, or \
         `clip_grad = 1.0`",
        last_good(checkpoint)
    )]
    NotFinite {
        /// The update that was about to be made, from 0.
        step: u64,
        /// The first layer whose output is not finite.
        layer: String,
        /// The last weights before that.
        checkpoint: Option<PathBuf>,
    },

    // ----- from below -----
    /// An operation failed.
    #[error(transparent)]
    Op(#[from] inductive_ops::Error),
    /// The model cannot be built or run.
    #[error(transparent)]
    Model(#[from] inductive_models::Error),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] inductive_data::Error),
    /// A length of time cannot be meant.
    #[error(transparent)]
    Schedule(#[from] inductive_schedule::Error),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] inductive_checkpoint::Error),
}

/// The result of every function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }

    pub(crate) fn device(op: &'static str, error: impl std::fmt::Display) -> Self {
        inductive_ops::Error::device(op, error).into()
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good weights are in {}", path.display()),
        None => "there is no checkpoint from before".to_owned(),
    }
}
