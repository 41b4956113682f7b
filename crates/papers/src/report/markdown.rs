//! A report as Markdown.

use std::fmt::Write as _;

use super::Report;
use crate::verdict::ClaimVerdict;
use inductive_report::{
    markdown::{escape, indented, list},
    table::{Cell, Column, Table},
};

impl Report {
    /// The report as Markdown; figures are linked as `figures/<name>.svg`.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n", escape(&self.title));
        list(&mut out, "What was run", &self.what_was_run);
        if !self.claims.is_empty() || !self.remarks.is_empty() {
            out += "\n## Verdicts\n";
        }
        for remark in &self.remarks {
            let _ = write!(out, "\n{}\n", escape(remark));
        }
        if !self.claims.is_empty() {
            out += "\n";
            out += &self.verdicts().markdown();
        }
        if !self.tables.is_empty() {
            out += "\n## Measured beside published\n";
        }
        for it in &self.tables {
            let _ = write!(out, "\n### {}\n\n{}", escape(&it.table.title), it.table.markdown());
        }
        if !self.figures.is_empty() {
            out += "\n## Figures\n";
        }
        for it in &self.figures {
            let title = escape(&it.figure.title).replace(['[', ']'], "");
            let _ = write!(out, "\n![{title}](figures/{}.svg)\n", it.name);
            if !it.figure.caption.is_empty() {
                let _ = write!(out, "\n{}\n", escape(&it.figure.caption));
            }
        }
        if !self.claims.is_empty() {
            out += "\n## How the claims were judged\n";
        }
        for claim in &self.claims {
            out += &judged(claim);
        }
        list(&mut out, "What differs from the paper", &self.differences);
        list(&mut out, "Next step", &self.next_steps);
        let facts: Vec<String> =
            self.environment.iter().map(|fact| format!("{}: {}", fact.name, fact.value)).collect();
        list(&mut out, "Environment", &facts);
        if !self.command.is_empty() {
            let _ = write!(out, "\n## Run it again\n\n{}", indented(&self.command));
        }
        out
    }

    /// One row per claim.
    fn verdicts(&self) -> Table {
        let columns = [
            Column::left("claim"),
            Column::left("statement"),
            Column::left("verdict"),
            Column::right("n"),
            Column::left("why"),
        ];
        let mut table = Table::new("Verdicts", columns);
        for claim in &self.claims {
            table.row([
                Cell::text(&claim.id),
                Cell::text(&claim.text),
                Cell::text(format!("**{}**", claim.verdict)),
                Cell::text(claim.n_text()),
                Cell::text(&claim.reason),
            ]);
        }
        table.note("n: paired seeds of the comparison that has fewest.");
        table.note(
            "A comparison holds if the whole 95 % Student-t interval of the mean paired difference is above 0, fails if \
             all of it is below, and is undecided otherwise; with fewer than two pairs it is always undecided. A claim \
             holds if all its comparisons hold and fails if one of them fails.",
        );
        table
    }
}

/// The pieces of one claim.
fn judged(claim: &ClaimVerdict) -> String {
    let (id, verdict) = (escape(&claim.id), claim.verdict);
    let (text, source) = (escape(&claim.text), escape(&claim.source));
    format!("\n### {id}: {verdict}\n\n{text} ({source})\n\n{}", claim.table().markdown())
}
