//! Writing to the standard streams: without panicking when nobody reads them, and without letting a character through that steers
//! the terminal. What comes from outside is escaped where it enters a message, so that it cannot begin a line either
//! ([`inductive_files::shown`]); here, where everything passes, nothing but line breaks is left of what could have been missed.

use std::io::{IsTerminal, Write};

use inductive_files::shown_lines;
use inductive_report::text::{Charset, Terminal, wrap};

use crate::error::Result;

/// Writes `text` and a line end to the standard output.
///
/// # Errors
/// When it is closed or full; the command ends then.
pub fn say(text: impl AsRef<str>) -> Result<()> {
    say_set(shown_lines(text.as_ref()).to_string())
}

/// [`say`] for sentences: a line that is too long goes on below, four columns further in.
///
/// # Errors
/// As [`say`].
pub fn say_prose(text: impl AsRef<str>) -> Result<()> {
    say(prose(text.as_ref(), columns()))
}

/// [`say`] for a result that scripts read too: broken as [`say_prose`] does on a terminal, else one line.
///
/// # Errors
/// As [`say`].
pub fn say_result(text: impl AsRef<str>) -> Result<()> {
    if std::io::stdout().is_terminal() { say_prose(text) } else { say(text) }
}

/// Lines in so many columns: what is too long goes on below, four columns further in.
fn prose(text: &str, columns: usize) -> String {
    let set = |line: &str| {
        let lead = " ".repeat(line.len() - line.trim_start().len());
        format!("{lead}{}", wrap(line, columns.saturating_sub(lead.len()), &format!("{lead}    ")))
    };
    text.split('\n').map(set).collect::<Vec<_>>().join("\n")
}

/// [`say`] for tables, figures and reports that were set for [`terminal`]: the colours in them are our own, the words in them
/// are escaped. Also for what another program reads.
///
/// # Errors
/// As [`say`].
pub fn say_set(text: impl AsRef<str>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.as_ref().trim_end_matches('\n'))?;
    out.flush()?;
    Ok(())
}

/// Lines for the standard error: on a terminal what is too long goes on below, four columns further in.
pub fn for_errors(text: &str) -> String {
    match error_columns() {
        Some(columns) => prose(text, columns.clamp(FEWEST, MOST)),
        None => text.to_owned(),
    }
}

/// Columns of the terminal that the standard error is, if it is one.
pub fn error_columns() -> Option<usize> {
    let errors = std::io::stderr();
    let size = terminal_size::terminal_size_of(&errors).filter(|_| errors.is_terminal());
    size.map(|(width, _)| width.0.into())
}

/// Writes a line to the standard error. Nobody reading it is no reason to stop a run.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", shown_lines(text));
}

/// What the standard output can show.
pub fn terminal() -> Terminal {
    let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .is_none_or(|v| v.to_ascii_lowercase().replace('-', "").contains("utf8"));
    let is_terminal = std::io::stdout().is_terminal();
    let color = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let charset = if utf8 { Charset::Unicode } else { Charset::Ascii };
    Terminal { charset, color, width: columns() }
}

/// Columns of the output: what the environment says, else the terminal's, else 80.
fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok()).filter(|it| *it > 0);
    let own = || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    said.or_else(own).unwrap_or(80).clamp(FEWEST, MOST)
}

/// No table fits fewer.
const FEWEST: usize = 40;
/// Lines that are longer are hard to follow.
const MOST: usize = 160;
