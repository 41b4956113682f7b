//! Writing a report into a folder, each file whole or not at all.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use inductive_files::write_atomic;

use super::Report;
use crate::{Error, Result};
use inductive_report::figure::is_figure;

/// Its tables: what a folder is known by.
const TABLES: &str = "tables.json";
/// What a person opens.
const PAGES: [&str; 1] = ["report.md"];

impl Report {
    /// Writes `report.md`, `tables.json` and `figures/*.svg` into `folder`, which is made if need be. Each file is
    /// whole or as it was. `tables.json` comes first, since it says that the folder is a report's; `report.md` comes last, so
    /// that what it links to is there. Returns the files written.
    ///
    /// A file that is there is replaced if it is a report's: `tables.json` by what it holds, pages where the `tables.json` beside
    /// them is one, figures each by what it is. Somebody else's is never touched.
    ///
    /// # Errors
    /// When a table's or figure's name is not usable or a file is not a report's ([`Error::Foreign`]), both before anything is
    /// written; when a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        check_names("table", self.tables.iter().map(|table| table.name.as_str()))?;
        check_names("figure", self.figures.iter().map(|figure| figure.name.as_str()))?;
        Self::check(folder)?;
        let figures = folder.join("figures");
        let drawn = self
            .figures
            .iter()
            .map(|figure| (figures.join(format!("{}.svg", figure.name)), figure.figure.svg()));
        let drawn: Vec<(PathBuf, String)> = drawn.collect();
        drawn.iter().try_for_each(|(path, _)| check_ours(path, is_figure).map(drop))?;
        let deepest = if drawn.is_empty() { folder } else { &figures };
        fs::create_dir_all(deepest).map_err(|e| failed(deepest, &e))?;
        let mut files = vec![(folder.join(TABLES), self.tables_json())];
        files.extend(drawn);
        let [page] = PAGES;
        files.push((folder.join(page), self.markdown()));
        for (path, text) in &files {
            write_atomic(path, text.as_bytes()).map_err(|failure| failed(path, &failure.error))?;
        }
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }

    /// Whether [`Report::write`] may write into `folder`, as far as names of files are known before there is a report: to be asked
    /// before long work.
    ///
    /// # Errors
    /// [`Error::Foreign`].
    pub fn check(folder: &Path) -> Result<()> {
        if check_ours(&folder.join(TABLES), are_tables)? {
            return Ok(());
        }
        let mut pages = PAGES.iter().map(|page| folder.join(page));
        match pages.find(|page| fs::symlink_metadata(page).is_ok()) {
            Some(path) => Err(Error::Foreign { path }),
            None => Ok(()),
        }
    }
}

/// Whether there is a file at `path`; refuses one that is not `ours`.
fn check_ours(path: &Path, ours: fn(&[u8]) -> bool) -> Result<bool> {
    match inductive_files::read(path) {
        Ok(bytes) if ours(&bytes) => Ok(true),
        Ok(_) => Err(Error::Foreign { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, &error)),
    }
}

/// Longest name of a file here, without its ending.
const MAX_NAME: usize = 64;

/// Whether this can be a file's name on every system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let fits = (1..=MAX_NAME).contains(&name.len());
    fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Names that are a file's name on every system, each once (`Fig` and `fig` are one file on some).
fn check_names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_plain_name(name) || !seen.insert(name.to_ascii_lowercase()) {
            return Err(Error::Name { what, name: name.to_owned() });
        }
    }
    Ok(())
}

/// Whether these are the tables of a report, by this version or another: an object with what all of them have.
fn are_tables(json: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    ["title", "command", "environment", "tables", "claims"].iter().all(|key| value.get(key).is_some())
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Write { path: path.to_owned(), message: error.to_string() }
}
