//! How this program reads and writes files that a user names, and how it prints what stands in them. Every crate that opens a
//! file, writes one or puts words from outside into a message does so through this one.
//!
//! - **Read** ([`open`], [`read`], [`read_to_string`]): regular files alone. A pipe, a socket, a device or a folder is refused at
//!   once, never waited for and never read without end.
//! - **Write** ([`write_atomic`], [`write_with`], [`check_writable`], [`destination`]): the old file or the new one, never half of each. A name that
//!   is a symbolic link stands for the file at its end, and stays a link. What is there and is no regular file is refused, never
//!   replaced.
//! - **Print** ([`shown`], [`shown_lines`]): characters that steer a terminal, break a line or turn the order of a text around
//!   become escapes.
//! - **Suggest** ([`nearest`], [`did_you_mean`]): the name that was probably meant.

mod kind;
mod nearest;
mod open;
mod text;
mod write;

use std::{io, path::PathBuf};

pub use kind::names_a_file;
pub use nearest::{did_you_mean, nearest};
pub use open::{open, open_lock, read, read_to_string};
pub use text::{Shown, is_harmful, shown, shown_lines};
pub use write::{check_writable, destination, write_atomic, write_with};

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {error}", shown(path.display()))]
pub struct Error {
    /// What was being done, as a verb phrase.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The system's reason.
    pub error: io::Error,
}

/// The result of writing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self { action, path, error }
    }
}
