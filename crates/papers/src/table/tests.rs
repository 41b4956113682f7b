//! Tests of tables: snapshots of every renderer, and what must not break a table.

use super::*;
use crate::{
    Published, Seeded,
    text::{Charset, Terminal},
};

/// Measured numbers beside the published ones of ConViT Table 2 and Figure 2a.
fn table() -> Table {
    let published = Published::embedded().unwrap();
    let mut table = Table::new(
        "Top-1 accuracy against training data",
        [
            Column::left("train images"),
            Column::right("DeiT, measured %"),
            Column::right("ConViT, measured %"),
            Column::right("DeiT-S, published %"),
            Column::right("ConViT-S, published %"),
        ],
    );
    let seeds = |values: &[f64]| -> Seeded { (1..).zip(values.iter().copied()).collect() };
    for (row, deit, convit) in
        [("5%", seeds(&[31.2, 30.4, 31.9]), seeds(&[38.0, 37.1, 38.2])), ("100%", seeds(&[61.5]), seeds(&[]))]
    {
        table.row([
            Cell::text(row),
            Cell::measured(&deit, 2),
            Cell::measured(&convit, 2),
            Cell::published(&published.everywhere("convit", row, "DeiT-S top1")),
            Cell::published(&published.everywhere("convit", row, "ConViT-S top1")),
        ]);
    }
    table.note("Measured: mean ± standard deviation (seeds).");
    table
}

#[test]
fn terminal_in_unicode() {
    insta::assert_snapshot!(table().terminal(&Terminal::default()));
}

#[test]
fn terminal_in_ascii() {
    let text = table().terminal(&Terminal { charset: Charset::Ascii, ..Terminal::default() });
    assert!(text.is_ascii());
    insta::assert_snapshot!(text);
}

#[test]
fn markdown() {
    insta::assert_snapshot!(table().markdown());
}

#[test]
fn json() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&table().rows[0]).unwrap());
}

#[test]
fn every_source_is_listed_once_and_every_mark_points_to_one() {
    let table = table();
    let sources: Vec<_> = table.citations().iter().map(|c| c.source.clone()).collect();
    assert_eq!(sources.len(), 2, "{sources:?}");
    let markdown = table.markdown();
    assert_eq!(markdown.matches("34.8 [1], 34.71 [2]").count(), 1, "{markdown}");
    assert!(!markdown.contains("[0]"));
}

#[test]
fn hostile_text_cannot_add_cells_or_lines() {
    let mut table = Table::new("t", [Column::left("a|b"), Column::left("c")]);
    table.row([Cell::text("x | y\nz"), Cell::text("<script>")]);
    let markdown = table.markdown();
    assert_eq!(markdown.lines().count(), 3, "{markdown}");
    assert!(markdown.contains(r"x \| y z") && !markdown.contains("<script"), "{markdown}");
    assert_eq!(table.terminal(&Terminal::default()).lines().count(), 6);
}

#[test]
fn rows_are_as_wide_as_the_head() {
    let mut table = Table::new("t", [Column::left("a"), Column::left("b")]);
    table.row([Cell::text("1")]).row([Cell::text("1"), Cell::text("2"), Cell::text("3")]);
    assert!(table.rows.iter().all(|row| row.len() == 2));
    assert_eq!(table.rows[0][1], Cell::Empty);
}

#[test]
fn a_table_too_wide_breaks_its_text_but_not_its_numbers() {
    let mut table = Table::new("t", [Column::left("why it is so"), Column::right("a long head of a number")]);
    table.row([Cell::text("because of many words that do not fit beside"), Cell::number(1234.5, 1)]);
    let wide = table.terminal(&Terminal::default());
    let narrow = table.terminal(&Terminal { width: 34, ..Terminal::default() });
    assert_eq!(wide.lines().count(), 6);
    assert!(narrow.lines().all(|line| line.chars().count() <= 34), "{narrow}");
    assert_eq!(narrow.matches("1234.5").count(), 1);
    let words = |text: &str| -> Vec<String> {
        let mut words: Vec<String> =
            text.split_whitespace().filter(|w| !w.contains('─')).map(Into::into).collect();
        words.sort();
        words
    };
    assert_eq!(words(&wide), words(&narrow));
}

#[test]
fn a_table_without_columns_or_rows_renders() {
    let empty = Table::new("nothing", []);
    assert!(empty.terminal(&Terminal::default()).starts_with("nothing\n"));
    assert!(empty.markdown().lines().count() == 2);
}
