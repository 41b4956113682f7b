//! Opening regular files, without waiting for anything.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::Path,
};

use crate::kind::{refused, regular};

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] for a pipe, a socket, a device or a folder, which is not waited for.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OpenOptions::new().read(true))
}

/// Opens a regular file to lock it, made if it is not there; what it holds stays.
///
/// # Errors
/// As [`open`].
pub fn open_lock(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    match open_with(path, OpenOptions::new().read(true).write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            open_with(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
        }
        opened => opened,
    }
}

/// What a regular file holds.
///
/// # Errors
/// As [`open`].
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a regular file holds, which is UTF-8.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::InvalidData`] for other text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Asked twice: before, since opening a device may do something by itself; and of the opened handle, since what lies at the path
/// may have become something else in between. Opening does not wait, so that a pipe comes to the second question.
fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::metadata(path) {
        // A dangling link, too: `create` makes what it points to.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        about => regular(&about?)?,
    }
    without_waiting(options);
    let file = options.open(path).map_err(|error| explain(path, error))?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// A socket that has just appeared cannot be opened at all, and the system's words for that say nothing.
fn explain(path: &Path, error: io::Error) -> io::Error {
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => regular(&about).err().unwrap_or_else(|| refused("a device")),
        _ => error,
    }
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    // Nor does a terminal become this process's own. Reading a regular file is the same with these flags.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
}

#[cfg(not(unix))]
fn without_waiting(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_read_and_locked_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "text").unwrap();
        drop(open_lock(&path).unwrap());
        assert_eq!(read_to_string(&path).unwrap(), "text");
        drop(open_lock(folder.path().join("new")).unwrap());
        assert_eq!(read(folder.path().join("new")).unwrap(), b"");
    }

    #[test]
    fn a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("got a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_sockets_and_devices_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link, socket) =
            (folder.path().join("pipe"), folder.path().join("link"), folder.path().join("socket"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a pipe"),
            (&link, "a pipe"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            for error in [open(path).unwrap_err(), open_lock(path).unwrap_err()] {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                let says = format!("expected a regular file, got {what}; give a file on disk");
                assert_eq!(error.to_string(), says);
            }
        }
    }

    /// What [`open`] meets when a pipe takes the file's place between its two questions: the handle is not waited for.
    #[cfg(unix)]
    #[test]
    fn a_pipe_that_appears_late_is_found_on_the_handle() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut options = OpenOptions::new();
        without_waiting(options.read(true));
        let file = options.open(&pipe).unwrap();
        assert!(regular(&file.metadata().unwrap()).is_err());
    }
}
