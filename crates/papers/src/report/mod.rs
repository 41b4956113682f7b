//! A report: what was run, tables, figures, verdicts, what differs from the paper, how to run it again.

mod markdown;
mod write;

use serde::Serialize;

pub(crate) use write::is_plain_name;

use crate::verdict::{ClaimVerdict, Verdict};
use inductive_report::{
    figure::Figure,
    table::Table,
    text::{Terminal, wrap},
};

/// A table with the name it has in `tables.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedTable {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// The table.
    #[serde(flatten)]
    pub table: Table,
}

/// A figure with the name of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedFigure {
    /// Its name: letters, digits, `-` and `_`; the file is `figures/<name>.svg`.
    pub name: String,
    /// The figure.
    pub figure: Figure,
}

/// A name and what it stands for, e.g. `CPU` and its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What is stated.
    pub name: String,
    /// What it is.
    pub value: String,
}

/// Everything a report says. Empty lists are left out when it is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Title.
    pub title: String,
    /// What was run: models, data, epochs, seeds.
    pub what_was_run: Vec<String>,
    /// Measured numbers, beside published ones where there are any.
    pub tables: Vec<NamedTable>,
    /// Plots.
    pub figures: Vec<NamedFigure>,
    /// What must be said before any verdict.
    pub remarks: Vec<String>,
    /// Judged claims.
    pub claims: Vec<ClaimVerdict>,
    /// What differs from the paper: data, resolution, epochs, width.
    pub differences: Vec<String>,
    /// What should be run next, and why.
    pub next_steps: Vec<String>,
    /// Machine and versions.
    pub environment: Vec<Fact>,
    /// The command that runs it again.
    pub command: String,
}

impl Report {
    /// A report that says nothing yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a line on what was run.
    pub fn ran(&mut self, line: impl Into<String>) -> &mut Self {
        self.what_was_run.push(line.into());
        self
    }

    /// Adds a table.
    pub fn table(&mut self, name: impl Into<String>, table: Table) -> &mut Self {
        self.tables.push(NamedTable { name: name.into(), table });
        self
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: impl Into<String>, figure: Figure) -> &mut Self {
        self.figures.push(NamedFigure { name: name.into(), figure });
        self
    }

    /// Adds what must be said before any verdict.
    pub fn remark(&mut self, line: impl Into<String>) -> &mut Self {
        self.remarks.push(line.into());
        self
    }

    /// Adds a judged claim.
    pub fn claim(&mut self, claim: ClaimVerdict) -> &mut Self {
        self.claims.push(claim);
        self
    }

    /// Adds a difference from the paper.
    pub fn differs(&mut self, line: impl Into<String>) -> &mut Self {
        self.differences.push(line.into());
        self
    }

    /// Adds what should be run next.
    pub fn next_step(&mut self, line: impl Into<String>) -> &mut Self {
        self.next_steps.push(line.into());
        self
    }

    /// Adds a fact about machine or versions.
    pub fn fact(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.environment.push(Fact { name: name.into(), value: value.into() });
        self
    }

    /// Title, command, environment, tables and claims as JSON, for other programs.
    pub fn tables_json(&self) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            title: &'a str,
            command: &'a str,
            environment: &'a [Fact],
            differences: &'a [String],
            remarks: &'a [String],
            tables: &'a [NamedTable],
            claims: &'a [ClaimVerdict],
        }
        let json = Json {
            title: &self.title,
            command: &self.command,
            environment: &self.environment,
            differences: &self.differences,
            remarks: &self.remarks,
            tables: &self.tables,
            claims: &self.claims,
        };
        // Strings and numbers in structs and lists: serde_json has nothing to refuse (not finite becomes null).
        harmless(&serde_json::to_string_pretty(&json).unwrap_or_default()) + "\n"
    }

    /// The report as the end of a run prints it: tables, plots, remarks, one paragraph per claim.
    pub fn terminal(&self, terminal: &Terminal) -> String {
        let mut parts: Vec<String> = self.tables.iter().map(|table| table.table.terminal(terminal)).collect();
        parts.extend(self.figures.iter().map(|figure| figure.figure.terminal(terminal, 18)));
        let remark = |text: &String| wrap(&terminal.spell(text), terminal.width.max(40), "") + "\n";
        parts.extend(self.remarks.iter().map(remark));
        for claim in &self.claims {
            let ansi = match claim.verdict {
                Verdict::Holds => "1;32",
                Verdict::Fails => "1;31",
                Verdict::Undecided | Verdict::NothingLearned => "1;33",
            };
            let lines = |text: &str| wrap(&terminal.spell(text), terminal.width.max(40) - 2, "  ");
            parts.push(format!(
                "{} {}  n = {}\n  {}\n  {}\n\n{}",
                terminal.paint("1", &terminal.spell(&claim.id)),
                terminal.paint(ansi, &claim.verdict.to_string()),
                claim.n_text(),
                lines(&claim.text),
                lines(&claim.reason),
                claim.table().terminal(terminal).split_once('\n').map_or("", |(_, rest)| rest),
            ));
        }
        parts.join("\n")
    }
}

/// JSON text of the same value, in which characters that steer a terminal are escapes, also those that JSON lets stand.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && inductive_files::is_harmful(c) {
            // It can only stand within a string.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
