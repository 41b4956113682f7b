//! The error every operation returns.

/// What went wrong in an operation: which one, what it expected, what it got.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes of the arguments do not fit together.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// The operation that refused.
        op: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
    /// An argument is outside the range the operation is defined on.
    #[error("{op}: {what}")]
    Argument {
        /// The operation that refused.
        op: &'static str,
        /// What is wrong with the argument, and what would be right.
        what: String,
    },
    /// The device failed (out of memory, a kernel that did not launch).
    #[error("{op}: device error: {message}")]
    Device {
        /// The operation that was running.
        op: &'static str,
        /// The device's own words.
        message: String,
    },
}

impl Error {
    /// Wraps a device's own error.
    pub fn device(op: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Device { op, message: error.to_string() }
    }

    /// Shapes that do not fit.
    pub fn shape(op: &'static str, expected: impl Into<String>, got: impl std::fmt::Debug) -> Self {
        Self::Shape { op, expected: expected.into(), got: format!("{got:?}") }
    }
}

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
