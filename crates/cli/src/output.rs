//! Writing to the standard streams without panicking when nobody reads them.

use std::io::Write;

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
