//! What can go wrong, in words.

use std::{fmt, io, path::Path};

/// An error with what it was about.
#[derive(Debug)]
pub enum Error {
    /// A request that cannot be meant.
    Usage(String),
    /// All else.
    Failed(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of what was done to `path`.
    pub fn file(path: &Path, error: io::Error) -> Self {
        Self::Failed(format!("{}: {error}", path.display()))
    }

    /// 2 for usage, 1 for failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Failed(what) => f.write_str(what),
        }
    }
}
