//! The errors of the registry and of writing a report.

use std::path::PathBuf;

use inductive_files::shown;

/// What could not be read or written, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry of published numbers does not parse.
    #[error("published.toml: {}", shown(_0))]
    Published(String),
    /// A claim that is not in the registry.
    #[error("there is no claim `{}`; known are: {known}", shown(id))]
    NoSuchClaim {
        /// The name that was asked for.
        id: String,
        /// Names that exist.
        known: String,
    },
    /// A name that cannot become a file's name.
    #[error(
        "`{}` cannot be the name of a {what}; use 1 to 64 letters of a to z, digits, `-` and `_`, and every name only once",
        shown(name)
    )]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file or folder that could not be written.
    #[error(
        "cannot write {path}: {message}; check that the folder exists, is writable and has space left",
        path = shown(path.display())
    )]
    Write {
        /// Which one.
        path: PathBuf,
        /// The system's own words.
        message: String,
    },
    /// A file of a report's names that is no report's.
    #[error(
        "{path}: no report of this program is in this file, and one would overwrite it; move it away, or choose another folder",
        path = shown(path.display())
    )]
    Foreign {
        /// Which one.
        path: PathBuf,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
