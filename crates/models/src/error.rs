//! Errors of building and running models.

/// What went wrong with a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model of this name.
    #[error(
        "no model `{name}`; {}`inductive inspect` lists all",
        nearest.as_ref().map(|n| format!("did you mean `{n}`? ")).unwrap_or_default()
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// The model exists, but not with this option.
    #[error("{model}: {what}")]
    Option {
        /// The model.
        model: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A drop path rate outside its range.
    #[error(transparent)]
    Schedule(#[from] inductive_schedule::Error),
    /// Initial weights could not be made.
    #[error(transparent)]
    Init(#[from] inductive_init::Error),
    /// An operation refused its arguments.
    #[error(transparent)]
    Op(#[from] inductive_ops::Error),
}

/// The result of building or running a model.
pub type Result<T, E = Error> = std::result::Result<T, E>;
