//! Tests of tables: snapshots of every renderer, and what must not break a table.

use super::*;
use crate::{
    Summary,
    text::{Charset, Terminal},
};

/// Measured numbers beside the published ones of ConViT Table 2 and Figure 2a.
fn table() -> Table {
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
    let published = |printed: f64, drawn: f64| {
        let cited = |value, source: &str, confidence: &str| {
            let citation = Citation { source: source.to_owned(), confidence: confidence.to_owned() };
            Cited { value, unit: "top1_percent".to_owned(), citation }
        };
        Cell::published([
            cited(printed, "arXiv 2103.10697v2 Table 2 (epochs x 1/f)", "paper"),
            cited(
                drawn,
                "facebookresearch/convit .github/data_size_intro.pdf (Fig. 2a), vector coordinates",
                "figure",
            ),
        ])
    };
    table.row([
        Cell::text("5%"),
        Cell::measured(Summary::of(&[31.2, 30.4, 31.9]), 2),
        Cell::measured(Summary::of(&[38.0, 37.1, 38.2]), 2),
        published(34.8, 34.71),
        published(47.8, 47.866),
    ]);
    table.row([
        Cell::text("100%"),
        Cell::measured(Summary::of(&[61.5]), 2),
        Cell::measured(None, 2),
        published(79.9, 79.912),
        published(81.4, 81.424),
    ]);
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
fn a_table_of_many_numbers_goes_on_below_with_its_first_column_and_loses_none() {
    let heads = (0..12).map(|at| Column::right(format!("column {at}")));
    let mut table =
        Table::new("a title of more words than fit beside each other in so few columns of a terminal", []);
    table.columns = [Column::left("model")].into_iter().chain(heads).collect();
    let cells = (0..12).map(|at| Cell::measured(Summary::of(&[f64::from(at), f64::from(at) + 0.5]), 2));
    table.row([Cell::text("ConViT")].into_iter().chain(cells));
    for width in [40, 60, 80] {
        let text = table.terminal(&Terminal { width, ..Terminal::default() });
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        assert!((0..12).all(|at| text.matches(&format!(" {at}.25 ±")).count() == 1), "{text}");
        assert!(text.matches("ConViT").count() > 1 && text.matches("model").count() > 1, "{text}");
    }
    let wide = table.terminal(&Terminal { width: 300, ..Terminal::default() });
    assert_eq!(wide.matches("ConViT").count(), 1, "{wide}");
}

#[test]
fn what_goes_on_below_repeats_all_columns_that_tell_rows_apart() {
    let heads = (0..8).map(|at| Column::right(format!("column {at}")));
    let mut table = Table::new("t", []);
    table.columns = [Column::left("data"), Column::left("model")].into_iter().chain(heads).collect();
    for (data, model) in [("10%", "ConViT"), ("10%", "DeiT"), ("30%", "ConViT")] {
        let cells = (0..8).map(|at| Cell::number(f64::from(at), 2));
        table.row([Cell::text(data), Cell::text(model)].into_iter().chain(cells));
    }
    let text = table.terminal(&Terminal { width: 50, ..Terminal::default() });
    let parts = text.matches("model").count();
    assert!(parts > 1 && text.lines().all(|line| line.chars().count() <= 50), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with(" 10%   DeiT")).count(), parts, "{text}");
    // Where rows cannot be told apart by text, the first column has to do.
    table.row(table.rows[0].clone());
    let text = table.terminal(&Terminal { width: 50, ..Terminal::default() });
    assert_eq!(text.matches("DeiT").count(), 1, "{text}");
}

#[test]
fn a_list_of_numbers_that_is_too_long_by_itself_is_broken_behind_a_comma() {
    let cited = |value: f64| {
        let citation = Citation { source: "a paper".to_owned(), confidence: "paper".to_owned() };
        Cited { value, unit: "share".to_owned(), citation }
    };
    let mut table = Table::new("t", [Column::left("layer"), Column::right("heads")]);
    table.row([Cell::text("1"), Cell::published((0..9).map(|head| cited(f64::from(head) / 100.0)))]);
    let text = table.terminal(&Terminal { width: 50, ..Terminal::default() });
    assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
    assert!((1..9).all(|head| text.contains(&format!("0.0{head} [1]"))), "{text}");
    assert!(text.contains("[1],\n"), "{text}");
}

#[test]
fn a_table_without_columns_or_rows_renders() {
    let empty = Table::new("nothing", []);
    assert!(empty.terminal(&Terminal::default()).starts_with("nothing\n"));
    assert!(empty.markdown().lines().count() == 2);
}
