//! Tables as terminal text and as Markdown.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{Align, Cell, Citation, Table};
use crate::{
    markdown::escape,
    text::{Charset, Terminal, on_one_line, width, wrap},
};

/// Between two columns, wide and where that does not fit.
const GAPS: [usize; 2] = [3, 2];
/// A column of text is not set narrower than this.
const MIN_TEXT: usize = 12;
/// Paragraphs are not set narrower than this.
const MIN_WIDTH: usize = 40;

/// `cell` in lines of at most `wide` columns: behind commas if that is enough, so that a number stays with its mark.
fn broken(cell: &str, wide: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for piece in cell.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if width(line) + width(piece.trim_end()) <= wide => line.push_str(piece),
            _ => lines.push(piece.to_owned()),
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    if lines.iter().all(|line| width(line) <= wide) { lines.join("\n") } else { wrap(cell, wide, "") }
}

/// Columns that stand beside each other, and how.
struct Part {
    /// Which, in order.
    columns: Vec<usize>,
    /// Width of each.
    widths: Vec<usize>,
    /// Spaces between two.
    gap: usize,
}

impl Part {
    fn total(&self) -> usize {
        self.widths.iter().sum::<usize>() + self.gap * self.widths.len().saturating_sub(1) + 2
    }
}

impl Table {
    /// The table as lines for a terminal: ruled, aligned, notes and sources below. A table that is too wide breaks its heads and
    /// its text into several lines, never its numbers; one that still does not fit goes on below, where the first columns, as many as tell its rows
    /// apart, stand again, and a list of numbers that is too long by itself is broken behind a comma.
    pub fn terminal(&self, terminal: &Terminal) -> String {
        let citations = self.citations();
        let head: Vec<String> = self.columns.iter().map(|column| terminal.spell(&column.name)).collect();
        let show = |cell: &Cell| terminal.spell(&cell.show(&citations));
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(show).collect()).collect();
        let parts = self.parts(&head, &rows, terminal.width);
        let rule = if terminal.charset == Charset::Unicode { "─" } else { "-" }
            .repeat(parts.iter().map(Part::total).max().unwrap_or(0));
        let title = wrap(&terminal.spell(&self.title), terminal.width.max(MIN_WIDTH), "");
        let mut out: String = title.lines().map(|line| terminal.paint("1", line) + "\n").collect();
        if title.is_empty() {
            out.push('\n');
        }
        for part in &parts {
            out = out + &rule + "\n" + &self.lines(&head, part) + &rule + "\n";
            out.extend(rows.iter().map(|row| self.lines(row, part)));
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

    /// How many of the first columns, of text, tell all rows apart; 1 where they do not.
    fn key(&self, rows: &[Vec<String>]) -> usize {
        let text = self.columns.iter().take_while(|column| column.align == Align::Left).count();
        let apart = |key: &usize| {
            let mut seen = BTreeSet::new();
            rows.iter().all(|row| seen.insert(row.iter().take(*key).collect::<Vec<_>>()))
        };
        (1..=text).find(apart).unwrap_or(1)
    }

    /// The columns side by side; where they do not fit, in several parts that begin with the same columns.
    fn parts(&self, head: &[String], rows: &[Vec<String>], most: usize) -> Vec<Part> {
        let all: Vec<usize> = (0..head.len()).collect();
        let fits = |columns: &[usize]| {
            let mut parts = GAPS.map(|gap| self.fit(columns, head, rows, most, gap, false)).into_iter();
            parts.find(|part| part.total() <= most)
        };
        if let Some(part) = fits(&all) {
            return vec![part];
        }
        let key: Vec<usize> = (0..self.key(rows)).collect();
        // A key that leaves no room for what it is the key of is worth less than lines that are whole.
        let key =
            if self.fit(&key, head, rows, most, GAPS[1], false).total() <= most / 2 { key } else { vec![0] };
        let mut parts: Vec<Part> = Vec::new();
        for at in key.len()..head.len() {
            let wider = parts.last().and_then(|part| fits(&[part.columns.as_slice(), &[at]].concat()));
            match (parts.last_mut(), wider) {
                (Some(last), Some(wider)) => *last = wider,
                _ => {
                    let columns = [key.as_slice(), &[at]].concat();
                    let narrow = || self.fit(&columns, head, rows, most, GAPS[1], true);
                    parts.push(fits(&columns).unwrap_or_else(narrow));
                }
            }
        }
        match parts.is_empty() {
            true => vec![self.fit(&all, head, rows, most, GAPS[0], true)],
            false => parts,
        }
    }

    /// These columns, as wide as what stands in them, or less where they would be wider than `most`; with `lists`, lists of numbers
    /// give way too.
    fn fit(
        &self,
        columns: &[usize],
        head: &[String],
        rows: &[Vec<String>],
        most: usize,
        gap: usize,
        lists: bool,
    ) -> Part {
        let body =
            |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
        let longest_word = |text: &String| text.split_whitespace().map(width).max().unwrap_or(0);
        let natural = columns.iter().map(|&at| body(at).max(width(&head[at]))).collect();
        let mut part = Part { columns: columns.to_vec(), widths: natural, gap };
        if part.total() <= most {
            return part;
        }
        part.widths = columns.iter().map(|&at| body(at).max(longest_word(&head[at]))).collect();
        // Then columns of text give way, the widest first, as far as their words allow.
        let least = |at: usize| {
            let longest = |text: &String| match self.columns[at].align {
                Align::Left => longest_word(text),
                Align::Right => text.split(", ").map(|number| width(number) + 1).max().unwrap_or(0),
            };
            let cells = rows.iter().filter_map(|row| row.get(at)).map(longest).max();
            cells.unwrap_or(0).max(longest_word(&head[at])).max(MIN_TEXT)
        };
        let gives_way: Vec<(usize, usize)> = (0..columns.len())
            .filter(|&i| lists || self.columns[columns[i]].align == Align::Left)
            .map(|i| (i, least(columns[i])))
            .collect();
        while part.total() > most {
            let wide = gives_way.iter().filter(|(i, least)| part.widths[*i] > *least);
            let Some(&(i, _)) = wide.max_by_key(|(i, _)| part.widths[*i]) else { break };
            part.widths[i] -= 1;
        }
        part
    }

    /// The cells of a row that belong to `part`, in as many lines as the tallest.
    fn lines(&self, cells: &[String], part: &Part) -> String {
        let set = |(&at, &wide): (&usize, &usize)| {
            let cell = cells.get(at).map_or("", String::as_str);
            match self.columns[at].align {
                _ if width(cell) <= wide => cell.to_owned(),
                Align::Left => wrap(cell, wide, ""),
                Align::Right => broken(cell, wide),
            }
        };
        let wrapped: Vec<String> = part.columns.iter().zip(&part.widths).map(set).collect();
        let height = wrapped.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
        let line = |at: usize| {
            let cells =
                wrapped.iter().zip(&part.columns).zip(&part.widths).map(|((cell, &column), &wide)| {
                    let cell = cell.lines().nth(at).unwrap_or("");
                    let pad = " ".repeat(wide.saturating_sub(width(cell)));
                    match self.columns[column].align {
                        Align::Left => format!("{cell}{pad}"),
                        Align::Right => format!("{pad}{cell}"),
                    }
                });
            format!(" {}", cells.collect::<Vec<_>>().join(&" ".repeat(part.gap))).trim_end().to_owned() + "\n"
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
        let cite = |(at, it): (usize, &&Citation)| format!("[{}] {} ({})", at + 1, it.source, it.confidence);
        self.notes
            .iter()
            .map(|note| on_one_line(note))
            .chain(citations.iter().enumerate().map(cite))
            .collect()
    }
}
