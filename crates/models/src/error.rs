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
    /// Parts of a model that do not fit together, or images that it is not made for.
    #[error("{part}: expected {expected}, got {got}")]
    Parts {
        /// What refused.
        part: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
    /// A layer cannot say what it computes.
    #[error("switchable: `{layer}`: {error}")]
    Layer {
        /// The layer.
        layer: String,
        /// Why.
        error: inductive_nn::Error,
    },
    /// The device failed: it is out of memory, or a kernel did not launch.
    #[error("{op}: device error: {message}")]
    Device {
        /// What was being done.
        op: &'static str,
        /// The device's own words.
        message: String,
    },
    /// A drop path rate outside its range.
    #[error(transparent)]
    Schedule(#[from] inductive_schedule::Error),
    /// Initial weights could not be made.
    #[error(transparent)]
    Init(#[from] inductive_init::Error),
    /// A layer refused its arguments.
    #[error(transparent)]
    Nn(#[from] inductive_nn::Error),
    /// An operation refused its arguments.
    #[error(transparent)]
    Op(#[from] inductive_ops::Error),
}

/// The result of building or running a model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn parts(
        part: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Parts { part, expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn device(op: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Device { op, message: error.to_string() }
    }
}
