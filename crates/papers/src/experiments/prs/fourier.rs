//! What operators do to high frequencies (Park & Kim, arXiv 2202.06709), and where the time of the switch puts a network
//! between a convolutional one and one of attention.

use inductive_nn::OperatorKind;
use inductive_train::{FourierPoint, Metrics};

use super::{
    super::Result,
    arms::{Arm, FROM_START, NEVER, RANDOM, SWEEP},
    correlation::spearman,
    tables::Measured,
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Mean of what `of` gives for the operators of one kind; NaN where there is none.
fn mean(metrics: &Metrics, kind: OperatorKind, of: impl Fn(&FourierPoint) -> Option<f64>) -> f64 {
    // What changes the grid has another highest frequency after it.
    let points = metrics.fourier.iter().filter(|it| it.kind == kind && !it.downsamples);
    let values: Vec<f64> = points.filter_map(of).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// The highest frequency of the stream, mean over depth; NaN where it was not measured.
fn level(metrics: &Metrics) -> f64 {
    metrics.fourier.iter().map(|it| it.stream).sum::<f64>() / metrics.fourier.len() as f64
}

/// The unit of verdicts: differences between arms are small.
const UNIT: &str = "1e-3 nats";

/// In [`UNIT`].
fn milli(values: &Seeded) -> Seeded {
    values.iter().map(|(seed, value)| (seed, 1e3 * value)).collect()
}

/// Adds tables, figures and the verdicts on claims prs.C3 and prs.C4.
pub(super) fn add(report: &mut Report, measured: &Measured<'_>) -> Result<()> {
    report
        .table("filters", filters(measured))
        .table("frequencies", sweep(measured))
        .figure("frequencies-over-depth", over_depth(measured))
        .figure("frequencies-by-time", by_time(measured));
    let published = Published::embedded()?;

    let across = |arm: Arm, kind| milli(&measured.of(arm, |m| mean(m, kind, |point| point.change)));
    let attention = across(FROM_START, OperatorKind::Attention);
    let convolution = across(NEVER, OperatorKind::Convolution);
    let zero = |of: &Seeded| -> Seeded { of.iter().map(|(seed, _)| (seed, 0.0)).collect() };
    let apart = attention.minus(&convolution).summary().map(|difference| difference.mean < 0.0);
    let random = across(RANDOM, OperatorKind::Attention).summary().map(|change| change.mean < 0.0);
    report.claim(
        ClaimTest::new(published.claim("prs.C3")?)
            .piece(Comparison::new(
                "0 > change across attention, trained from the start",
                UNIT,
                zero(&attention),
                attention,
            ))
            .piece(Comparison::new(
                "change across convolutions > 0, convolution throughout",
                UNIT,
                convolution.clone(),
                zero(&convolution),
            ))
            .observe("the change across attention is below that across convolutions, in the mean", apart)
            .observe("the change across attention from random positions is below 0, in the mean", random)
            .judge(),
    );

    // By claim prs.C3 the convolutional end is the higher one.
    let level_of = |arm: Arm| milli(&measured.of(arm, level));
    let run: Vec<_> = SWEEP.into_iter().filter(|(_, arm)| measured.scale.has(*arm)).collect();
    let mut test = ClaimTest::new(published.claim("prs.C4")?).piece(Comparison::new(
        "highest frequency, mean over depth: never > from-start",
        UNIT,
        level_of(NEVER),
        level_of(FROM_START),
    ));
    for (_, arm) in run.iter().filter(|(percent, _)| *percent > 0.0 && *percent < 100.0) {
        for (above, below) in [(NEVER, *arm), (*arm, FROM_START)] {
            let statement = format!("{} > {}", above.variant, below.variant);
            test = test.piece(Comparison::new(statement, UNIT, level_of(above), level_of(below)));
        }
    }
    let apart = |arm: Arm| Some(level_of(arm).minus(&level_of(NEVER)).summary()?.mean.abs());
    let smaller = apart(FROM_START).zip(apart(RANDOM)).map(|(from_start, random)| 10.0 * from_start < random);
    let ranks = rank_correlations(measured);
    let mean_rank = ranks.summary().filter(|it| it.mean.is_finite()).map(|it| it.mean > 0.5);
    report.claim(
        test.observe("the mean rank correlation with the time of the switch is above 0.5", mean_rank)
            .observe(
                "the ends are less than a tenth as far apart as convolution and random positions",
                smaller,
            )
            .judge(),
    );
    Ok(())
}

/// Of each seed: Spearman's correlation of the mean over depth with the time of the switch.
fn rank_correlations(measured: &Measured<'_>) -> Seeded {
    let run: Vec<_> = SWEEP.into_iter().filter(|(_, arm)| measured.scale.has(*arm)).collect();
    let levels: Vec<(f64, Seeded)> =
        run.iter().map(|(percent, arm)| (*percent, measured.of(*arm, level))).collect();
    let times: Vec<f64> = levels.iter().map(|(percent, _)| *percent).collect();
    let seeds = levels.first().map(|(_, values)| values.clone()).unwrap_or_default();
    let of_seed = |seed| levels.iter().map(|(_, values)| values.get(seed)).collect::<Option<Vec<f64>>>();
    seeds.iter().filter_map(|(seed, _)| Some((seed, spearman(&times, &of_seed(seed)?)))).collect()
}

fn filters(measured: &Measured<'_>) -> Table {
    let mut table = Table::new(
        "What operators do to the highest frequency: mean over those of a kind and seeds, nats",
        [
            Column::left("arm"),
            Column::left("operators"),
            Column::right("change of the stream"),
            Column::right("branch alone, over the stream before"),
        ],
    );
    for arm in measured.scale.arms {
        for kind in [OperatorKind::Convolution, OperatorKind::Attention, OperatorKind::Mlp] {
            let stream = measured.of(*arm, |m| mean(m, kind, |point| point.change));
            // A network without such operators has none.
            if stream.values().iter().all(|it| it.is_nan()) {
                continue;
            }
            let branch = measured.of(*arm, |m| mean(m, kind, FourierPoint::branch_change));
            table.row([
                Entry::text(arm.variant),
                Entry::text(kind.name()),
                Entry::measured(stream.summary(), 3),
                Entry::measured(branch.summary(), 3),
            ]);
        }
    }
    table.note(
        "Relative log amplitude at the highest frequency of the half-diagonal (arXiv 2202.06709), after less before; \
         negative: a low-pass filter. Its authors warn that 32 pixels are too few: 8 x 8 patches have four frequencies, 4 \
         x 4 have two.",
    );
    table
}

fn sweep(measured: &Measured<'_>) -> Table {
    let mut table = Table::new(
        "Highest frequency of the stream by the share of the run in convolution",
        [
            Column::right("in convolution, %"),
            Column::left("arm"),
            Column::right("mean over depth, nats"),
            Column::right("after the last block"),
        ],
    );
    for (percent, arm) in SWEEP.into_iter().filter(|(_, arm)| measured.scale.has(*arm)) {
        let last = measured.of(arm, |m| m.fourier.last().map_or(f64::NAN, |it| it.stream));
        table.row([
            Entry::number(percent, 0),
            Entry::text(arm.variant),
            Entry::measured(measured.of(arm, level).summary(), 3),
            Entry::measured(last.summary(), 3),
        ]);
    }
    let ranks = rank_correlations(measured);
    let each: Vec<String> = ranks.iter().map(|(seed, it)| format!("{it:+.2} (seed {seed})")).collect();
    if !each.is_empty() {
        table
            .note(format!("Rank correlation of the mean with the share, seed by seed: {}.", each.join(", ")));
    }
    table
}

/// The stream after each operator.
fn over_depth(measured: &Measured<'_>) -> Figure {
    let mut figure = Figure::new(
        "Highest frequency over depth",
        Axis::linear("operator, from the stem"),
        Axis::linear("relative log amplitude"),
    )
    .caption(
        "Mean over seeds of the stream after each operator, by the share of the run in which all layers are convolutions.",
    );
    for (hue, (percent, arm)) in SWEEP.into_iter().enumerate() {
        let depth = measured.last(arm).map(|m| m.fourier.len()).min().unwrap_or(0);
        let at = |point: usize| measured.of(arm, |m| m.fourier.get(point).map_or(f64::NAN, |it| it.stream));
        let series = Series::measured(format!("{percent} % in convolution"), hue);
        let points = (0..depth).filter_map(|point| Some((point as f64, at(point).summary()?.mean)));
        if measured.scale.has(arm) {
            figure = figure.series(points.fold(series, |series, (x, y)| series.point(x, y)));
        }
    }
    figure
}

fn by_time(measured: &Measured<'_>) -> Figure {
    let run = SWEEP.into_iter().filter(|(_, arm)| measured.scale.has(*arm));
    let series = run.fold(Series::measured("all layers at once", 0), |series, (percent, arm)| {
        series.mean_sd(percent, measured.of(arm, level).summary())
    });
    Figure::new(
        "Highest frequency by the time of the switch",
        Axis::linear("share of the run in convolution, %"),
        Axis::linear("relative log amplitude, mean over depth"),
    )
    .series(series)
    .caption("Mean ± sd over seeds.")
}
