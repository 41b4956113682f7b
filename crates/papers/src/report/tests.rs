//! Tests of reports: snapshots, files whole or not at all, and nothing said that was not given.

use super::*;
use crate::{
    Error, Published, Seeded,
    verdict::{
        Comparison,
        trend::{TrendPoint, lead_grows_as_x_shrinks},
    },
};
use inductive_report::{
    figure::{Axis, Series},
    table::{Cell, Column},
    text::Charset,
};

fn seeds(values: &[f64]) -> Seeded {
    (1..).zip(values.iter().copied()).collect()
}

/// A small report with every section.
fn report() -> Report {
    let published = Published::embedded().unwrap();
    let runs = [
        (10.0, "10%", seeds(&[38.2, 37.5, 39.0]), seeds(&[28.9, 27.6, 29.9])),
        (100.0, "100%", seeds(&[63.0, 62.5, 63.4]), seeds(&[61.1, 60.4, 61.7])),
    ];
    let columns = [
        Column::left("train images"),
        Column::right("DeiT %"),
        Column::right("ConViT %"),
        Column::right("DeiT-S, published"),
        Column::right("ConViT-S, published"),
    ];
    let mut table = Table::new("Table 2: top-1 accuracy against training data", columns);
    let (mut deit, mut convit) = (Series::measured("DeiT", 1), Series::measured("ConViT", 0));
    let mut points = Vec::new();
    for (x, row, leader, baseline) in runs {
        table.row([
            Cell::text(row),
            Cell::measured(baseline.summary(), 1),
            Cell::measured(leader.summary(), 1),
            Cell::published(published.value("convit", "table2", row, "DeiT-S top1")),
            Cell::published(published.value("convit", "table2", row, "ConViT-S top1")),
        ]);
        convit = convit.mean_sd(x, leader.summary());
        deit = deit.mean_sd(x, baseline.summary());
        points.push(TrendPoint { label: row.into(), x, leader, baseline });
    }
    table.note("Measured: mean ± standard deviation (seeds).");
    let figure = Figure::new("Sample efficiency", Axis::log("training images, %"), Axis::linear("top-1 %"))
        .series(convit)
        .series(deit)
        .caption("Error bars: one standard deviation over seeds.");
    let mut report = Report::new("ConViT on embedded data, preset quick");
    report
        .ran("ConViT and DeiT, 4 heads x 24, depth 4, 32 px, patch 4")
        .ran("10 and 100 % of the training images, seeds 1 to 3")
        .table("table2", table)
        .figure("sample-efficiency", figure)
        .claim(
            lead_grows_as_x_shrinks(published.claim("convit.1").unwrap(), "ConViT", "DeiT", &points).judge(),
        )
        .differs("Data: synthetic images at 32 px instead of ImageNet at 224 px.")
        .fact("machine", "2 cores")
        .fact("inductive", "0.1.0");
    report.command = "cargo xtask reproduce convit --preset quick --seeds 3".into();
    report
}

#[test]
fn markdown() {
    insta::assert_snapshot!(report().markdown());
}

#[test]
fn json() {
    // The last digits of an interval depend on the platform's `tan`.
    let mut report = report();
    for interval in report.claims.iter_mut().flat_map(|c| &mut c.pieces).filter_map(|p| p.interval.as_mut()) {
        for end in [&mut interval.low, &mut interval.high] {
            *end = (*end * 1e9).round() / 1e9;
        }
    }
    insta::assert_snapshot!(report.tables_json());
}

#[test]
fn terminal_in_unicode() {
    insta::assert_snapshot!(report().terminal(&Terminal::default()));
}

#[test]
fn terminal_in_ascii_is_ascii() {
    let text = report().terminal(&Terminal { charset: Charset::Ascii, ..Terminal::default() });
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_report_of_nothing_claims_nothing() {
    assert_eq!(Report::new("empty").markdown(), "# empty\n");
    assert_eq!(Report::new("empty").terminal(&Terminal::default()), "");
}

#[test]
fn the_folder_holds_exactly_the_files_returned_and_no_temporary_ones() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("runs/convit");
    let written = report().write(&target).unwrap();
    let mut found = Vec::new();
    for dir in [target.join("figures"), target.clone()] {
        found.extend(std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()));
    }
    found.sort();
    let mut expected = written.clone();
    expected.sort();
    assert_eq!(found, expected);
    assert!(written.last().unwrap().ends_with("report.md"));
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(target.join("tables.json")).unwrap()).unwrap();
    assert_eq!(json["claims"][0]["id"], "convit.1");
}

#[test]
fn writing_again_replaces_the_files() {
    let folder = tempfile::tempdir().unwrap();
    report().write(folder.path()).unwrap();
    let mut second = report();
    second.title = "second".into();
    second.write(folder.path()).unwrap();
    assert!(std::fs::read_to_string(folder.path().join("report.md")).unwrap().starts_with("# second\n"));
}

#[test]
fn a_file_that_cannot_be_replaced_is_named_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("tables.json/in-the-way")).unwrap();
    let error = report().write(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Write { path, .. } if path.ends_with("tables.json")), "{error}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{names:?}");
}

#[test]
fn names_that_would_leave_the_folder_or_collide_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for names in [&["../evil"][..], &[""], &["a/b"], &["a b"], &["fig", "Fig"]] {
        let mut report = Report::new("names");
        for name in names {
            report.figure(*name, Figure::new("", Axis::linear(""), Axis::linear("")));
        }
        let error = report.write(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Name { what: "figure", .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_claim_with_one_seed_is_reported_undecided() {
    let published = Published::embedded().unwrap();
    let test = crate::verdict::ClaimTest::new(published.claim("convit.3").unwrap());
    let one = Comparison::new("alpha 1 > alpha .01", "points", seeds(&[60.0]), seeds(&[20.0]));
    let mut report = Report::new("one seed");
    report.claim(test.piece(one).judge());
    let markdown = report.markdown();
    assert!(markdown.contains("**undecided** | 1 |") && markdown.contains("+40.00 points"), "{markdown}");
    assert!(
        markdown.contains("- alpha 1 > alpha .01: one seed gives no interval; run more seeds."),
        "{markdown}"
    );
}

#[test]
fn what_is_no_report_is_refused_before_anything_is_written() {
    let names = |folder: &std::path::Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let figure = format!("{}.svg", report().figures[0].name);
    for (name, content) in [
        ("report.md", "# my own report"),
        ("tables.json", r#"{"tables": []}"#),
        ("tables.json", "no JSON"),
        (&format!("figures/{figure}"), "<svg>mine</svg>"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let before = names(folder.path());
        let error = report().write(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Foreign { path: named } if *named == path), "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        assert_eq!(names(folder.path()), before);
        assert_eq!(Report::check(folder.path()).is_err(), !name.contains("figures"), "{name}");
    }
}

#[test]
fn a_report_that_was_cut_short_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    report().write(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join("report.md")).unwrap();
    report().write(folder.path()).unwrap();
    assert!(folder.path().join("report.md").exists());
}

#[test]
fn words_from_outside_do_not_steer_a_terminal_in_any_form_of_a_report() {
    let name = "a\u{1b}[31m\u{9b}2J\rb\u{202e}\n# forged\n";
    let mut report = report();
    report.title = name.to_owned();
    report.command = name.to_owned();
    report.ran(name).differs(name).next_step(name).fact(name, name);
    let mut table = Table::new(name, [Column::left(name)]);
    table.row([Cell::text(name)]).note(name);
    report.table("hostile", table);
    report.figure("hostile", Figure::new(name, Axis::linear(name), Axis::linear(name)).caption(name));
    let figure = report.figures[1].figure.svg();
    let texts = [report.terminal(&Terminal::default()), report.markdown(), report.tables_json(), figure];
    for text in texts {
        let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(harmful), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("# forged")), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.tables_json()).unwrap();
    assert_eq!(json["title"], name, "the value is the same");
}
