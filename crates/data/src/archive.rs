//! The files of a data set, one after another, from an archive or from the folder it was unpacked to.
//!
//! Nothing is written to disk and nothing is read that the visitor does not ask for, so names in an archive cannot
//! reach outside of it and declared sizes allocate nothing.

use crate::Error;
use flate2::read::MultiGzDecoder;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A file of a data set on its way to a reader.
pub(crate) struct Member<'a> {
    /// Name without folders.
    pub name: &'a str,
    /// Where it is, for messages: `cifar.tar.gz:cifar-10-batches-bin/test_batch.bin`.
    pub place: String,
    /// Size as the archive or file system states it.
    pub size: u64,
    /// The content; ends early if the archive does.
    pub content: &'a mut dyn Read,
}

/// Where the files of a data set are.
pub(crate) enum Files {
    Folder(PathBuf),
    Archive { path: PathBuf, gzip: bool },
}

impl Files {
    /// Recognises `path`: an archive by its first bytes; a folder, or the folder `inner` in it.
    pub(crate) fn open(path: &Path, inner: &str, archive: &str) -> Result<Self, Error> {
        let what = || format!("{archive} or the folder {inner} unpacked from it");
        let metadata = match fs::metadata(path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { path: path.into(), what: what() });
            }
            metadata => metadata.map_err(|reason| Error::io("read", path, reason))?,
        };
        if metadata.is_dir() {
            let nested = path.join(inner);
            return Ok(Self::Folder(if nested.is_dir() { nested } else { path.into() }));
        }
        let mut start = Vec::new();
        let read = inductive_files::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
        read.map_err(|reason| Error::io("read", path, reason))?;
        let refuse = |found: &str, advice: String| {
            Err(Error::Format { path: path.into(), found: found.into(), advice })
        };
        match start.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Self::Archive { path: path.into(), gzip: true }),
            [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let advice = "unpack it with `tar -xf .. -C DIR` and give DIR instead";
                refuse("compressed with xz, bzip2 or zstd", advice.into())
            }
            start if start.get(257..262) == Some(b"ustar") => {
                Ok(Self::Archive { path: path.into(), gzip: false })
            }
            [] => refuse("empty", format!("download {archive} again")),
            _ if path.extension().is_some_and(|extension| extension == "bin") => {
                refuse("a single file of records", format!("give the folder it is in, or {archive}"))
            }
            _ => refuse(
                "no archive",
                format!("download {archive} again; an error page may have been saved instead"),
            ),
        }
    }

    /// The path as the user gave it, or the folder found in it.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive { path, .. } => path,
        }
    }

    /// Shows every file to `visit`, in order of name (folder) or as stored (archive).
    ///
    /// `limit`: bytes after which unpacking is given up.
    pub(crate) fn visit(
        &self,
        limit: u64,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Folder(path) => visit_folder(path, visit),
            Self::Archive { path, gzip } => {
                let file = inductive_files::open(path).map_err(|reason| Error::io("open", path, reason))?;
                let file = BufReader::with_capacity(1 << 16, file);
                let content: Box<dyn Read> =
                    if *gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
                visit_archive(path, content, limit, visit)
            }
        }
    }
}

fn visit_folder(
    folder: &Path,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    for path in sorted_entries(folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let metadata = fs::metadata(&path).map_err(|reason| Error::io("read", &path, reason))?;
        // A pipe or device is refused where it is read, and is no hindrance where nobody asks for it.
        if metadata.is_dir() {
            continue;
        }
        let mut content = LazyFile { path: &path, file: None };
        let (place, size) = (path.display().to_string(), metadata.len());
        visit(&mut Member { name, place, size, content: &mut content })?;
    }
    Ok(())
}

/// The entries of a folder in order of their names.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries: Vec<PathBuf> = entries.map_err(|reason| Error::io("list", folder, reason))?;
    entries.sort();
    Ok(entries)
}

/// A file that is opened when it is first read, so that files nobody asks for need not be readable.
struct LazyFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl Read for LazyFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(inductive_files::open(self.path)?);
        }
        self.file.as_mut().map_or(Ok(0), |file| file.read(buffer))
    }
}

fn visit_archive(
    path: &Path,
    content: Box<dyn Read>,
    limit: u64,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let unpacked = Rc::new(Cell::new(0));
    let content = Counted { content, unpacked: unpacked.clone(), limit };
    let damaged = |reason: io::Error| {
        // The innermost cause says it best: tar wraps the decoder's error.
        let reason = reason.get_ref().map_or_else(|| reason.to_string(), |inner| inner.to_string());
        Error::Damaged { path: path.into(), unpacked: unpacked.get(), reason }
    };
    let mut archive = tar::Archive::new(content);
    // Raw: extension records, whose content tar would hold in memory, pass by as entries of their own type.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let stored = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = stored.rsplit('/').next().unwrap_or_default();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let (place, size) = (format!("{}:{stored}", path.display()), entry.size());
        visit(&mut Member { name, place, size, content: &mut entry }).map_err(|error| match error {
            Error::Io { reason, .. } => damaged(reason),
            other => other,
        })?;
    }
    // What follows the last entry holds the checksum of gzip.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// Counts what is unpacked and stops at a limit.
struct Counted {
    content: Box<dyn Read>,
    unpacked: Rc<Cell<u64>>,
    limit: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.unpacked.set(self.unpacked.get() + read as u64);
        if self.unpacked.get() > self.limit {
            return Err(io::Error::other(format!("it unpacks to more than {} bytes", self.limit)));
        }
        Ok(read)
    }
}
