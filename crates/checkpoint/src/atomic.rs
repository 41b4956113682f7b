//! Files that are either the old one or the new one, never half of each.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result};

/// Replaces the contents of `path` by `bytes`, or leaves it as it was.
///
/// The bytes go to a new file in the same folder, which is synced to disk and then renamed over `path`. A killed
/// process can leave a file named `.inductive-*.tmp` behind, but never a damaged `path`. If `path` is a symbolic
/// link, the link is replaced.
///
/// # Errors
/// [`Error::Io`] if the folder does not exist or cannot be written, the disk is full, or `path` is a folder.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_with(path.as_ref(), |out| out.write_all(bytes))
}

/// Whether [`write_atomic`] could write `path` now: to be asked before long work whose result goes there.
///
/// # Errors
/// As [`write_atomic`]; `path` itself is not touched.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let folder = folder_of(path.as_ref())?;
    let (temporary, _) =
        create_temporary(folder).map_err(Error::io("create a temporary file in the folder", folder))?;
    fs::remove_file(&temporary).map_err(Error::io("remove the temporary file", temporary))
}

/// The folder that a file is written to.
fn folder_of(path: &Path) -> Result<&Path> {
    if path.file_name().is_none() || path.is_dir() {
        return Err(Error::Io {
            action: "write the file",
            path: path.to_owned(),
            error: io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file, got a folder"),
        });
    }
    Ok(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// [`write_atomic`] for contents that `write` produces piece by piece.
pub(crate) fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let folder = folder_of(path)?;
    let (temporary, file) =
        create_temporary(folder).map_err(Error::io("create a temporary file in the folder", folder))?;
    let outcome = fill(file, write).map_err(Error::io("write the file", path)).and_then(|()| {
        fs::rename(&temporary, path)
            .map_err(Error::io("rename the finished temporary file to this name", path))
    });
    if outcome.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    } else {
        sync_folder(folder);
    }
    outcome
}

fn create_temporary(folder: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".inductive-{}-{count}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // Left by a killed process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
            Ok(file) => return Ok((path, file)),
        }
    }
}

fn fill(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes the rename durable where folders can be synced; a file system that cannot is no reason to fail.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn interrupted_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        write_atomic(&path, b"old").unwrap();
        let outcome = write_with(&path, |out| {
            out.write_all(&[7; 3 << 20])?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "disk full"))
        });
        assert!(outcome.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["last.safetensors"]);
    }

    #[test]
    fn finished_write_replaces_the_old_file_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, b"a long old text").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn unwritable_targets_are_errors_that_name_them() {
        let folder = tempfile::tempdir().unwrap();
        write_atomic(folder.path().join("file"), b"x").unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        for target in ["missing/a", "file/a", "dir", "dir/.."] {
            let error = write_atomic(folder.path().join(target), b"y").unwrap_err().to_string();
            assert!(error.contains(folder.path().to_str().unwrap()), "{target}: {error}");
            let asked_before = check_writable(folder.path().join(target)).unwrap_err().to_string();
            assert_eq!(asked_before, error);
        }
        check_writable(folder.path().join("file")).unwrap();
        check_writable(folder.path().join("new")).unwrap();
        assert_eq!(names(folder.path()), ["dir", "file"]);
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"x");
    }
}
