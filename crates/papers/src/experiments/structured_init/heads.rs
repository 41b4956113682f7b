//! The number of heads at a fixed width: what impulses and mimetic weights gain and lose with narrow heads.

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

/// Heads of 32, 16 and 8 channels.
pub(in super::super) const HEADS: Protocol = Protocol {
    paper: "structured-init",
    table: "heads",
    about: "impulse, mimetic and truncated normal weights with 3, 6 and 12 heads of the same width",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

const fn arm(heads: usize, variant: &'static str, init: &'static str, label: &'static str) -> (usize, Arm) {
    let model = match heads {
        3 => "vit_micro_gap_3heads",
        6 => "vit_micro_gap_6heads",
        _ => "vit_micro_gap_12heads",
    };
    (heads, arms::arm(variant, model, init, label))
}

const NUMBERS: [usize; 3] = [3, 6, 12];
/// Number of heads, and weights: truncated normal, mimetic, impulse.
const ARMS: [(usize, Arm); 9] = [
    arm(3, "3heads-trunc-normal", "trunc-normal", "truncated normal"),
    arm(3, "3heads-mimetic", "mimetic", "mimetic"),
    arm(3, "3heads-impulse", "impulse3", "impulse"),
    arm(12, "12heads-trunc-normal", "trunc-normal", "truncated normal"),
    arm(12, "12heads-mimetic", "mimetic", "mimetic"),
    arm(12, "12heads-impulse", "impulse3", "impulse"),
    arm(6, "6heads-trunc-normal", "trunc-normal", "truncated normal"),
    arm(6, "6heads-mimetic", "mimetic", "mimetic"),
    arm(6, "6heads-impulse", "impulse3", "impulse"),
];
/// The arms alone.
const ALL: [Arm; 9] = {
    let mut all = [ARMS[0].1; 9];
    let mut i = 0;
    while i < 9 {
        all[i] = ARMS[i].1;
        i += 1;
    }
    all
};

fn scale(preset: Preset) -> Scale {
    super::side_study(preset, &ALL)
}

/// The arm with so many heads and these weights.
fn of(heads: usize, init: &str) -> Option<Arm> {
    ARMS.iter().find(|(h, arm)| *h == heads && arm.init == Some(init)).map(|(_, arm)| *arm)
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let measured = Measured { results, scale: &scale };
    let top1 = |heads, init| of(heads, init).map_or_else(Seeded::new, |arm| measured.top1(arm, When::End));
    let mut report = Report::new("Structured initialization: the number of heads");
    report.ran(format!(
        "`vit_micro_gap` (4 layers, 96 channels, 8x8 patches, average pooling, fixed positions) with 3, 6 and 12 heads on `{}`, \
         preset `{}`.",
        request.data, request.preset
    ));
    report.ran(arms::how(request, &scale));

    let columns = [
        "heads",
        "channels of a head",
        "truncated normal",
        "mimetic",
        "impulse",
        "impulse above",
        "mimetic above",
    ];
    let mut table = Table::new(
        "Top-1 accuracy by heads, mean over seeds ± standard deviation (n)",
        columns.map(Column::right),
    );
    let mut figure = Figure::new(
        "What designed weights gain over truncated normal ones",
        Axis::log("heads").with_ticks(NUMBERS.map(|heads| (heads as f64, heads.to_string()))),
        Axis::linear("points"),
    )
    .caption("Mean ± sd over seeds of the paired difference, at a width of 96 channels.");
    let mut gains = [Series::measured("mimetic", 1), Series::measured("impulse", 0)];
    for heads in NUMBERS {
        let (plain, mimetic, impulse) =
            (top1(heads, "trunc-normal"), top1(heads, "mimetic"), top1(heads, "impulse3"));
        let (above, mimetic_above) = (impulse.minus(&plain), mimetic.minus(&plain));
        table.row([
            Entry::count(heads),
            Entry::count(96 / heads),
            Entry::measured(plain.summary(), 1),
            Entry::measured(mimetic.summary(), 1),
            Entry::measured(impulse.summary(), 1),
            Entry::measured(above.summary(), 1),
            Entry::measured(mimetic_above.summary(), 1),
        ]);
        let [m, i] = gains;
        gains = [m.mean_sd(heads as f64, mimetic_above.summary()), i.mean_sd(heads as f64, above.summary())];
    }
    table.note("Above: points over truncated normal weights, paired by seed.");
    report.table("heads", table).table("decay", measured.decay());
    report.table("published", published()?);
    for series in gains {
        figure = figure.series(series);
    }
    report.figure("gain", figure);

    let margin = |heads| top1(heads, "impulse3").minus(&top1(heads, "trunc-normal"));
    let claim = Published::embedded()?.claim("si.6")?;
    report.claim(
        ClaimTest::new(claim)
            .piece(Comparison::new(
                "impulse gains more with 12 heads than with 3",
                "points",
                margin(12),
                margin(3),
            ))
            .piece(Comparison::new(
                "mimetic: 3 heads > 12 heads",
                "points",
                top1(3, "mimetic"),
                top1(12, "mimetic"),
            ))
            .judge(),
    );
    report
        .differs("width: fixed; the paper's margin grows from ViT-T to ViT-S, which also changes the width");
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    Ok(report)
}

/// The paper's numbers, of models whose width changes too.
fn published() -> Result<Table> {
    let published = Published::embedded()?;
    let columns = ["model", "truncated normal", "mimetic", "impulse"].map(Column::right);
    let mut table = Table::new("Published: CIFAR-100, arXiv 2404.01139 Table 2, single runs, top-1", columns);
    for model in ["ViT-S/h6", "ViT-S/h16"] {
        let cells = ["trunc normal", "mimetic", "impulse f=3"].map(|weights| {
            let row = format!("{model} {weights}");
            Entry::published(published.value("structured_init", "2404.01139-table2", &row, "CIFAR-100 top1"))
        });
        table.row(std::iter::once(Entry::text(model)).chain(cells));
    }
    table.note(
        "All CIFAR-100 at 200 epochs. ViT-S has 384 channels; with 16 heads a head has 24, with 6 it has 64.",
    );
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, experiments::results::finished};

    fn verdict(top1: impl Fn(&str) -> f64) -> Verdict {
        let request = Request {
            paper: "structured-init".to_owned(),
            table: Some("heads".to_owned()),
            data: "synthetic".to_owned(),
            preset: Preset::Small,
            seeds: None,
            runs: "runs".into(),
            command: String::new(),
        };
        let cells = (HEADS.cells)(&request).unwrap();
        assert_eq!(cells.len(), 27);
        cells.iter().for_each(|cell| cell.recipe.validate().unwrap());
        let results: Vec<CellResult> = cells
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let top1 = top1(cell.variant) + 0.002 * (i.pow(3) % 89) as f64;
                finished(cell, top1)
            })
            .collect();
        let report = report(&request, &results).unwrap();
        assert!(report.markdown().contains("72.72"), "the published number of 16 heads");
        report.claims[0].verdict
    }

    #[test]
    fn a_margin_that_grows_and_mimetic_weights_that_lose_make_the_claim_hold() {
        let as_published = |variant: &str| match variant {
            "12heads-impulse" => 60.0,
            "3heads-impulse" => 55.0,
            "12heads-mimetic" => 52.0,
            "3heads-mimetic" => 57.0,
            _ => 50.0,
        };
        assert_eq!(verdict(as_published), Verdict::Holds);
        assert_eq!(verdict(|variant| 110.0 - as_published(variant)), Verdict::Fails);
    }
}
