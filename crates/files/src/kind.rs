//! What lies at a path: a regular file, or what else.

use std::{
    fs::{self, FileType, Metadata},
    io,
    path::Path,
};

/// Whether `path` is there and is no folder: what a user who may give a name or a file means as a file, be it one that can be
/// read or not.
pub fn names_a_file(path: impl AsRef<Path>) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_dir())
}

/// Refuses what is no regular file.
pub(crate) fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() { Ok(()) } else { Err(refused(name(about.file_type()))) }
}

/// The error for what is no regular file.
pub(crate) fn refused(what: &str) -> io::Error {
    let advice = if what == "a folder" { "" } else { "; give a file on disk" };
    io::Error::new(io::ErrorKind::InvalidInput, format!("expected a regular file, got {what}{advice}"))
}

#[cfg(unix)]
fn name(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn name(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a device" }
}
