//! What the tables of the four papers run, and what its report makes of results: as it was, until somebody wants it otherwise.
//!
//! A cell that changes is a run that is made again; a changelog line says which, and why.

mod made_up;

use std::{collections::BTreeMap, fmt::Write as _};

use inductive_papers::{
    Report,
    experiments::{Preset, Request, Study},
};
use inductive_report::figure::{Axis, Figure, Origin};
use inductive_train::Recipe;

fn study(paper: &str, table: &str, preset: Preset, data: &str) -> Study {
    let request =
        Request { table: Some(table.to_owned()), data: data.to_owned(), preset, ..Request::new(paper) };
    Study::new(request).unwrap()
}

/// The tables whose cells results in `docs` stand on, or will. A new experiment joins when it has run.
const FROZEN: [(&str, &str); 14] = [
    ("convit", "table2"),
    ("eit", "claims"),
    ("eit", "exact"),
    ("prs", "ablation"),
    ("prs", "exact"),
    ("prs", "fractions"),
    ("prs", "gates"),
    ("prs", "offsets"),
    ("prs", "schedule"),
    ("structured-init", "claims"),
    ("structured-init", "convmixer"),
    ("structured-init", "exact"),
    ("structured-init", "full"),
    ("structured-init", "heads"),
];

/// Every field of a recipe by its path: `keep.last`.
fn fields(recipe: &Recipe) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, into);
                }
            }
            value => drop(into.insert(path.to_owned(), value.to_string())),
        }
    }
    let mut fields = BTreeMap::new();
    walk("", &toml::Value::try_from(recipe.resolve().unwrap()).unwrap(), &mut fields);
    fields
}

/// The folders of a study's runs in their order, each with what its recipe has that not all have.
fn cells(study: &Study) -> String {
    let mut out = format!("{}\n", study.folder.display());
    let recipes: Vec<_> = study.cells.iter().map(|cell| fields(&cell.recipe)).collect();
    let Some(first) = recipes.first() else { return out + "  trains nothing\n" };
    let (same, _): (Vec<_>, Vec<_>) =
        first.iter().partition(|(key, value)| recipes.iter().all(|it| it.get(*key) == Some(value)));
    for (key, value) in &same {
        let _ = writeln!(out, "  {key} = {value}");
    }
    for (cell, recipe) in study.cells.iter().zip(&recipes) {
        let own = recipe.iter().filter(|(key, value)| !same.contains(&(key, value)));
        let own: Vec<String> = own.map(|(key, value)| format!("{key} = {value}")).collect();
        let folder = study.cell_folder(cell);
        let name = folder.file_name().unwrap().to_string_lossy();
        let _ = writeln!(out, "{name} ({} at {}): {}", cell.variant, cell.fraction, own.join(", "));
    }
    out
}

#[test]
fn the_papers_tables_run_the_cells_they_ran() {
    for (paper, table) in FROZEN {
        let mut out = String::new();
        for preset in Preset::ALL {
            let _ = writeln!(out, "== {preset}\n{}", cells(&study(paper, table, preset, "synthetic")));
        }
        let _ = writeln!(
            out,
            "== small, CIFAR-100\n{}",
            cells(&study(paper, table, Preset::Small, "cifar100:DIR"))
        );
        let _ = writeln!(out, "== paper\n{}", "paper".parse::<Preset>().unwrap_err());
        insta::assert_snapshot!(format!("cells-{paper}-{table}"), out);
    }
}

/// A figure in numbers.
fn drawn(name: &str, figure: &Figure) -> String {
    let axis = |axis: &Axis| {
        let ticks: Vec<_> =
            axis.ticks.iter().flatten().map(|tick| format!("{}: {}", tick.at, tick.label)).collect();
        format!("{} ({:?}; {})", axis.label, axis.scale, ticks.join(", "))
    };
    let mut out = format!("{name}\n  x: {}\n  y: {}\n", axis(&figure.x), axis(&figure.y));
    for series in &figure.series {
        let points = series.points.iter().map(|point| {
            let error = point.error.map_or(String::new(), |it| format!(" ± {it:.6}"));
            format!("{:.6} {:.6}{error}", point.x, point.y)
        });
        let from = if series.origin == Origin::Published { ", published" } else { "" };
        let points: Vec<_> = points.collect();
        let _ = writeln!(out, "  {} (hue {}{from}): {}", series.name, series.hue, points.join("; "));
    }
    out
}

fn reported(report: &Report) -> String {
    let figures: String = report.figures.iter().map(|it| drawn(&it.name, &it.figure)).collect();
    format!("{}\n\n== Figures in numbers\n{figures}", report.markdown())
}

#[test]
fn the_papers_tables_report_what_they_reported() {
    for (paper, table) in FROZEN {
        for preset in [Preset::Quick, Preset::Small] {
            let study = study(paper, table, preset, "synthetic");
            // What is computed anew stands in tests of its own.
            if study.cells.is_empty() {
                continue;
            }
            let results: Vec<_> = study.cells.iter().map(made_up::run).collect();
            let report = study.measured(&results).unwrap();
            let name = format!("report-{paper}-{table}-{preset}");
            insta::assert_snapshot!(name, reported(&report));
        }
    }
}
