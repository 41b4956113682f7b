//! Tables as terminal text and as Markdown.

use std::fmt::Write as _;

use super::{Align, Cell, Citation, Table};
use crate::text::{Charset, Terminal, on_one_line, width, wrap};

/// Between two columns.
const GAP: &str = "   ";

/// Paragraphs are not set narrower than this.
const MIN_WIDTH: usize = 40;

impl Table {
    /// The table as lines for a terminal: ruled, aligned, notes and sources below. A table that is too wide breaks its
    /// heads and its text into several lines, never its numbers.
    pub fn terminal(&self, terminal: &Terminal) -> String {
        let citations = self.citations();
        let head: Vec<String> =
            self.columns.iter().map(|column| terminal.spell(&on_one_line(&column.name))).collect();
        let show = |cell: &Cell| terminal.spell(&on_one_line(&cell.show(&citations)));
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(show).collect()).collect();
        let widths = self.widths(&head, &rows, terminal.width);
        let total = total(&widths);
        let rule = if terminal.charset == Charset::Unicode { "─" } else { "-" }.repeat(total);
        let mut out =
            format!("{}\n{rule}\n", terminal.paint("1", &terminal.spell(&on_one_line(&self.title))));
        out += &self.lines(&head, &widths);
        out = out + &rule + "\n";
        for row in &rows {
            out += &self.lines(row, &widths);
        }
        out = out + &rule + "\n";
        for below in self.below(&citations) {
            let _ = writeln!(
                out,
                " {}",
                wrap(&terminal.spell(&below), terminal.width.max(MIN_WIDTH) - 1, "     ")
            );
        }
        out
    }

    /// Width of every column: that of its content, or less where the table would be wider than `most`.
    fn widths(&self, head: &[String], rows: &[Vec<String>], most: usize) -> Vec<usize> {
        let body =
            |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
        let natural: Vec<usize> =
            head.iter().enumerate().map(|(at, head)| body(at).max(width(head))).collect();
        if total(&natural) <= most {
            return natural;
        }
        let longest_word = |text: &String| text.split_whitespace().map(width).max().unwrap_or(0);
        let mut widths: Vec<usize> =
            head.iter().enumerate().map(|(at, head)| body(at).max(longest_word(head))).collect();
        // Then the widest column of text gives way, as far as its words allow.
        let text =
            (0..head.len()).filter(|&at| self.columns[at].align == Align::Left).max_by_key(|&at| widths[at]);
        if let Some(at) = text {
            let words = rows.iter().filter_map(|row| row.get(at)).chain([&head[at]]).map(longest_word).max();
            let over = total(&widths).saturating_sub(most);
            widths[at] = widths[at].saturating_sub(over).max(words.unwrap_or(0)).max(12).min(widths[at]);
        }
        widths
    }

    /// One row, in as many lines as its tallest cell.
    fn lines(&self, cells: &[String], widths: &[usize]) -> String {
        let wrapped: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, &wide)| if width(cell) > wide { wrap(cell, wide, "") } else { cell.clone() })
            .collect();
        let height = wrapped.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
        let line = |at: usize| {
            let cells = wrapped.iter().zip(&self.columns).zip(widths).map(|((cell, column), &wide)| {
                let cell = cell.lines().nth(at).unwrap_or("");
                let pad = " ".repeat(wide.saturating_sub(width(cell)));
                match column.align {
                    Align::Left => format!("{cell}{pad}"),
                    Align::Right => format!("{pad}{cell}"),
                }
            });
            format!(" {}", cells.collect::<Vec<_>>().join(GAP)).trim_end().to_owned() + "\n"
        };
        (0..height).map(line).collect()
    }

    /// The table in GitHub's Markdown, without its title; notes and sources as a list below.
    pub fn markdown(&self) -> String {
        let citations = self.citations();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = line(self.columns.iter().map(|column| escape(&column.name)).collect());
        let rule = |align: Align| if align == Align::Left { ":---".to_owned() } else { "---:".to_owned() };
        out += &line(self.columns.iter().map(|column| rule(column.align)).collect());
        for row in &self.rows {
            out += &line(row.iter().map(|cell| escape(&cell.show(&citations))).collect());
        }
        let below = self.below(&citations);
        if !below.is_empty() {
            out.push('\n');
        }
        for note in below {
            let _ = writeln!(out, "- {}", escape(&note));
        }
        out
    }

    /// Notes, then numbered sources.
    fn below(&self, citations: &[&Citation]) -> Vec<String> {
        let cite = |(at, it): (usize, &&Citation)| {
            format!("[{}] {} ({})", at + 1, it.source, it.confidence.as_str())
        };
        self.notes
            .iter()
            .map(|note| on_one_line(note))
            .chain(citations.iter().enumerate().map(cite))
            .collect()
    }
}

/// Width of a table with columns of these widths.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1) + 2
}

/// `text` as it may stand in a Markdown table or list item: no cell, line or element ends early.
pub(crate) fn escape(text: &str) -> String {
    on_one_line(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
