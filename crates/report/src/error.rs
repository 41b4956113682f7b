//! What cannot be drawn.

/// Why something could not be drawn, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture that cannot be encoded.
    #[error("cannot make a picture of {width} x {height} pixels: {message}; draw fewer or smaller maps")]
    Picture {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
        /// The encoder's own words.
        message: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
