//! Files that are either the old one or the new one, never half of each.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result, kind};

/// Longest chain of symbolic links that is followed, as in Linux.
const MOST_LINKS: usize = 40;

/// Replaces the contents of `path` by `bytes`, or leaves it as it was.
///
/// The bytes go to a new file in the same folder, which is synced to disk and then renamed over `path`. A killed
/// process can leave a file named `.inductive-*.tmp` behind, but never a damaged `path`.
///
/// If `path` is a symbolic link, the file at its end is replaced, or made if it is not there, and the link stays. What is no
/// regular file is refused: a rename would put a file in the place of a device or pipe, and a result that somebody reads while
/// it is written is not whole.
///
/// # Errors
/// [`Error`] if the folder does not exist or cannot be written, the disk is full, or `path` is a folder, a pipe, a socket or a
/// device.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_with(path.as_ref(), |out| out.write_all(bytes))
}

/// Whether [`write_atomic`] could write `path` now: to be asked before long work whose result goes there.
///
/// # Errors
/// As [`write_atomic`]; `path` itself is not touched.
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let target = target(path).map_err(Error::new(WRITE, path))?;
    let folder = folder_of(&target);
    let (temporary, _) = create_temporary(folder).map_err(Error::new(CREATE, folder))?;
    fs::remove_file(&temporary).map_err(Error::new("remove the temporary file", temporary))
}

const WRITE: &str = "write the file";
const CREATE: &str = "create a temporary file in the folder";

/// [`write_atomic`] for contents that `write` produces piece by piece.
///
/// # Errors
/// As [`write_atomic`], and those of `write`.
pub fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let target_now = || target(path).map_err(Error::new(WRITE, path));
    let place = target_now()?;
    let folder = folder_of(&place);
    let (temporary, file) = create_temporary(folder).map_err(Error::new(CREATE, folder))?;
    let outcome = fill(file, write).map_err(Error::new(WRITE, path)).and_then(|()| {
        // Writing takes its time, in which something else may have come to lie there.
        let renamed = if target_now()? == place {
            fs::rename(&temporary, &place)
        } else {
            Err(io::Error::other("the link has been changed meanwhile"))
        };
        renamed.map_err(Error::new("rename the finished temporary file to this name", path))
    });
    if outcome.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    } else {
        sync_folder(folder);
    }
    outcome
}

/// The file that [`write_atomic`] replaces or makes for `path`: two names of one file have one destination.
///
/// # Errors
/// As [`write_atomic`], for what lies at `path`.
pub fn destination(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    let place = target(path).map_err(Error::new(WRITE, path))?;
    // A folder that is not there is told of when it is written to.
    let folder = folder_of(&place);
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    Ok(folder.join(place.file_name().unwrap_or_default()))
}

/// The file that `path` stands for: itself, or what is at the end of its links. A regular file, or nothing yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        let about = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.file_name().is_some() => {
                return Ok(place);
            }
            about => about?,
        };
        if !about.is_symlink() {
            return kind::regular(&about).map(|()| place);
        }
        let folder = folder_of(&place);
        // `/dev/stdout` and the like: the file behind it is open, and what is written there would go to the replaced one.
        if cfg!(unix) && fs::canonicalize(folder)?.starts_with("/proc") {
            return Err(kind::refused("what a process holds open"));
        }
        place = folder.join(fs::read_link(&place)?);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "this link leads to too many others"))
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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

    #[cfg(unix)]
    fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_behind_a_link_is_replaced_and_the_link_stays() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("other")).unwrap();
        fs::write(at("other/file"), "old").unwrap();
        symlink("other/file", at("link")).unwrap();
        symlink(at("link"), at("link to link")).unwrap();
        symlink("other/new", at("dangling")).unwrap();
        for (link, file) in
            [("link", "other/file"), ("link to link", "other/file"), ("dangling", "other/new")]
        {
            check_writable(at(link)).unwrap();
            write_atomic(at(link), link.as_bytes()).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert!(fs::symlink_metadata(at(file)).unwrap().is_file(), "{file}");
            assert_eq!(destination(at(link)).unwrap(), destination(at(file)).unwrap());
            assert_eq!(fs::read(at(file)).unwrap(), link.as_bytes());
        }
        assert_eq!(names(&at("other")), ["file", "new"]);
        symlink("nowhere/new", at("lost")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for (link, says) in [("lost", "nowhere"), ("circle", "too many")] {
            let error = write_atomic(at(link), b"x").unwrap_err().to_string();
            assert!(error.contains(says), "{link}: {error}");
            assert_eq!(check_writable(at(link)).unwrap_err().to_string(), error);
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_and_stays() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        pipe(&at("pipe"));
        symlink("pipe", at("link")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        // A node like /dev/null where this user may make one: the real one must not be risked.
        let made = std::process::Command::new("mknod").arg(at("null")).args(["c", "1", "3"]).output();
        let made = made.is_ok_and(|output| output.status.success());
        let null = made.then_some(("null", "a device"));
        for (name, what) in
            [("pipe", "a pipe"), ("link", "a pipe"), ("socket", "a socket")].into_iter().chain(null)
        {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            let error = write_atomic(at(name), b"x").unwrap_err().to_string();
            assert!(error.contains(&format!("got {what}")) && error.contains(name), "{error}");
            assert_eq!(check_writable(at(name)).unwrap_err().to_string(), error);
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before);
        }
        assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
        let error = check_writable("/dev/null").unwrap_err().to_string();
        assert!(error.contains("got a device"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_that_appears_while_writing_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let outcome = write_with(&path, |out| {
            pipe(&path);
            out.write_all(b"x")
        });
        assert!(outcome.unwrap_err().to_string().contains("got a pipe"));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_a_process_holds_open_is_not_replaced_under_it() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let open = File::create(folder.path().join("log")).unwrap();
        let error =
            write_atomic(format!("/proc/self/fd/{}", open.as_raw_fd()), b"x").unwrap_err().to_string();
        assert!(error.contains("what a process holds open"), "{error}");
        assert_eq!(fs::read(folder.path().join("log")).unwrap(), b"");
    }
}
