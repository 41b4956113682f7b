//! ConvMixer whose depthwise filters are never trained: random, softmax, impulses, and boxes that cannot tell places apart.

use super::{
    super::{CellResult, Preset, Protocol, Request, Result},
    arms::{self, Arm, Scale},
    tables::{Measured, When},
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Frozen filters against trained ones.
pub(in super::super) const CONVMIXER: Protocol = Protocol {
    paper: "structured-init",
    table: "convmixer",
    about: "ConvMixer with depthwise filters trained, or frozen as random, softmax, impulse or box ones",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

/// A size: registry name, channels, side of the filters.
#[derive(Clone, Copy, PartialEq)]
struct Size(&'static str, usize, usize);

const NARROW: Size = Size("convmixer_micro_32", 32, 3);
const MIDDLE: Size = Size("convmixer_micro", 64, 3);
const WIDE: Size = Size("convmixer_micro_128", 128, 3);
const LARGE: Size = Size("convmixer_micro_k5", 64, 5);
const SIZES: [Size; 4] = [NARROW, MIDDLE, WIDE, LARGE];

const TRAINED: &str = "trained";
/// Filters that are frozen: name of the filters, and in words.
const FROZEN: [&str; 4] = ["random", "impulse", "softmax", "box"];

/// One size with its filters trained, and frozen in four ways.
macro_rules! arms_of {
    ($size:ident, $name:literal) => {
        [
            Arm {
                variant: concat!($name, "-trained"),
                model: $size.0,
                init: None,
                filters: Some("random"),
                frozen: false,
                label: TRAINED,
            },
            frozen(concat!($name, "-random"), $size, FROZEN[0]),
            frozen(concat!($name, "-impulse"), $size, FROZEN[1]),
            frozen(concat!($name, "-box"), $size, FROZEN[3]),
            frozen(concat!($name, "-softmax"), $size, FROZEN[2]),
        ]
    };
}

const fn frozen(variant: &'static str, size: Size, filters: &'static str) -> Arm {
    Arm { variant, model: size.0, init: None, filters: Some(filters), frozen: true, label: filters }
}

const ARMS: [[Arm; 5]; 4] =
    [arms_of!(MIDDLE, "64k3"), arms_of!(NARROW, "32k3"), arms_of!(WIDE, "128k3"), arms_of!(LARGE, "64k5")];

fn scale(preset: Preset) -> Scale {
    super::side_study(preset, ARMS.as_flattened())
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let measured = Measured { results, scale: &scale };
    let top1 = |size: Size, label: &str| -> Seeded {
        let arm = scale.arms.iter().find(|arm| arm.model == size.0 && arm.label == label);
        arm.map_or_else(Seeded::new, |arm| measured.top1(*arm, When::End))
    };
    let gap = |size: Size, label: &str| -> Seeded { top1(size, TRAINED).minus(&top1(size, label)) };
    let mut report = Report::new("Structured initialization: ConvMixer with frozen filters");
    report.ran(format!(
        "ConvMixer (4 layers, patches of 4 pixels) on `{}`, preset `{}`. Frozen: the depthwise filters and their biases keep \
         their initial values, everything else is trained.",
        request.data, request.preset
    ));
    report.ran(arms::how(request, &scale));
    report.table("accuracy", table(&top1, &gap));
    report.table("published", published()?);
    report.figure("gap", figure(&gap));

    let statement =
        |size: Size, text: &str| format!("{} channels, {k}x{k} filters: {text}", size.1, k = size.2);
    let mut claim = ClaimTest::new(Published::embedded()?.claim("si.4")?);
    for size in SIZES {
        for filters in ["random", "impulse"] {
            let text = statement(size, &format!("frozen {filters} > frozen box"));
            claim = claim.piece(Comparison::new(text, "points", top1(size, filters), top1(size, "box")));
        }
        // "Close" is what the paper's own gaps are: at most 1.8 points.
        for filters in ["random", "impulse"] {
            let close = top1(size, filters).iter().map(|(seed, value)| (seed, value + CLOSE)).collect();
            let text = statement(size, &format!("frozen {filters} + {CLOSE} points > trained"));
            claim = claim.piece(Comparison::new(text, "points", close, top1(size, TRAINED)));
        }
    }
    for filters in ["random", "impulse"] {
        claim = claim
            .piece(Comparison::new(
                format!("the gap of frozen {filters} filters is larger with 32 channels than with 128"),
                "points",
                gap(NARROW, filters),
                gap(WIDE, filters),
            ))
            .piece(Comparison::new(
                format!("the gap of frozen {filters} filters is larger with 5x5 filters than with 3x3"),
                "points",
                gap(LARGE, filters),
                gap(MIDDLE, filters),
            ));
    }
    report.claim(claim.judge());
    report.differs("model: 4 layers of 32 to 128 channels and patches of 4; the paper has 6 to 8 of 256 to 512 and patches of 2");
    report.differs("amplitude: impulses and boxes of squared norm 1/K, as in arXiv 2404.01139's code; random filters have 1/3");
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    Ok(report)
}

/// The paper's numbers that are available.
fn published() -> Result<Table> {
    let published = Published::embedded()?;
    let columns = [Column::left("model and filters"), Column::right("top-1 or gap")];
    let mut table = Table::new("Published: CIFAR-10, arXiv 2404.01139", columns);
    for (row, column) in [
        ("ConvMixer dim 512 k3, end-to-end", "CIFAR-10 top1"),
        ("ConvMixer dim 512 k3, frozen random or impulse (not said which)", "CIFAR-10 top1"),
        ("ConvMixer dim 256, end-to-end", "CIFAR-10 top1"),
        ("frozen impulse vs end-to-end, smallest gap", "CIFAR-10 gap"),
        ("frozen impulse vs end-to-end, largest gap", "CIFAR-10 gap"),
    ] {
        let values = published.value("structured_init", "2404.01139-convmixer-table", row, column);
        table.row([Entry::text(row), Entry::published(values)]);
    }
    table.note(
        "200 epochs on all images, patches of 2 pixels. The paper's numbers for boxes are not available.",
    );
    Ok(table)
}

/// The largest of the paper's gaps, points.
const CLOSE: f64 = 1.8;

fn table(top1: &dyn Fn(Size, &str) -> Seeded, gap: &dyn Fn(Size, &str) -> Seeded) -> Table {
    let heads = [
        "channels",
        "filters",
        "trained",
        "random",
        "impulse",
        "softmax",
        "box",
        "gap of random",
        "gap of impulse",
    ];
    let mut table = Table::new(
        "Top-1 accuracy by filters, mean over seeds ± standard deviation (n)",
        heads.map(Column::right),
    );
    for size in SIZES {
        let cells =
            [TRAINED].iter().chain(&FROZEN).map(|label| Entry::measured(top1(size, label).summary(), 1));
        let gaps = ["random", "impulse"].map(|label| Entry::measured(gap(size, label).summary(), 1));
        let size = [Entry::count(size.1), Entry::text(format!("{0}x{0}", size.2))];
        table.row(size.into_iter().chain(cells).chain(gaps));
    }
    table.note("All but \"trained\" are frozen. Gap: points that trained filters are above, paired by seed.");
    table
}

fn figure(gap: &dyn Fn(Size, &str) -> Seeded) -> Figure {
    let sizes = [NARROW, MIDDLE, WIDE];
    let mut figure = Figure::new(
        "What frozen 3x3 filters lose",
        Axis::log("channels").with_ticks(sizes.map(|size| (size.1 as f64, size.1.to_string()))),
        Axis::linear("points below trained"),
    )
    .caption("Mean ± sd over seeds of the paired difference.");
    for (hue, filters) in FROZEN.into_iter().enumerate() {
        let series = Series::measured(filters, hue);
        let points = sizes.into_iter();
        figure = figure
            .series(points.fold(series, |s, size| s.mean_sd(size.1 as f64, gap(size, filters).summary())));
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, experiments::results::finished};

    fn verdict(top1: impl Fn(&str) -> f64) -> Verdict {
        let request = Request {
            paper: "structured-init".to_owned(),
            table: Some("convmixer".to_owned()),
            data: "synthetic".to_owned(),
            preset: Preset::Small,
            seeds: None,
            runs: "runs".into(),
            command: String::new(),
        };
        let cells = (CONVMIXER.cells)(&request).unwrap();
        assert_eq!(cells.len(), 60);
        for cell in &cells {
            cell.recipe.validate().unwrap();
            assert_eq!(cell.recipe.freeze.is_empty(), cell.variant.ends_with("trained"), "{}", cell.name);
        }
        let results: Vec<CellResult> = cells
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let top1 = top1(cell.variant) + 0.002 * (i.pow(3) % 89) as f64;
                finished(cell, top1)
            })
            .collect();
        let report = report(&request, &results).unwrap();
        for number in ["92.82", "92.2", "0.5", "1.8"] {
            assert!(report.markdown().contains(number), "{number}");
        }
        report.claims[0].verdict
    }

    fn as_published(variant: &str) -> f64 {
        match variant {
            it if it.ends_with("box") => 40.0,
            it if it.ends_with("trained") => 50.0,
            it if it.starts_with("128") => 49.8,
            it if it.starts_with("64k3") => 49.3,
            _ => 48.7,
        }
    }

    #[test]
    fn small_gaps_that_shrink_with_width_and_grow_with_the_filters_make_the_claim_hold() {
        assert_eq!(verdict(as_published), Verdict::Holds);
    }

    #[test]
    fn boxes_as_good_as_impulses_or_a_large_gap_make_it_fail() {
        assert_eq!(verdict(|it| if it.ends_with("box") { 55.0 } else { as_published(it) }), Verdict::Fails);
        assert_eq!(
            verdict(|it| as_published(it) + if it.ends_with("trained") { 5.0 } else { 0.0 }),
            Verdict::Fails
        );
    }
}
