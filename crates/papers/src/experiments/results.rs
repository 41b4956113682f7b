//! What finished runs measured, by arm of the comparison.

use inductive_train::Metrics;

use super::CellResult;
use crate::{Seeded, Verdict, stats::t_quantile, verdict::Judged};
use inductive_report::table::{Cell as Entry, Column, Table};

/// Finished runs of one arm at a share of the data.
fn runs<'a>(
    results: &'a [CellResult],
    variant: &'a str,
    fraction: f64,
) -> impl Iterator<Item = (u64, &'a Metrics)> {
    results
        .iter()
        .filter(move |r| r.cell.variant == variant && r.cell.fraction == fraction)
        .filter_map(|r| Some((r.cell.seed, r.result.metrics.last()?)))
}

/// `measure` at the end of all runs of an arm, by seed.
pub(super) fn of_arm(
    results: &[CellResult],
    variant: &str,
    fraction: f64,
    measure: impl Fn(&Metrics) -> f64,
) -> Seeded {
    runs(results, variant, fraction).map(|(seed, metrics)| (seed, measure(metrics))).collect()
}

/// Mean over seeds of a list with one number per layer.
pub(super) fn layers(
    results: &[CellResult],
    variant: &str,
    fraction: f64,
    list: fn(&Metrics) -> &Vec<f64>,
) -> Vec<f64> {
    let lists: Vec<&Vec<f64>> = runs(results, variant, fraction).map(|(_, metrics)| list(metrics)).collect();
    let depth = lists.iter().map(|l| l.len()).min().unwrap_or(0);
    (0..depth).map(|i| lists.iter().map(|l| l[i]).sum::<f64>() / lists.len() as f64).collect()
}

/// [`layers`] as text.
pub(super) fn profile(
    results: &[CellResult],
    variant: &str,
    fraction: f64,
    list: fn(&Metrics) -> &Vec<f64>,
) -> String {
    let values = layers(results, variant, fraction, list);
    values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ")
}

/// Whether two sides are within `bound` of each other: `None` where the seeds cannot say.
pub(super) fn alike(judged: &Judged, bound: f64) -> Option<bool> {
    let interval = judged.interval?;
    if -bound <= interval.low && interval.high <= bound {
        return Some(true);
    }
    (judged.verdict != Verdict::Undecided).then_some(false)
}

/// Comparisons that no claim is judged by, each with the question it belongs to; those without a pair are left out.
pub(super) fn comparisons(title: &str, unit: &str, questions: &[(&str, Judged)]) -> Table {
    let columns = [
        Column::left("question"),
        Column::left("statement"),
        Column::right(format!("difference, {unit}")),
        Column::right("95 % interval"),
        Column::right("n"),
        Column::left("verdict"),
    ];
    let mut table = Table::new(title, columns);
    for (group, judged) in questions.iter().filter(|(_, judged)| judged.n > 0) {
        let interval = judged.interval.map(|it| format!("{:+.1} to {:+.1}", it.low, it.high));
        table.row([
            Entry::text(*group),
            Entry::text(&judged.statement),
            judged.difference.map_or(Entry::Empty, |it| Entry::text(format!("{it:+.1}"))),
            interval.map_or(Entry::Empty, Entry::text),
            Entry::count(judged.n),
            Entry::text(judged.verdict.to_string()),
        ]);
    }
    table.note(
        "Intervals are Student-t's and not widened for the number of comparisons: of twenty that have no effect one is expected \
         to be decided by chance.",
    );
    table
}

/// The most seeds worth naming.
const MANY_SEEDS: usize = 10_000;

/// How many paired seeds would decide an undecided comparison if mean and spread of the differences stayed as they are.
pub(super) fn seeds_needed(judged: &Judged) -> Option<usize> {
    let (difference, interval) = (judged.difference?.abs(), judged.interval?);
    let half = 0.5 * (interval.high - interval.low);
    let deviation = half * (judged.n as f64).sqrt() / t_quantile(0.975, judged.n - 1);
    let decides = |n: &usize| t_quantile(0.975, n - 1) * deviation / (*n as f64).sqrt() < difference;
    (judged.verdict == Verdict::Undecided).then(|| (judged.n + 1..=MANY_SEEDS).find(decides))?
}

/// A finished run with this accuracy.
#[cfg(test)]
pub(super) fn finished(cell: super::Cell, top1: f64) -> CellResult {
    use inductive_train::{Best, RunResult};
    let metrics = Metrics {
        epoch: 1.0,
        step: 6,
        train_loss: 2.0,
        train_top1: 30.0,
        test_loss: 2.0,
        test_top1: top1,
        test_top5: top1 + 20.0,
        ema: None,
        lr: 1e-3,
        images_per_s: 100.0,
        seconds: 1.0,
        gates: vec![0.7],
        switched: Vec::new(),
        head_positions: Vec::new(),
        nonlocality: vec![1.8, 4.0],
        head_diversity: vec![0.5, top1 / 100.0],
        high_frequency: vec![0.3, top1 / 200.0],
        target_mass: Vec::new(),
        stable_rank: vec![2.0, 3.0],
        nuclear_rank: vec![5.0, 6.0],
        fourier: Vec::new(),
    };
    let best = Best { step: 6, epoch: 1.0, top1 };
    CellResult { cell, result: RunResult { metrics: vec![metrics], start: None, best, folder: "run".into() } }
}
