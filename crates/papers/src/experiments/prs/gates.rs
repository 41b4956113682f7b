//! How the share of position in attention falls while training goes on, layer by layer (ConViT, arXiv 2103.10697, Fig. 6).

use inductive_train::Metrics;

use super::{
    super::{CellResult, Preset, Protocol, Request, Result, results::layers},
    arms::{self, BLURRED, LAYERS, Scale},
    correlation::{rank_with_depth, with_depth},
    side_study,
    tables::{curve, layers_axis},
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Gates of attention that begins as ConViT's does.
pub(in super::super) const GATES: Protocol = Protocol {
    paper: "prs",
    table: "gates",
    about: "share of position by layer and time, of attention that begins as blurred convolution (ConViT Fig. 6)",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

fn scale(preset: Preset) -> Scale {
    let evaluations = if preset == Preset::Smoke { 2 } else { 8 };
    Scale { evaluations, ..side_study(preset, &[BLURRED]) }
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let published = Published::embedded()?;
    let fraction = scale.fractions[0];
    let mut report = Report::new("PRS: do gates leave position, and late layers first?");
    report.ran(
        "Asked: ConViT's gates leave position in the late layers first (its Fig. 6), an independent precedent for late \
         layers that leave convolution first. Do they here?",
    );
    report.ran(arms::network(request, &scale));
    report.ran(arms::how(request, &scale));
    report.ran(
        "Attention from the first update with ConViT's initial values: alpha 1, a sigmoid gate of 1, share of position \
         0.731.",
    );

    let correlation = |of: fn(&[f64]) -> f64| -> Seeded {
        let last = |run: &CellResult| Some((run.cell.seed, of(&run.result.metrics.last()?.gates)));
        results.iter().filter_map(last).collect()
    };
    let (line, rank) = (correlation(with_depth), correlation(rank_with_depth));
    report.table("gates", table(results, fraction, &rank)).table("published", printed(published));
    report.figure("gates-over-depth", over_depth(results)).figure("gates-over-time", over_time(results));

    let zeros: Seeded = line.iter().map(|(seed, _)| (seed, 0.0)).collect();
    let falls = (!rank.is_empty()).then(|| rank.values().iter().all(|it| *it < 0.0));
    let left = layers(results, BLURRED.variant, fraction, |m| &m.gates);
    report.claim(
        ClaimTest::new(published.claim("prs.C2")?)
            .piece(Comparison::new(
                "0 > correlation of the final share of position with depth",
                "(correlation)",
                zeros,
                line,
            ))
            .observe("the rank correlation is below 0 in every seed", falls)
            .observe(
                "all layers have left their initial share of position, 0.731, downwards in the mean",
                (!left.is_empty()).then(|| left.iter().all(|it| *it < START)),
            )
            .judge(),
    );
    report.differs(
        "ConViT-S has 12 layers of 16 x 16 patches, 300 epochs of ImageNet and heads of their own channels",
    );
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.next_step("whether a schedule that follows this order helps: `--table schedule`");
    Ok(report)
}

/// The initial share of position.
const START: f64 = 0.731;

/// Mean over seeds at each evaluation.
fn over_runs(results: &[CellResult]) -> Vec<(f64, Vec<f64>)> {
    let lines = results.iter().map(|it| it.result.metrics.len()).min().unwrap_or(0);
    let mean = |at: usize| {
        let here: Vec<&Metrics> = results.iter().map(|it| &it.result.metrics[at]).collect();
        let end = results[0].result.metrics[results[0].result.metrics.len() - 1].step;
        let gates = |layer| here.iter().filter_map(|m| m.gates.get(layer)).sum::<f64>() / here.len() as f64;
        (100.0 * here[0].step as f64 / end as f64, (0..LAYERS).map(gates).collect())
    };
    (0..lines).map(mean).collect()
}

fn table(results: &[CellResult], fraction: f64, rank: &Seeded) -> Table {
    let columns = [Column::left("time")]
        .into_iter()
        .chain((1..=LAYERS).map(|layer| Column::right(format!("layer {layer}"))));
    let mut table = Table::new("Share of position, mean over heads and seeds", columns);
    for (percent, gates) in over_runs(results) {
        let cells = gates.iter().map(|gate| Entry::number(*gate, 3));
        table.row([Entry::text(format!("{percent:.0} %"))].into_iter().chain(cells));
    }
    let each: Vec<String> = rank.iter().map(|(seed, it)| format!("{it:+.2} (seed {seed})")).collect();
    table.note(format!(
        "At the start {START} everywhere. Rank correlation of the final share with depth: {}. {} of the training images.",
        each.join(", "),
        super::super::percent(fraction)
    ));
    table
}

/// The shares of position that the paper's figures print, of four layers of ConViT-S.
fn printed(published: &Published) -> Table {
    let mut table = Table::new(
        "Published: shares of position of ConViT-S after 300 epochs of ImageNet, head by head",
        [Column::left("layer, of 12"), Column::right("heads")],
    );
    for layer in [0, 3, 6, 9] {
        let heads = (0..9).flat_map(|head| {
            let (row, column) = (format!("ConViT-S blocks.{layer}"), format!("head {head} sigma(lambda)"));
            published.value("convit", "fig7-16-17", &row, &column)
        });
        table.row([Entry::text((layer + 1).to_string()), Entry::published(heads.collect::<Vec<_>>())]);
    }
    table.note("A trend, not a strict order: the paper's own means of these layers are not monotone.");
    table
}

fn over_depth(results: &[CellResult]) -> Figure {
    let runs = over_runs(results);
    let figure =
        Figure::new("Share of position over depth", layers_axis(), Axis::linear("share of position"))
            .caption("Mean over heads and seeds.");
    let shown = [runs.len() / 4, runs.len() / 2, runs.len().saturating_sub(1)];
    let mut shown: Vec<_> = shown.into_iter().filter_map(|at| runs.get(at)).collect();
    shown.dedup_by_key(|it| it.0);
    let start = curve("start", 0, &[START; LAYERS]);
    shown.iter().enumerate().fold(figure.series(start), |figure, (hue, (percent, gates))| {
        figure.series(curve(&format!("after {percent:.0} % of the run"), hue + 1, gates))
    })
}

fn over_time(results: &[CellResult]) -> Figure {
    let runs = over_runs(results);
    let figure = Figure::new(
        "Share of position over time",
        Axis::linear("share of the run, %"),
        Axis::linear("share of position"),
    )
    .caption("Mean over heads and seeds.");
    (0..LAYERS).fold(figure, |figure, layer| {
        let series = Series::measured(format!("layer {}", layer + 1), layer).point(0.0, START);
        figure
            .series(runs.iter().fold(series, |series, (percent, gates)| series.point(*percent, gates[layer])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Verdict,
        experiments::prs::tests::{finished_with, request},
    };

    fn verdict(gates: impl Fn(u64) -> Vec<f64>) -> Verdict {
        let request = request(Preset::Small);
        let cells = (GATES.cells)(&request).unwrap();
        let results: Vec<_> = cells
            .into_iter()
            .map(|cell| {
                let gates = gates(cell.seed);
                finished_with(cell, 50.0, |m| m.gates = gates.clone())
            })
            .collect();
        let report = report(&request, &results).unwrap();
        assert!(report.markdown().contains("0.92"), "the published share of a head of the first layer");
        report.claims[0].verdict
    }

    #[test]
    fn late_layers_that_leave_position_first_make_the_claim_hold() {
        let falling = |seed: u64| vec![0.7, 0.65, 0.5, 0.55, 0.3, 0.1 + 0.05 * seed as f64];
        assert_eq!(verdict(falling), Verdict::Holds);
        assert_eq!(verdict(|seed| falling(seed).into_iter().rev().collect()), Verdict::Fails);
        let mixed = |seed: u64| {
            if seed.is_multiple_of(2) { falling(0) } else { falling(0).into_iter().rev().collect() }
        };
        assert_eq!(verdict(mixed), Verdict::Undecided);
    }
}
