//! ConViT's ablation (arXiv 2103.10697, Table 3) with the layers of this network.

use super::{
    super::{CellResult, Preset, Protocol, Request, Result, results::of_arm},
    arms::{self, ABLATION as ARMS, Scale},
    side_study,
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison},
};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Gate, initial positions and training of attention, one without the other.
pub(in super::super) const ABLATION: Protocol = Protocol {
    paper: "prs",
    table: "ablation",
    about: "ConViT's ablation a to g: gates, initial positions, frozen attention, on a tenth of the data",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

fn scale(preset: Preset) -> Scale {
    side_study(preset, &ARMS)
}

/// What may be lost and still count as not worse, points.
const NEGLIGIBLE: f64 = 1.0;
/// What counts as "much more", points; the paper's f is 9.5 above g.
const MUCH: f64 = 2.0;

/// The paper's row of an arm.
const ROWS: [(&str, &str); 7] = [
    ("a", "a ConViT"),
    ("b", "b gate frozen at lambda=0"),
    ("c", "c no conv init"),
    ("d", "d gate frozen, no conv init"),
    ("e", "e DeiT"),
    ("f", "f GPSA frozen, conv init"),
    ("g", "g GPSA frozen, random init"),
];

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let published = Published::embedded()?;
    let fraction = scale.fractions[0];
    let top1 = |variant: &str| of_arm(results, variant, fraction, |m| m.test_top1);
    let mut report = Report::new("PRS: ConViT's ablation on little data");
    report.ran(
        "Asked: is ConViT's order of gates, initial positions and trained attention (its Table 3, 10 % of ImageNet) found \
         here?",
    );
    report.ran(arms::network(request, &scale));
    report.ran(arms::how(request, &scale));
    report.ran(
        "Attention from the first update in all arms, with alpha 1 and a sigmoid gate of 1 (a share of position of 0.731) \
         unless an arm says otherwise. Random positions: N(0, 0.02^2), nearly uniform attention.",
    );
    let mut table = Table::new(
        "Top-1 accuracy, mean over seeds ± standard deviation (n)",
        [
            Column::left("arm"),
            Column::left("attention"),
            Column::right("top-1"),
            Column::right("below a"),
            Column::right("paper, 10 %"),
        ],
    );
    for (arm, (variant, row)) in ARMS.iter().zip(ROWS) {
        let below = (variant != "a").then(|| top1("a").minus(&top1(variant)));
        table.row([
            Entry::text(variant),
            Entry::text(arm.label),
            Entry::measured(top1(variant).summary(), 1),
            below.map_or(Entry::Empty, |it| Entry::measured(it.summary(), 1)),
            Entry::published(published.value("convit", "table3", row, "10% data top1")),
        ]);
    }
    table.note(
        "Below a: points, paired by seed. The paper's numbers are of ConViT-S+ on ImageNet; its e is DeiT, which has \
         learned positions.",
    );
    report.table("ablation", table).figure("ablation", figure(published, &top1));
    report.claim(claim(published, &top1)?.judge());
    report.differs(
        "e: content alone; the paper's DeiT has a position embedding, this network has none, so e knows places only from \
         patches and the stage between",
    );
    report.differs(
        "f and g: everything of the layer is frozen, the output weights too, which have random initial values here and are \
         the identity in ConViT's values",
    );
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.next_step(
        "the arms in which b and c, d and f differ need more seeds than this: in the paper too they are close",
    );
    Ok(report)
}

/// The robust part of the order: what the paper's numbers leave no doubt of.
fn claim(published: &Published, top1: &dyn Fn(&str) -> Seeded) -> Result<ClaimTest> {
    let shifted = |variant: &str, by: f64| -> Seeded {
        top1(variant).iter().map(|(seed, value)| (seed, value + by)).collect()
    };
    let above = |a: &str, b: &str| Comparison::new(format!("{a} > {b}"), "points", top1(a), top1(b));
    let at_least = |a: &str, b: &str| {
        let statement = format!("{a} + {NEGLIGIBLE} point > {b}");
        Comparison::new(statement, "points", shifted(a, NEGLIGIBLE), top1(b))
    };
    let mut test = ClaimTest::new(published.claim("prs.C6")?)
        .piece(above("a", "e"))
        .piece(above("f", "e"))
        .piece(Comparison::new(format!("f > g + {MUCH} points"), "points", top1("f"), shifted("g", MUCH)));
    for (a, b) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        test = test.piece(at_least(a, b));
    }
    let means: Option<Vec<f64>> =
        ["a", "b", "c", "d", "f", "e", "g"].iter().map(|it| Some(top1(it).summary()?.mean)).collect();
    let whole = means.map(|means| means.windows(2).all(|pair| pair[0] > pair[1]));
    Ok(test.observe("the paper's whole order, a > b > c > d > f > e > g, in the means", whole))
}

fn figure(published: &Published, top1: &dyn Fn(&str) -> Seeded) -> Figure {
    let ticks = ROWS.iter().enumerate().map(|(at, (variant, _))| (at as f64, (*variant).to_owned()));
    let figure = Figure::new("ConViT's ablation", Axis::linear("arm").with_ticks(ticks), Axis::linear("top-1, %"))
        .caption("Measured: mean ± sd over seeds. Published: ConViT-S+ on 10 % of ImageNet (arXiv 2103.10697, Table 3).");
    let arms = || ROWS.iter().enumerate();
    let measured = arms().fold(Series::measured("here", 0), |series, (at, (variant, _))| {
        series.mean_sd(at as f64, top1(variant).summary())
    });
    let paper = arms().fold(Series::published("ConViT", 1), |series, (at, (_, row))| {
        let values = published.value("convit", "table3", row, "10% data top1");
        values.iter().fold(series, |series, value| series.point(at as f64, value.value))
    });
    figure.series(paper).series(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Verdict,
        experiments::prs::tests::{finished_with, request},
    };

    fn verdict(top1: impl Fn(&str) -> f64) -> Verdict {
        let request = request(Preset::Small);
        let cells = (ABLATION.cells)(&request).unwrap();
        assert_eq!(cells.len(), 7 * 3);
        let results: Vec<_> = cells
            .into_iter()
            .enumerate()
            .map(|(i, cell)| {
                let top1 = top1(cell.variant) + 0.002 * (i.pow(3) % 89) as f64;
                finished_with(cell, top1, |_| ())
            })
            .collect();
        let report = report(&request, &results).unwrap();
        for number in ["59.7", "57.4", "56.9", "54.6", "47.8", "54.3", "44.8"] {
            assert!(report.markdown().contains(number), "{number}");
        }
        report.claims[0].verdict
    }

    fn as_published(variant: &str) -> f64 {
        match variant {
            "a" => 59.7,
            "b" => 57.4,
            "c" => 56.9,
            "d" => 54.6,
            "e" => 47.8,
            "f" => 54.3,
            _ => 44.8,
        }
    }

    #[test]
    fn the_papers_own_numbers_make_the_claim_hold() {
        assert_eq!(verdict(as_published), Verdict::Holds);
    }

    #[test]
    fn attention_by_content_in_front_makes_it_fail() {
        assert_eq!(verdict(|it| if it == "e" { 62.0 } else { as_published(it) }), Verdict::Fails);
        assert_eq!(verdict(|it| 100.0 - as_published(it)), Verdict::Fails);
    }

    #[test]
    fn frozen_random_attention_a_little_below_is_not_much_below() {
        assert_ne!(verdict(|it| if it == "g" { 53.5 } else { as_published(it) }), Verdict::Holds);
    }

    #[test]
    fn rows_and_arms_are_in_one_order() {
        assert!(ARMS.iter().zip(ROWS).all(|(arm, (variant, _))| arm.variant == variant));
    }
}
