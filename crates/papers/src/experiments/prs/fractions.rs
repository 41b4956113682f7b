//! The convolutional bias at shrinking fractions of the data, epochs times 1/f (as ConViT's Table 2 does).

use inductive_schedule::Duration;
use inductive_train::Synthetic;

use super::{
    super::{CellResult, Preset, Protocol, Request, Result, percent, results::of_arm},
    arms::{self, Arm, BLURRED, NEVER, RANDOM, Scale},
};
use crate::{
    Published, Report, Seeded,
    verdict::trend::{TrendPoint, lead_grows_as_x_shrinks},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Convolution, attention that begins as convolution, attention that begins at random.
pub(in super::super) const FRACTIONS: Protocol = Protocol {
    paper: "prs",
    table: "fractions",
    about: "convolution, attention from blurred convolution and from random positions at fractions of the data, epochs x \
            1/f",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

fn scale(preset: Preset) -> Scale {
    let (steps, fractions, seeds, train, test): (_, &'static [f64], _, _, _) = match preset {
        Preset::Smoke => (6, &[0.5, 1.0], 2, 200, 60),
        Preset::Quick => (200, &[0.1, 0.3, 1.0], 2, 5_000, 1_000),
        Preset::Small => (500, &[0.05, 0.1, 0.3, 0.5, 1.0], 3, 50_000, 4_000),
    };
    Scale {
        model: super::arms::STAGED,
        length: Duration::Steps(steps),
        batch_size: if preset == Preset::Smoke { 16 } else { 64 },
        fractions,
        seeds,
        synthetic: Synthetic { train, test, seed: 0 },
        arms: &arms::FRACTIONS,
        evaluations: 1,
    }
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let published = Published::embedded()?;
    let top1 = |arm: Arm, fraction| -> Seeded { of_arm(results, arm.variant, fraction, |m| m.test_top1) };
    let mut report = Report::new("PRS: the convolutional bias at fractions of the data");
    report.ran(
        "Asked: does it matter more with less data that attention begins as convolution (arXiv 2210.01370, abstract; \
         ConViT, Table 2)?",
    );
    report.ran(arms::network(request, &scale));
    report.ran(arms::how(request, &scale));
    report
        .ran("Every run makes as many updates, so at a fraction f of the data it has 1/f times the epochs.");

    let mut table = Table::new(
        "Top-1 accuracy, mean over seeds ± standard deviation (n)",
        [
            Column::left("train size"),
            Column::right("convolution throughout"),
            Column::right("from blurred convolution"),
            Column::right("from random positions"),
            Column::right("gap"),
            Column::right("paper DeiT-S"),
            Column::right("paper ConViT-S"),
            Column::right("paper gap"),
        ],
    );
    let mut points = Vec::new();
    for &fraction in scale.fractions {
        let label = percent(fraction);
        let (leader, baseline) = (top1(BLURRED, fraction), top1(RANDOM, fraction));
        let cited = |column: &str| Entry::published(published.value("convit", "table2", &label, column));
        table.row([
            Entry::text(&label),
            Entry::measured(top1(NEVER, fraction).summary(), 1),
            Entry::measured(leader.summary(), 1),
            Entry::measured(baseline.summary(), 1),
            Entry::measured(leader.lead_over(&baseline).summary(), 0),
            cited("DeiT-S top1"),
            cited("ConViT-S top1"),
            cited("relative gap top1"),
        ]);
        points.push(TrendPoint { label, x: fraction, leader, baseline });
    }
    table.note(
        "Gap: 100 (blurred / random - 1), in percent, paired by seed. The paper's numbers are ConViT's (arXiv 2103.10697), \
         of ImageNet.",
    );
    report.table("fractions", table).figure("fractions", figure(&scale, &top1));
    report.claim(
        lead_grows_as_x_shrinks(published.claim("prs.C5")?, "from convolution", "from random", &points)
            .judge(),
    );
    report.differs("ConViT Table 2: DeiT-S, without gates, is its other side, and ImageNet its data");
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.next_step(
        "more updates: with few of them all arms are far from what they could reach at the larger fractions",
    );
    Ok(report)
}

fn figure(scale: &Scale, top1: &dyn Fn(Arm, f64) -> Seeded) -> Figure {
    let ticks = scale.fractions.iter().map(|f| (*f, percent(*f)));
    let figure = Figure::new(
        "Accuracy at fractions of the data",
        Axis::log("share of the training data").with_ticks(ticks),
        Axis::linear("top-1, %"),
    )
    .caption("Mean ± sd over seeds; the same number of images seen at every point.");
    scale.arms.iter().enumerate().fold(figure, |figure, (hue, arm)| {
        let series = Series::measured(arm.label, hue);
        figure.series(scale.fractions.iter().fold(series, |s, f| s.mean_sd(*f, top1(*arm, *f).summary())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Verdict,
        experiments::prs::tests::{finished_with, request},
    };

    fn verdict(lead: impl Fn(f64) -> f64) -> Verdict {
        let request = request(Preset::Small);
        let cells = (FRACTIONS.cells)(&request).unwrap();
        assert_eq!(cells.len(), 3 * 5 * 3);
        let results: Vec<_> = cells
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let lead = if cell.variant == "blurred" { lead(cell.fraction) } else { 0.0 };
                let top1 = 40.0 + lead + 0.002 * (i.pow(3) % 89) as f64;
                finished_with(cell, top1, |_| ())
            })
            .collect();
        let report = report(&request, &results).unwrap();
        let text = report.markdown();
        for number in ["34.8", "47.8", "81.4", "37.0"] {
            assert!(text.contains(number), "ConViT's {number} stands beside: {text}");
        }
        report.claims[0].verdict
    }

    #[test]
    fn a_gap_that_shrinks_with_data_makes_the_claim_hold_and_one_that_grows_makes_it_fail() {
        assert_eq!(verdict(|fraction| 2.0 - 5.0 * fraction.log10()), Verdict::Holds);
        assert_eq!(verdict(|fraction| 9.0 + 5.0 * fraction.log10()), Verdict::Fails);
    }
}
