//! The error of every function of this crate.

use std::{io, path::PathBuf};

use inductive_files::shown;

/// What went wrong with a run, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ----- recipes -----
    /// A field of a recipe is outside its range.
    #[error("recipe: `{field}` is {}; expected {}", shown(got), shown(expected))]
    Recipe {
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A recipe that is no TOML, or has fields that do not exist.
    #[error("{}: not a recipe: {problem}", shown(path.display()))]
    RecipeText {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },

    /// A file of initial weights that is no TOML, or has parts that do not exist.
    #[error(
        "{}: not a strategy of initial weights: {problem}\n{}", shown(path.display()),
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
    #[error(
        "{} takes images of {expected} pixels, {} has {got}; choose another model or other data, or the size with `image_size` in a \
         recipe (`--image-size`)",
        shown(model),
        shown(data)
    )]
    ImageSize {
        /// The model.
        model: String,
        /// Height and width it takes, `48x32`.
        expected: String,
        /// The data.
        data: String,
        /// Height and width they have.
        got: String,
    },
    /// The data given are not those the recipe names.
    #[error(
        "the recipe names the data `{}`, but `{}` was loaded; load what the recipe names",
        shown(expected),
        shown(got)
    )]
    WrongData {
        /// What the recipe names.
        expected: String,
        /// What was given.
        got: String,
    },

    // ----- the folder of a run -----
    /// The operating system refused.
    #[error("{}: cannot {action}: {error}", shown(path.display()))]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file that a run writes is there, and no run has written it.
    #[error(
        "{}: no run of this program has written this file, and this one would overwrite it; move it away, or choose another folder",
        shown(path.display())
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Someone else trains in this folder.
    #[error("{}: another process trains in this folder; wait for it or choose another folder", shown(folder.display()))]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds a run of another recipe.
    #[error(
        "{}: this folder holds a run of another recipe: {differences}; choose another folder (`train --out DIR`, `reproduce --runs DIR`), \
         or move the run's files away",
        shown(folder.display())
    )]
    OtherRecipe {
        /// The folder.
        folder: PathBuf,
        /// The fields that differ, with both values.
        differences: String,
    },
    /// The images or labels are not those the run was started with.
    #[error("{}: the data have changed since this run was started; restore them or choose another folder", shown(folder.display()))]
    OtherData {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the run cannot be continued from.
    #[error("{}: cannot resume: {problem}; to start again move the run's files away", shown(path.display()))]
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
        /// The first layer whose output is not finite, where that is still known.
        layer: String,
        /// The last weights before that.
        checkpoint: Option<PathBuf>,
    },

    /// What is kept of each parameter, by its name, and a model of other parameters.
    #[error("{of}: {}", shown(problem))]
    Parameters {
        /// What is kept.
        of: &'static str,
        /// Which parameter, and what is wrong with it.
        problem: String,
    },
    /// Images or a batch of another size than a model takes.
    #[error("{of}: expected {expected}, got {got}")]
    Batch {
        /// What takes them.
        of: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
    /// The device failed: it is out of memory, or a kernel did not launch.
    #[error("{op}: device error: {}", shown(message))]
    Device {
        /// What was being done.
        op: &'static str,
        /// The device's own words.
        message: String,
    },
    /// A part of a run that is not this crate's has failed.
    #[error("{part}: {}", shown(problem))]
    Part {
        /// Which part.
        part: &'static str,
        /// What it has to say.
        problem: String,
    },

    // ----- weights from outside -----
    /// A parameter is infinite or not a number.
    #[error(
        "the weights are no numbers: `{parameter}` is the first parameter with one that is infinite or not a number; give the \
         weights of a run that has not diverged"
    )]
    WeightsNotFinite {
        /// The first such parameter.
        parameter: String,
    },
    /// The weights are finite, what the model makes of images is not.
    #[error(
        "the logits of {bad} of {images} images are no numbers: they are infinite or not a number; give the weights of a run that \
         has not diverged"
    )]
    LogitsNotFinite {
        /// Images with a logit that is not finite.
        bad: usize,
        /// Images in all.
        images: usize,
    },

    // ----- from below -----
    /// A layer refused its arguments.
    #[error("{}", shown(_0))]
    Nn(#[from] inductive_nn::Error),
    /// An operation failed.
    #[error("{}", shown(_0))]
    Op(#[from] inductive_ops::Error),
    /// The model cannot be built or run.
    #[error("{}", shown(_0))]
    Model(#[from] inductive_models::Error),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] inductive_data::Error),
    /// A length of time that makes no sense.
    #[error("{}", shown(_0))]
    Schedule(#[from] inductive_schedule::Error),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] inductive_checkpoint::Error),
}

impl From<inductive_files::Error> for Error {
    fn from(inductive_files::Error { action, path, error }: inductive_files::Error) -> Self {
        Self::Io { action, path, error }
    }
}

/// The result of every function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What is wrong with a part of one's own: a hook, a measure, a schedule.
    pub fn part(part: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Part { part, problem: problem.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }

    pub(crate) fn device(op: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Device { op, message: error.to_string() }
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good weights are in {}", shown(path.display())),
        None => "there is no checkpoint from before".to_owned(),
    }
}
