//! Markdown: words that may stand in it, sections of items, code.

use std::fmt::Write as _;

use crate::text::on_one_line;

/// `text` as it may stand in a Markdown table or list item: no cell, line or element ends early.
pub fn escape(text: &str) -> String {
    on_one_line(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}

/// A section with one item per line; nothing without items.
pub fn list(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(out, "\n## {title}\n\n");
        for line in lines {
            let _ = writeln!(out, "- {}", escape(line));
        }
    }
}

/// A block of code: indented, because a fence could be closed by what it holds.
pub fn indented(code: &str) -> String {
    code.lines().map(|line| format!("    {}\n", inductive_files::shown(line))).collect()
}
