//! What the command reports before it ends with an error, and its exit code.

use std::path::Path;

use inductive_files::shown;

/// An error of any crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Failure(String),
    #[error(transparent)]
    Train(#[from] inductive_train::Error),
    #[error(transparent)]
    Experiment(#[from] inductive_papers::experiments::Error),
    #[error(transparent)]
    Papers(#[from] inductive_papers::Error),
    #[error(transparent)]
    Report(#[from] inductive_report::Error),
    #[error(transparent)]
    Checkpoint(#[from] inductive_checkpoint::Error),
    #[error("{}", shown(_0))]
    Model(#[from] inductive_models::Error),
    #[error(transparent)]
    Data(#[from] inductive_data::Error),
    #[error("{}", shown(_0))]
    Nn(#[from] inductive_nn::Error),
    #[error("{}", shown(_0))]
    Op(#[from] inductive_ops::Error),
    #[error(transparent)]
    File(#[from] inductive_files::Error),
    #[error(transparent)]
    Bench(#[from] crate::commands::bench::Error),
    #[error("cannot write to the standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// 2 for a wrong request, 1 for a failure.
    pub fn exit_code(&self) -> u8 {
        use inductive_papers::experiments::Error as Experiment;
        let usage = match self {
            Self::Usage(_) => true,
            Self::Experiment(Experiment::Train(error) | Experiment::Cell { error, .. }) => {
                is_wrong_recipe(error)
            }
            Self::Train(error) => is_wrong_recipe(error),
            Self::Experiment(error) => error.is_usage(),
            Self::Model(error) => is_wrong_model(error),
            Self::Data(error) => is_wrong_source(error),
            Self::Failure(_)
            | Self::Papers(_)
            | Self::Report(_)
            | Self::Checkpoint(_)
            | Self::Nn(_)
            | Self::Op(_)
            | Self::File(_)
            | Self::Bench(_)
            | Self::Output(_) => false,
        };
        if usage { 2 } else { 1 }
    }
}

/// An error of a model from a file, which does not know the file: with its name.
pub fn of_weights(path: impl AsRef<Path>) -> impl FnOnce(inductive_train::Error) -> Error {
    use inductive_train::Error::{LogitsNotFinite, WeightsNotFinite};
    move |error| match error {
        WeightsNotFinite { .. } | LogitsNotFinite { .. } => {
            Error::Failure(format!("{}: {error}", shown(path.as_ref().display())))
        }
        other => other.into(),
    }
}

fn is_wrong_recipe(error: &inductive_train::Error) -> bool {
    use inductive_train::Error::*;
    match error {
        Recipe { .. } | RecipeText { .. } | StrategyText { .. } => true,
        Model(error) => is_wrong_model(error),
        Data(error) => is_wrong_source(error),
        _ => false,
    }
}

fn is_wrong_model(error: &inductive_models::Error) -> bool {
    use inductive_models::Error::*;
    matches!(error, UnknownModel { .. } | Option { .. } | Init(_))
}

fn is_wrong_source(error: &inductive_data::Error) -> bool {
    use inductive_data::Error::*;
    matches!(error, UnknownSource { .. } | MissingArgument { .. } | UnexpectedArgument { .. })
}

pub type Result<T> = std::result::Result<T, Error>;
