//! What can be checked of EIT without training: parameters, channels, operations, grids, learning rates.

use std::collections::BTreeMap;

use inductive_models::{BuildOptions, ModelSpec, find};
use inductive_nn::conv_channels;
use inductive_schedule::{Clock, CosineWarmup, Progress, Schedule};
use serde::Deserialize;

use super::super::{Request, Result, facts::counted};
use crate::{
    Published, Report,
    verdict::{Check, judge_exact},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// A released size.
struct Size {
    /// Registry name.
    model: &'static str,
    /// As `published.toml` calls it.
    row: &'static str,
    /// Tensors of the state dict.
    tensors: usize,
    /// Attention channels of each layer: from the authors' code.
    attention: &'static [usize],
}

const SIZES: [Size; 4] = [
    Size { model: "eit_mini", row: "EIT16/4/3-Mini", tensors: 71, attention: &[50, 100, 150, 200, 250] },
    Size {
        model: "eit_tiny",
        row: "EIT16/4/3-Tiny",
        tensors: 110,
        attention: &[40, 80, 120, 160, 200, 240, 280, 330],
    },
    Size {
        model: "eit_base",
        row: "EIT16/4/3-Base",
        tensors: 136,
        attention: &[32, 80, 112, 160, 192, 240, 272, 320, 352, 400],
    },
    Size {
        model: "eit_large",
        row: "EIT16/4/3-Large",
        tensors: 162,
        attention: &[32, 64, 112, 144, 192, 224, 256, 304, 336, 384, 416, 464],
    },
];

fn giga(macs: u64) -> f64 {
    macs as f64 / 1e9
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

fn attention_channels(spec: &ModelSpec) -> Vec<usize> {
    let conv = spec.eit().into_iter().flat_map(|eit| &eit.conv_channels);
    conv.map(|conv| spec.embed_dim - conv).collect()
}

/// Adds tables, figure and verdicts of everything exact.
pub(crate) fn add(report: &mut Report, _: &Request) -> Result<()> {
    let published = Published::embedded()?;
    let value = |table: &str, row: &str, column: &str| published.value("eit", table, row, column);
    let mut sizes = Table::new(
        "The released sizes: computed beside published",
        [
            Column::left("model"),
            Column::right("parameters"),
            Column::right("logged"),
            Column::right("tensors"),
            Column::right("grid"),
            Column::right("GMACs of layers"),
            Column::right("and biases, pooling"),
            Column::right("README"),
            Column::right("with attention products"),
        ],
    );
    let mut splits = Table::new(
        "Channels of attention per layer; the convolution has the others",
        [Column::left("model"), Column::left("attention channels, layer by layer")],
    );
    let (mut counts, mut macs, mut grids) = (Vec::new(), Vec::new(), Vec::new());
    for size in &SIZES {
        let spec = find(size.model).map_err(inductive_train::Error::from)?.spec;
        let (parameters, tensors) = counted(size.model, &BuildOptions::default())?;
        let (logged, readme) = (
            value("log", size.row, "n_parameters"),
            value("readme", size.row, "flops (MACs without attention matmuls)"),
        );
        sizes.row([
            Entry::text(size.model),
            Entry::count(parameters),
            Entry::published(logged.clone()),
            Entry::count(tensors),
            Entry::text(spec.grid().to_string()),
            Entry::number(giga(spec.macs_of_layers()), 3),
            Entry::number(giga(spec.macs_of_layers() + biases_and_pooling(&spec)), 3),
            Entry::published(readme.clone()),
            Entry::number(giga(spec.macs()), 3),
        ]);
        let channels = attention_channels(&spec);
        splits.row([Entry::text(size.model), Entry::text(list(&channels))]);
        let of = |what: &str| format!("{what} of {}", size.model);
        for logged in &logged {
            counts.push(Check::equal(of("parameters"), parameters, logged.value));
        }
        counts.push(Check::equal(of("tensors"), tensors, size.tensors));
        counts.push(Check::equal(of("attention channels"), list(&channels), list(size.attention)));
        let by_rule: Vec<usize> = conv_channels(spec.embed_dim, spec.heads(), spec.depth)
            .iter()
            .map(|e| spec.embed_dim - e)
            .collect();
        counts.push(Check::equal(of("the rule's attention channels"), list(&by_rule), list(size.attention)));
        let layers = spec.macs_of_layers();
        let as_counted = layers + biases_and_pooling(&spec);
        for readme in &readme {
            // The README rounds to three digits.
            let digits = if readme.value < 10.0 { 2 } else { 1 };
            let round = |value: f64| format!("{value:.digits$}");
            macs.push(Check::equal(
                of("GMACs of layers, biases and pooling"),
                round(giga(as_counted)),
                round(readme.value),
            ));
        }
        for (column, computed, digits) in [
            ("macs without attention matmuls, no bias", layers, 4),
            ("macs without attention matmuls, with bias", as_counted, 4),
            ("macs with attention matmuls", spec.macs(), 3),
        ] {
            for derived in value("derived", size.row, column) {
                let round = |value: f64| format!("{value:.digits$}");
                macs.push(Check::equal(of(column), round(giga(computed)), round(derived.value)));
            }
        }
        grids.push(Check::equal(of("grid at 224 pixels"), spec.grid(), "19x19"));
    }
    let small = find("eit_micro").map_err(inductive_train::Error::from)?.spec;
    grids.push(Check::equal("grid of 3/1/4 at 32 pixels", small.grid(), "8x8"));
    sizes.note(
        "GMACs of layers leave out the products of queries with keys and of attention with values; the authors' counter does \
         so, and adds biases and one operation for each number that is pooled.",
    );
    sizes.note(
        "That logits, blocks and gradients agree with the authors' code (eit.A5) is tested on weights of theirs: cargo test -p \
         inductive-tests --test parity.",
    );

    let (rates, checks) = learning_rates()?;
    report
        .table("sizes", sizes)
        .table("splits", splits)
        .table("learning-rates", rates)
        .table("imagenet", imagenet(published))
        .figure("imagenet", imagenet_figure(published));
    for (id, checks) in [("eit.A1", counts), ("eit.A2", macs), ("eit.A3", checks), ("eit.A4", grids)] {
        report.claim(judge_exact(published.claim(id)?, checks));
    }
    Ok(())
}

/// Additions of biases, and one operation for each number that is pooled: what the authors' counter (ptflops) includes.
fn biases_and_pooling(spec: &ModelSpec) -> u64 {
    let (tokens, c) = (spec.grid().tokens() as u64 + 1, spec.embed_dim as u64);
    let map = spec.overlap().and_then(|overlap| overlap.grids(spec.image).ok());
    // The stem's biases, and what its pooling reads.
    let stem = map.map_or(0, |(map, _)| 2 * map.tokens() as u64 * c);
    let attention: u64 = attention_channels(spec).iter().map(|a| tokens * 4 * *a as u64).sum();
    stem + attention + spec.depth as u64 * tokens * 5 * c + spec.classes as u64
}

/// What is at hand of the authors' logs.
#[derive(Deserialize)]
struct Logs {
    source: String,
    runs: BTreeMap<String, Logged>,
}

/// The learning rates of one of the authors' runs, epoch by epoch.
#[derive(Deserialize)]
struct Logged {
    peak: f64,
    train_lr: BTreeMap<u64, f64>,
}

/// The authors' learning rates, by our schedule and from their logs.
fn learning_rates() -> Result<(Table, Vec<Check>)> {
    const EPOCHS: u64 = 300;
    let logs: Logs = serde_json::from_str(include_str!("../../../eit-learning-rates.json"))
        .map_err(|error| crate::Error::Published(error.to_string()))?;
    let mut table = Table::new(
        "Learning rates of the authors' runs: cosine with warm-up, read one epoch late",
        [
            Column::left("run"),
            Column::right("top"),
            Column::right("epochs compared"),
            Column::right("largest relative deviation"),
        ],
    );
    let (mut checks, mut compared) = (Vec::new(), 0);
    for (run, log) in &logs.runs {
        let schedule = CosineWarmup::new(EPOCHS as f64, log.peak).with_warmup(5.0, 1e-6).with_min_lr(1e-5);
        let deviation = |(epoch, logged): (&u64, &f64)| {
            let progress = Progress { step: *epoch, steps_per_epoch: 1, total_steps: EPOCHS };
            (schedule.at(progress, Clock::WholeEpochOneBehind) / logged - 1.0).abs()
        };
        let worst = log.train_lr.iter().map(deviation).fold(0.0, f64::max);
        let epochs = log.train_lr.len();
        compared += epochs;
        table.row([
            Entry::text(run),
            Entry::text(log.peak.to_string()),
            Entry::count(epochs),
            Entry::text(format!("{worst:.1e}")),
        ]);
        // The logged values at hand have twelve digits.
        let statement = format!("relative deviation, {run}, {epochs} of {EPOCHS} epochs");
        checks.push(Check::within(statement, worst, 1e-11));
    }
    let logged = logs.runs.len() as u64 * EPOCHS;
    table.note(format!(
        "Compared: {compared} of the {logged} logged values, those at hand ({}).",
        logs.source
    ));
    Ok((table, checks))
}

/// The published ImageNet numbers, none of which is measured here.
fn imagenet(published: &'static Published) -> Table {
    let columns = ["top-1, README", "top-1, log (best)", "top-1, figure", "top-5, README"].map(Column::right);
    let mut table = Table::new(
        "ImageNet, published; not measured here",
        [Column::left("model")].into_iter().chain(columns),
    );
    for (index, size) in SIZES.iter().enumerate() {
        let value = |table: &str, row: &str, column: &str| {
            Entry::published(published.value("eit", table, row, column))
        };
        table.row([
            Entry::text(size.row),
            value("readme", size.row, "top1"),
            value("log", size.row, "best top1"),
            value("fig-imagenet", &format!("EIT point {}", index + 1), "top1"),
            value("readme", size.row, "top5"),
        ]);
    }
    table.note("The sources disagree on Mini.");
    table
}

/// The authors' comparison on ImageNet.
fn imagenet_figure(published: &'static Published) -> Figure {
    let point = |family: &str, index: usize| {
        let row = format!("{family} point {index}");
        let value = |column| Some(published.value("eit", "fig-imagenet", &row, column).first()?.value);
        Some((value("params")? / 1e6, value("top1")?))
    };
    let mut figure = Figure::new(
        "ImageNet, as published: accuracy against parameters",
        Axis::log("parameters, millions"),
        Axis::linear("top-1, %"),
    )
    .caption(
        "Decoded from the authors' comparison figure; which member of a family a point is, it does not say.",
    );
    for (hue, family) in ["EIT", "DeiT", "ResNet", "T2T", "PVTv2"].into_iter().enumerate() {
        let points = (1..).map_while(|index| point(family, index));
        let series = points.fold(Series::published(family, hue), |series, (x, y)| series.point(x, y));
        figure = figure.series(series);
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn every_exact_claim_holds() {
        let mut report = Report::new("t");
        add(&mut report, &Request::new("eit")).unwrap();
        let verdicts: Vec<(&str, Verdict)> =
            report.claims.iter().map(|claim| (claim.id.as_str(), claim.verdict)).collect();
        let want = ["eit.A1", "eit.A2", "eit.A3", "eit.A4"].map(|id| (id, Verdict::Holds));
        assert_eq!(verdicts, want, "{:#?}", report.claims);
        let checks: Vec<usize> = report.claims.iter().map(|claim| claim.checks.len()).collect();
        assert_eq!(checks, [16, 16, 4, 5]);
    }

    #[test]
    fn published_numbers_of_imagenet_are_all_found() {
        let (rates, _) = learning_rates().unwrap();
        assert!(rates.notes[0].starts_with("Compared: 634 of the 1200"), "{:?}", rates.notes);
        let text = imagenet(Published::embedded().unwrap()).markdown();
        for number in ["70.026", "70.3", "78.118", "80.62", "81.816", "95.6"] {
            assert!(text.contains(number), "{number}: {text}");
        }
        assert!(!text.contains('–'), "an empty cell: {text}");
        let figure = imagenet_figure(Published::embedded().unwrap());
        let points: Vec<usize> = figure.series.iter().map(|s| s.points.len()).collect();
        assert_eq!(points, [4, 3, 3, 3, 3]);
    }
}
