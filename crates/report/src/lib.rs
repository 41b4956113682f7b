//! Tables, figures and text: what is known already, set for a terminal, Markdown, SVG or PNG.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | tables of measured numbers beside published ones, for terminal, Markdown and JSON |
//! | [`figure`] | line plots as SVG and in the terminal, maps of numbers as PNG |
//! | [`markdown`] | words that may stand in Markdown, lists, code |
//! | [`text`] | what a terminal can show, lines of a width, numbers with a sign |
//!
//! ```
//! use inductive_report::{Summary, table::{Cell, Column, Table}, text::Terminal};
//!
//! let mut table = Table::new("Accuracy", [Column::left("model"), Column::right("top-1, %")]);
//! table.row([Cell::text("ConViT"), Cell::measured(Summary::of(&[61.0, 62.0]), 1)]);
//! assert!(table.markdown().contains("| ConViT | 61.5 ± 0.7 (2) |"));
//! assert!(table.terminal(&Terminal::default()).contains("61.5 ± 0.7 (2)"));
//! ```

mod error;
pub mod figure;
pub mod markdown;
mod summary;
pub mod table;
pub mod text;

pub use error::{Error, Result};
pub use summary::Summary;
