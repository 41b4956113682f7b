//! ConViT Table 2 (arXiv 2103.10697): sample efficiency. ConViT against its DeiT control at shrinking fractions of the
//! training data, epochs times 1/f, so that every run sees as many images.

use inductive_schedule::Duration;
use inductive_train::{Choice, Keep, Recipe, SubsetSpec, Synthetic};

use super::{
    Cell, CellResult, Preset, Protocol, Request, Result, percent,
    results::{of_arm, profile},
};
use crate::{
    Published, Report, Seeded,
    verdict::trend::{TrendPoint, lead_grows_as_x_shrinks},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// See the [module](self).
pub(super) const TABLE2: Protocol = Protocol {
    paper: "convit",
    table: "table2",
    about: "sample efficiency: ConViT against its DeiT control at fractions of the data, epochs x 1/f",
    cells,
    report,
    exact: None,
};

const CONVIT: &str = "convit";
const DEIT: &str = "deit";
const MODEL: &str = "convit_micro";

/// Sizes of a preset.
struct Scale {
    /// Updates of every run.
    steps: u64,
    batch_size: usize,
    fractions: &'static [f64],
    seeds: u64,
    /// Evaluations of a run.
    evaluations: u32,
    synthetic: Synthetic,
}

fn scale(preset: Preset) -> Scale {
    match preset {
        Preset::Smoke => Scale {
            steps: 6,
            batch_size: 32,
            fractions: &[0.5, 1.0],
            seeds: 2,
            evaluations: 2,
            synthetic: Synthetic { train: 200, test: 100, seed: 0 },
        },
        Preset::Quick => Scale {
            steps: 160,
            batch_size: 64,
            fractions: &[0.1, 0.3, 1.0],
            seeds: 4,
            evaluations: 1,
            synthetic: Synthetic { train: 2_000, test: 1_000, seed: 0 },
        },
        Preset::Small => Scale {
            steps: 4_000,
            batch_size: 64,
            fractions: &[0.1, 0.3, 1.0],
            seeds: 4,
            evaluations: 5,
            synthetic: Synthetic { train: 20_000, test: 4_000, seed: 0 },
        },
    }
}

fn cells(request: &Request) -> Result<Vec<Cell>> {
    let scale = scale(request.preset);
    let seeds = request.seeds_or(scale.seeds)?;
    let mut cells = Vec::new();
    // Seed by seed: a study that is stopped early has whole pairs.
    for seed in 0..seeds {
        for &fraction in scale.fractions {
            for (variant, local) in [(CONVIT, None), (DEIT, Some(0))] {
                let recipe = Recipe {
                    model: MODEL.to_owned(),
                    local_up_to_layer: local,
                    seed,
                    data: request.data.clone(),
                    subset: if fraction < 1.0 {
                        SubsetSpec::Part { choice: Choice::First, amount: fraction * 100.0, percent: true }
                    } else {
                        SubsetSpec::All
                    },
                    batch_size: scale.batch_size,
                    epochs: Duration::Steps(scale.steps),
                    eval_every: Duration::Percent(100.0 / f64::from(scale.evaluations)),
                    warmup_epochs: Duration::Percent(5.0),
                    lr: Some(1e-3),
                    drop_path: 0.0,
                    synthetic: scale.synthetic,
                    keep: Keep { last: true, best: false, state: false },
                    ..Recipe::default()
                };
                let name = format!("{variant}-{}pct", (fraction * 1e4).round() / 100.0);
                cells.push(Cell { name, variant, fraction, seed, recipe });
            }
        }
    }
    Ok(cells)
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let published = Published::embedded()?;
    let scale = scale(request.preset);
    let (mut points, mut images, mut epochs, mut gaps) = (Vec::new(), 0, Vec::new(), Vec::new());
    let mut table = Table::new(
        "Table 2: top-1 accuracy, mean over seeds ± standard deviation (n)",
        [
            Column::left("data"),
            Column::right("DeiT"),
            Column::right("ConViT"),
            Column::right("gap"),
            Column::right("DeiT-S"),
            Column::right("ConViT-S"),
        ],
    );
    let mut top5 = Table::new(
        "Table 2: top-5 accuracy",
        ["train size", "DeiT", "ConViT", "paper DeiT-S", "paper ConViT-S"]
            .map(|name| if name == "train size" { Column::left(name) } else { Column::right(name) }),
    );
    let mut inside = Table::new(
        "Inside ConViT at the end: share of position in attention per gated layer, non-locality per layer",
        [
            Column::left("train size"),
            Column::right("gates, layer by layer"),
            Column::right("non-locality ConViT"),
            Column::right("non-locality DeiT"),
        ],
    );
    for &fraction in scale.fractions {
        let label = percent(fraction);
        let top1 = |variant| of_arm(results, variant, fraction, |m| m.test_top1);
        let (convit, deit) = (top1(CONVIT), top1(DEIT));
        let value = |column: &str| published.value("convit", "table2", &label, column);
        let shown = |column: &str| Entry::published(value(column));
        let last = results.iter().find(|r| r.cell.fraction == fraction).and_then(|r| r.result.metrics.last());
        images = last.map_or(images, |m| m.step * scale.batch_size as u64);
        gaps.extend(value("relative gap top1").first().map(|it| format!("{} at {label}", it.value)));
        epochs.extend(last.map(|m| format!("{:.1} of {label}", m.epoch)));
        table.row([
            Entry::text(&label),
            Entry::measured(deit.summary(), 1),
            Entry::measured(convit.summary(), 1),
            Entry::measured(convit.lead_over(&deit).summary(), 0),
            shown("DeiT-S top1"),
            shown("ConViT-S top1"),
        ]);
        top5.row([
            Entry::text(&label),
            Entry::measured(of_arm(results, DEIT, fraction, |m| m.test_top5).summary(), 1),
            Entry::measured(of_arm(results, CONVIT, fraction, |m| m.test_top5).summary(), 1),
            shown("DeiT-S top5"),
            shown("ConViT-S top5"),
        ]);
        inside.row([
            Entry::text(&label),
            Entry::text(profile(results, CONVIT, fraction, |m| &m.gates)),
            Entry::text(profile(results, CONVIT, fraction, |m| &m.nonlocality)),
            Entry::text(profile(results, DEIT, fraction, |m| &m.nonlocality)),
        ]);
        points.push(TrendPoint { label, x: fraction, leader: convit, baseline: deit });
    }
    table.note(format!(
        "Gap: 100 (ConViT / DeiT - 1), in percent; the paper's: {}. DeiT-S and ConViT-S: the paper's, on ImageNet. Every \
         run sees {images} images: epochs {}.",
        gaps.join(", "),
        epochs.join(", ")
    ));
    inside.note("Means over heads and seeds. Gates start at 0.73. Non-locality in patches; uniform attention over 8x8 patches has 4.14, \
         with a class token 4.07.");

    let ticks = scale.fractions.iter().map(|f| (*f, percent(*f)));
    let mut figure = Figure::new(
        "Sample efficiency, ConViT against its DeiT control",
        Axis::log("share of the training data").with_ticks(ticks),
        Axis::linear("top-1, %"),
    )
    .caption(format!(
        "{} on {}, mean ± sd over seeds; the same number of images seen at every point",
        MODEL, request.data
    ));
    let line = |name: &str, hue, values: fn(&TrendPoint) -> &Seeded| {
        points.iter().fold(Series::measured(name, hue), |s, p| s.mean_sd(p.x, values(p).summary()))
    };
    figure = figure.series(line("ConViT", 0, |p| &p.leader)).series(line("DeiT control", 1, |p| &p.baseline));

    let claim = lead_grows_as_x_shrinks(published.claim("convit.1")?, "ConViT", "DeiT", &points).judge();
    let mut report = Report::new("ConViT: sample efficiency (Table 2)");
    report.ran(format!(
        "ConViT (`{MODEL}`: 3 gated layers and 1 plain one, 4 heads of 24 channels) against the same model without gated \
         layers (`local_up_to_layer = 0`, the paper's DeiT control) on `{}`, preset `{}`.",
        request.data, request.preset
    ));
    report.ran(format!(
        "Every run makes {} updates of {} images; at a fraction f of the data that is 1/f times the epochs. Fractions are the \
         first images of each class. Accuracy is that of the last weights.",
        scale.steps, scale.batch_size
    ));
    report
        .table("table2", table)
        .table("top5", top5)
        .table("inside", inside)
        .figure("sample-efficiency", figure)
        .claim(claim);
    if scale.evaluations > 2 {
        report.figure("curves", curves(results, &scale));
    }
    let data = request.data.split(':').next().unwrap_or_default();
    report.differs(format!("data: {data} at 32 pixels instead of ImageNet-1k at 224"));
    report.differs("model: 4 layers, 96 channels, 4 heads instead of ConViT-S (12 layers, 432 channels, 9 heads) and DeiT-S");
    report.differs(format!("length: {images} images seen per run instead of 384 million"));
    report.differs(
        "recipe: crop and flip instead of RandAugment, mixup, cutmix, erasing and repeated augmentation, and no stochastic \
         depth; batch smaller, learning rate 1e-3 for both",
    );
    report.differs(
        "control: the same width and heads with no gated layer (the paper's \"+\" logic), not DeiT-S itself",
    );
    Ok(report)
}

/// Accuracy along the runs, mean over seeds.
fn curves(results: &[CellResult], scale: &Scale) -> Figure {
    let mut figure =
        Figure::new("Accuracy along the runs", Axis::linear("updates"), Axis::linear("top-1, %"))
            .caption("Mean ± sd over seeds.");
    let sides = [(CONVIT, "ConViT"), (DEIT, "DeiT control")];
    for (hue, (&fraction, (variant, name))) in
        scale.fractions.iter().flat_map(|fraction| sides.map(|side| (fraction, side))).enumerate()
    {
        let runs: Vec<&CellResult> =
            results.iter().filter(|it| it.cell.variant == variant && it.cell.fraction == fraction).collect();
        let steps = runs.first().map_or(&[][..], |run| &run.result.metrics).iter().map(|m| m.step);
        let series = steps.enumerate().fold(
            Series::measured(format!("{name}, {}", percent(fraction)), hue),
            |series, (at, step)| {
                let top1 = |run: &&CellResult| Some((run.cell.seed, run.result.metrics.get(at)?.test_top1));
                series.mean_sd(step as f64, runs.iter().filter_map(top1).collect::<Seeded>().summary())
            },
        );
        figure = figure.series(series);
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::results::finished;

    fn request(preset: Preset) -> Request {
        Request {
            paper: "convit".to_owned(),
            table: None,
            data: "synthetic".to_owned(),
            preset,
            seeds: None,
            runs: "runs".into(),
            command: String::new(),
        }
    }

    #[test]
    fn every_run_of_a_preset_makes_as_many_updates_and_runs_are_paired() {
        for preset in Preset::ALL {
            let cells = cells(&request(preset)).unwrap();
            for pair in cells.chunks_exact(2) {
                let [a, b] = pair else { unreachable!() };
                assert_eq!((a.fraction, a.seed), (b.fraction, b.seed));
                let control = Recipe { local_up_to_layer: a.recipe.local_up_to_layer, ..b.recipe.clone() };
                assert_eq!(control, a.recipe, "a pair differs in the gated layers alone");
                assert_eq!(a.recipe.epochs, cells[0].recipe.epochs);
            }
            let names: std::collections::HashSet<_> = cells.iter().map(|c| (&c.name, c.seed)).collect();
            assert_eq!(names.len(), cells.len(), "every cell has its own folder");
            assert!(cells.iter().map(|c| c.seed).max() > Some(0), "at least two seeds");
        }
    }

    #[test]
    fn every_recipe_is_valid() {
        for preset in Preset::ALL {
            for cell in cells(&request(preset)).unwrap() {
                cell.recipe.validate().unwrap();
            }
        }
    }

    #[test]
    fn no_seeds_is_refused() {
        let none = Request { seeds: Some(0), ..request(Preset::Quick) };
        assert!(cells(&none).unwrap_err().is_usage());
    }

    #[test]
    fn the_report_keeps_the_sides_apart_and_judges_the_trend() {
        let request = Request { seeds: Some(3), ..request(Preset::Quick) };
        let results: Vec<CellResult> = cells(&request)
            .unwrap()
            .into_iter()
            .map(|cell| {
                let noise = cell.seed as f64 * 0.1;
                // ConViT leads by 1 point with all the data, by 10 with a tenth.
                let lead =
                    if cell.variant == CONVIT { 1.0 - 9.0 * cell.fraction.log10() + noise } else { 0.0 };
                let base = 50.0 + cell.fraction * 10.0 + noise;
                finished(cell, base + lead)
            })
            .collect();
        let report = report(&request, &results).unwrap();
        let text = report.markdown();
        let row = text.lines().find(|line| line.starts_with("| 100%")).unwrap();
        let (deit, convit) = (row.find("60.1").unwrap(), row.find("61.2").unwrap());
        assert!(deit < convit, "DeiT stands before ConViT: {row}");
        assert!(row.contains("79.9") && row.contains("81.4"), "the paper's numbers stand beside: {row}");
        assert!(text.contains("384 million"), "what differs is said");
        assert_eq!(report.claims[0].verdict, crate::Verdict::Holds, "{text}");
        assert_eq!(report.claims[0].n, 3);
    }
}
