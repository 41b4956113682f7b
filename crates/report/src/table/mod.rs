//! Tables of measured numbers beside published ones, for terminal, Markdown and JSON.

mod cell;
mod render;

use serde::Serialize;

pub use cell::{Cell, Citation, Cited};

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name, with the unit.
    pub name: String,
    /// On which side its cells stand.
    pub align: Align,
}

impl Column {
    /// A column of text.
    pub fn left(name: impl Into<String>) -> Self {
        Self { name: name.into(), align: Align::Left }
    }

    /// A column of numbers.
    pub fn right(name: impl Into<String>) -> Self {
        Self { name: name.into(), align: Align::Right }
    }
}

/// A table: head, rows, notes. Sources of published cells are numbered and listed below it by every renderer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, as wide as `columns` (see [`Table::row`]).
    pub rows: Vec<Vec<Cell>>,
    /// Remarks printed below it.
    pub notes: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            title: title.into(),
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty, cells beyond the last column are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Self {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        row.resize(self.columns.len(), Cell::Empty);
        self.rows.push(row);
        self
    }

    /// Adds a remark below the table.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// The sources of all published cells, each once, in order of first use: number `i` is printed as `[i + 1]`.
    pub fn citations(&self) -> Vec<&Citation> {
        let mut citations: Vec<&Citation> = Vec::new();
        for cell in self.rows.iter().flatten() {
            if let Cell::Published { values } = cell {
                for value in values {
                    if !citations.contains(&&value.citation) {
                        citations.push(&value.citation);
                    }
                }
            }
        }
        citations
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
