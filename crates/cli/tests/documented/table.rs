//! `documented.toml`: how each documented command is run.

use serde::Deserialize;

/// One documented command line. What the fields are for stands at the head of `documented.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    pub line: String,
    #[serde(default)]
    pub before: Vec<String>,
    #[serde(default)]
    pub replace: Vec<(String, String)>,
    #[serde(default)]
    pub add: String,
    #[serde(default)]
    pub stop: bool,
    pub until: Option<String>,
    #[serde(default)]
    pub says: Vec<String>,
    #[serde(default)]
    pub writes: Vec<String>,
    pub not_run: Option<NotRun>,
}

/// The reasons not to run a command. A test checks that they hold.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NotRun {
    /// It is this test, or others that are run beside it.
    IsTheTests,
    /// It builds in another profile, and measures.
    IsABenchmark,
    /// It runs rustdoc over everything.
    BuildsDocuments,
    /// It builds, or builds and runs another program than `inductive`.
    IsABuild,
    /// It is Python with modules that the tests do not need.
    NeedsPython,
    NeedsAGpu,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    command: Vec<Entry>,
}

pub fn read() -> Vec<Entry> {
    let table: Table = toml::from_str(include_str!("documented.toml"))
        .unwrap_or_else(|error| panic!("documented.toml: {error}"));
    table.command
}

impl Entry {
    /// The line that is run.
    ///
    /// # Errors
    /// A replacement that has nothing to replace, or a line that still has something to fill in.
    pub fn small(&self) -> Result<String, String> {
        let mut line = self.line.clone();
        for (from, to) in &self.replace {
            if !line.contains(from.as_str()) {
                return Err(format!("`replace` has `{from}`, which is not in `{line}`"));
            }
            line = line.replace(from.as_str(), to);
        }
        let line = format!("{line} {}", self.add).trim_end().to_owned();
        match line.contains(['[', '|']) || line.contains("..") {
            true => Err(format!("something is left to `replace` in `{line}`")),
            false => Ok(line),
        }
    }
}
