//! What a report says of its runs as a whole: which of them learned nothing, and with which initial weights they began.

use std::collections::{BTreeMap, BTreeSet};

use inductive_init::initializer_names;
use inductive_models::find;

use super::{CellResult, Preset, percent};
use crate::{Report, Verdict};
use inductive_report::{figure::Guide, table::Cell as Entry};

/// A run has learned something if its accuracy is this many times that of guessing.
const LEARNED: f64 = 1.5;
/// What the y axis of a figure of accuracies is called.
const ACCURACY: &str = "top-1, %";
/// What a column of verdicts is called.
const VERDICT: &str = "verdict";

/// Accuracy of guessing on data of so many classes, percent.
fn guessing(classes: usize) -> f64 {
    100.0 / classes.max(1) as f64
}

/// `10`, `2.7`
fn in_percent(level: f64) -> String {
    format!("{level:.1}").trim_end_matches(".0").to_owned()
}

/// Completes the report of runs on data of so many classes: figures of accuracy get the line of guessing; where a run is at
/// guessing no verdict stands; a preset that is not meant to learn has none.
pub(super) fn complete(report: &mut Report, preset: Preset, results: &[CellResult], classes: usize) {
    let level = guessing(classes);
    let percent = in_percent(level);
    for named in report.figures.iter_mut().filter(|named| named.figure.y.label == ACCURACY) {
        named.figure.guide = Some(Guide { name: format!("guessing, {percent} %"), at: level });
    }
    if preset == Preset::Smoke {
        report.claims.retain(|claim| claim.pieces.is_empty() && !claim.checks.is_empty());
        replace_verdicts(report, &Entry::Empty);
        // They are drawn from verdicts.
        report.next_steps.clear();
        report.remark(
            "Preset smoke only shows that everything runs. Its runs are too short to learn: no claim is judged by them.",
        );
        return;
    }
    let idle = at_guessing(results, level);
    if idle.is_empty() {
        return;
    }
    let arms = idle.join("; ");
    for claim in report.claims.iter_mut().filter(|claim| !claim.pieces.is_empty()) {
        claim.verdict = Verdict::NothingLearned;
        claim.reason = format!("at guessing ({percent} %), so that differences say nothing: {arms}");
        claim.pieces.iter_mut().for_each(|piece| piece.verdict = Verdict::NothingLearned);
    }
    replace_verdicts(report, &Entry::text(Verdict::NothingLearned.to_string()));
    report.remark(format!(
        "Nothing was learned, top-1 below {:.1} %, by: {arms}. So nothing is decided.",
        LEARNED * level
    ));
    report.next_steps.clear();
    report.next_step("Longer runs, or other data: of models that guess, no difference can be judged.");
}

/// Arms with a run that is not better than guessing, each with its seeds.
fn at_guessing(results: &[CellResult], level: f64) -> Vec<String> {
    let mut arms: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for CellResult { cell, result } in results {
        // Not a number is no better than guessing.
        let learned = result.metrics.last().is_some_and(|last| last.test_top1 >= LEARNED * level);
        if !learned {
            arms.entry(format!("{} at {}", cell.variant, percent(cell.fraction)))
                .or_default()
                .push(cell.seed);
        }
    }
    let text = |(arm, seeds): (String, Vec<u64>)| {
        let seeds: Vec<_> = seeds.iter().map(u64::to_string).collect();
        format!("{arm} (seed {})", seeds.join(", "))
    };
    arms.into_iter().map(text).collect()
}

/// Tables of comparisons have verdicts too.
fn replace_verdicts(report: &mut Report, by: &Entry) {
    for table in report.tables.iter_mut().map(|named| &mut named.table) {
        let columns: Vec<usize> =
            (0..table.columns.len()).filter(|&at| table.columns[at].name == VERDICT).collect();
        for row in &mut table.rows {
            columns.iter().for_each(|&at| row[at] = by.clone());
        }
    }
}

/// Says where models began with other weights than the published ones.
pub(super) fn initial_weights(report: &mut Report, results: &[CellResult]) {
    let mut models: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for CellResult { cell, .. } in results.iter().filter(|result| result.cell.recipe.init.is_none()) {
        if let Some(init) = find(&cell.recipe.model).ok().and_then(|entry| entry.init().map(str::to_owned)) {
            models.entry(init).or_default().insert(&cell.recipe.model);
        }
    }
    let names = initializer_names();
    for (init, models) in models {
        let models: Vec<_> = models.into_iter().map(|model| format!("`{model}`")).collect();
        let what = names.iter().find(|(name, _)| *name == init).map_or("", |(_, what)| what.as_str());
        report.differs(format!(
            "initial weights of {}: by the width of their layers (`init = {init:?}`: {what}) instead of the published ones, which \
             are made for wider models: N(0, 0.02^2), of EIT N(0, 0.01^2), of PRS not known",
            models.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use inductive_train::Recipe;

    use super::*;
    use crate::{
        Published, Seeded,
        experiments::{Cell, tests::finished},
        verdict::{ClaimTest, Comparison},
    };
    use inductive_report::{
        figure::{Axis, Figure, Series},
        table::{Column, Table},
        text::Terminal,
    };

    fn run(variant: &str, model: &str, seed: u64, top1: f64) -> CellResult {
        let recipe = Recipe { model: model.to_owned(), ..Recipe::default() };
        finished(
            Cell { name: variant.to_owned(), variant: variant.to_owned(), fraction: 0.1, seed, recipe },
            top1,
        )
    }

    fn report() -> Report {
        let claim = Published::embedded().unwrap().claim("convit.1").unwrap();
        let seeds = |values: [f64; 3]| -> Seeded { (0..).zip(values).collect() };
        let piece = Comparison::new("a > b", "points", seeds([50.0, 51.0, 52.0]), seeds([10.0, 11.5, 12.0]));
        let mut report = Report::new("a study");
        report.claim(ClaimTest::new(claim).piece(piece).judge());
        let mut table = Table::new("controls", [Column::left("question"), Column::left(VERDICT)]);
        table.row([Entry::text("a > b"), Entry::text("holds")]);
        let figure = Figure::new("accuracy", Axis::linear("x"), Axis::linear(ACCURACY));
        report
            .table("controls", table)
            .figure("accuracy", figure.series(Series::measured("a", 0).point(1.0, 50.0)));
        report
    }

    #[test]
    fn verdicts_stand_where_every_run_has_learned() {
        let mut report = report();
        complete(
            &mut report,
            Preset::Quick,
            &[run("a", "deit_micro", 0, 50.0), run("b", "deit_micro", 0, 15.1)],
            10,
        );
        assert_eq!(report.claims[0].verdict, Verdict::Holds);
        assert!(report.tables[0].table.rows[0][1] == Entry::text("holds") && report.next_steps.is_empty());
    }

    #[test]
    fn one_run_at_guessing_takes_every_verdict_away_and_is_named() {
        for top1 in [10.4, f64::NAN] {
            let mut report = report();
            report.next_step("a > b holds: go on with a");
            let results = [
                run("a", "deit_micro", 0, 50.0),
                run("b", "deit_micro", 0, 40.0),
                run("b", "deit_micro", 1, top1),
            ];
            complete(&mut report, Preset::Quick, &results, 10);
            let claim = &report.claims[0];
            assert!(
                claim.verdict == Verdict::NothingLearned
                    && claim.pieces[0].verdict == Verdict::NothingLearned
            );
            assert!(
                claim.reason.contains("b at 10% (seed 1)") && !claim.reason.contains("a at"),
                "{}",
                claim.reason
            );
            let text = report.markdown();
            let decided = ["**holds**", "| holds |", "convit.1: holds", "go on with a"];
            assert!(decided.iter().all(|it| !text.contains(it)), "{text}");
            assert!(
                text.contains("**nothing was learned**") && text.contains("| nothing was learned |"),
                "{text}"
            );
        }
    }

    #[test]
    fn smoke_has_no_verdicts_whatever_came_out() {
        let mut report = report();
        report.next_step("a > b holds: go on with a");
        complete(&mut report, Preset::Smoke, &[run("a", "deit_micro", 0, 99.0)], 10);
        assert!(
            report.claims.is_empty()
                && report.next_steps.is_empty()
                && report.tables[0].table.rows[0][1] == Entry::Empty
        );
        let said = "no claim is judged";
        assert!(report.markdown().contains(said) && report.terminal(&Terminal::default()).contains(said));
    }

    #[test]
    fn accuracies_are_drawn_beside_guessing() {
        let mut report = report();
        complete(&mut report, Preset::Quick, &[run("a", "deit_micro", 0, 50.0)], 100);
        let figure = &report.figures[0].figure;
        assert_eq!(figure.guide.as_ref().map(|guide| guide.at), Some(1.0));
        assert!(figure.svg().contains("guessing, 1 %"));
        assert_eq!([10, 37, 200].map(|classes| in_percent(guessing(classes))), ["10", "2.7", "0.5"]);
        assert!(figure.terminal(&Terminal::default(), 10).contains("guessing, 1 %"));
    }

    #[test]
    fn initial_weights_that_are_not_the_published_ones_are_said_and_asked_for_ones_are_not() {
        let mut asked = run("b", "deit_micro", 0, 50.0);
        asked.cell.recipe.init = Some("kaiming".into());
        let mut report = report();
        initial_weights(
            &mut report,
            &[run("a", "convit_micro", 0, 50.0), run("c", "resnet_micro", 0, 50.0), asked],
        );
        assert_eq!(report.differences.len(), 1);
        assert!(report.differences[0].contains("`convit_micro`: by the width"), "{:?}", report.differences);
    }
}
