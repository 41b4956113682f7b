//! The error of every function of this crate.

/// What went wrong in a layer: which one, what it expected, what it got.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Tokens, images or numbers that do not fit a layer.
    #[error("{layer}: expected {expected}, got {got}")]
    Shape {
        /// The layer that refused.
        layer: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
    /// A setting, or a number in the weights, outside the range that a layer is defined on.
    #[error("{layer}: {what}")]
    Argument {
        /// The layer that refused.
        layer: &'static str,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The device failed: it is out of memory, or a kernel did not launch.
    #[error("{layer}: device error: {message}")]
    Device {
        /// What was being done.
        layer: &'static str,
        /// The device's own words.
        message: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Op(#[from] inductive_ops::Error),
}

/// The result of a layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What does not fit the layer `layer`.
    pub fn shape(layer: &'static str, expected: impl Into<String>, got: impl std::fmt::Debug) -> Self {
        Self::Shape { layer, expected: expected.into(), got: format!("{got:?}") }
    }

    /// Wraps a device's own error.
    pub fn device(layer: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Device { layer, message: error.to_string() }
    }
}
