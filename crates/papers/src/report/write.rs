//! Writing a report into a folder, each file whole or not at all.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::Report;
use crate::{Error, Result};

impl Report {
    /// Writes `report.md`, `tables.json` and `figures/*.svg` into `folder`, which is made if need be. Each file is
    /// written under a temporary name and renamed, so that a reader never sees half of one; `report.md` comes last, so
    /// that what it links to is there. Returns the files written.
    ///
    /// # Errors
    /// When a table's or figure's name is not usable (before anything is written), or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        check_names("table", self.tables.iter().map(|it| it.name.as_str()))?;
        check_names("figure", self.figures.iter().map(|it| it.name.as_str()))?;
        let figures = folder.join("figures");
        let deepest = if self.figures.is_empty() { folder } else { &figures };
        fs::create_dir_all(deepest).map_err(|e| failed(deepest, &e))?;
        let mut files: Vec<(PathBuf, String)> = self
            .figures
            .iter()
            .map(|it| (figures.join(format!("{}.svg", it.name)), it.figure.svg()))
            .collect();
        files.push((folder.join("tables.json"), self.tables_json()));
        files.push((folder.join("report.md"), self.markdown()));
        for (path, text) in &files {
            write_whole(path, text.as_bytes())?;
        }
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }
}

/// Names that are a file's name on every system, each once (`Fig` and `fig` are one file on some).
fn check_names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !plain || !seen.insert(name.to_ascii_lowercase()) {
            return Err(Error::Name { what, name: name.to_owned() });
        }
    }
    Ok(())
}

/// Writes a file under a temporary name beside `path`, then renames it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        failed(path, &error)
    })
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Write { path: path.to_owned(), message: error.to_string() }
}
