//! Writing to the standard streams without panicking when nobody reads them.

use std::io::{IsTerminal, Write};

use inductive_papers::text::{Charset, Terminal};

use crate::error::Result;

/// Writes `text` and a line end to the standard output.
///
/// # Errors
/// When it is closed or full; the command ends then.
pub fn say(text: impl AsRef<str>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.as_ref().trim_end_matches('\n'))?;
    out.flush()?;
    Ok(())
}

/// Writes a line to the standard error. Nobody reading it is no reason to stop a run.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What the standard output can show.
pub fn terminal() -> Terminal {
    let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .is_none_or(|v| v.to_ascii_lowercase().replace('-', "").contains("utf8"));
    let is_terminal = std::io::stdout().is_terminal();
    let color = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let columns = std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok()).filter(|_| is_terminal);
    let charset = if utf8 { Charset::Unicode } else { Charset::Ascii };
    Terminal { charset, color, width: columns.unwrap_or(110) }
}
