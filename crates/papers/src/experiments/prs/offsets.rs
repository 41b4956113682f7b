//! Whether heads that begin at random places come to the places of a kernel (Cordonnier et al., ICLR 2020).

use std::collections::BTreeSet;

use inductive_schedule::Duration;

use super::{
    super::{CellResult, Preset, Protocol, Request, Result},
    arms::{self, SCATTERED, Scale},
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

/// Heads that look by position alone, around scattered centres.
pub(in super::super) const OFFSETS: Protocol = Protocol {
    paper: "prs",
    table: "offsets",
    about: "heads that begin at scattered places: whether those of the first layers come to a kernel's offsets",
    cells: |request| arms::cells(request, &scale(request.preset)),
    report,
    exact: None,
};

fn scale(preset: Preset) -> Scale {
    let side = side_study(preset, &[SCATTERED]);
    let length = match preset {
        Preset::Smoke => side.length,
        Preset::Quick => Duration::Steps(600),
        Preset::Small => Duration::Steps(4_000),
    };
    Scale { length, fractions: &[1.0], evaluations: 4, ..side }
}

/// Layers of the first stage, on 8 x 8 patches.
const FIRST: usize = 3;
/// Heads of a layer.
const HEADS: f64 = 9.0;
/// How near an offset a head has to be, patches.
const NEAR: f64 = 0.5;

/// `dx`, `dy`, `alpha` of the heads of each layer.
type Places = Vec<Vec<[f64; 3]>>;

/// Where the heads of a run begin.
fn start(run: &CellResult) -> Places {
    let Some(switch) = &run.cell.recipe.switch else { return Vec::new() };
    let how = switch.how(run.cell.recipe.seed);
    let rows = |layer| how.positions.rows(3, layer).unwrap_or_default();
    let place = |row: &[f64]| [row[0] / (-2.0 * row[2]), row[1] / (-2.0 * row[2]), -row[2]];
    (0..arms::LAYERS).map(|layer| rows(layer).chunks_exact(3).map(place).collect()).collect()
}

/// Where they end.
fn end(run: &CellResult) -> Places {
    run.result.metrics.last().map(|it| it.head_positions.clone()).unwrap_or_default()
}

/// The share of a layer's heads that are within [`NEAR`] of an offset of the grid up to `reach` patches away which no
/// other head is counted for, mean over the first layers; NaN without layers.
fn share(places: &Places, reach: f64) -> f64 {
    let layers = places.iter().take(FIRST);
    let found = |heads: &Vec<[f64; 3]>| {
        let near = heads.iter().filter(|[dx, dy, alpha]| {
            let (ox, oy) = (dx.round(), dy.round());
            *alpha > 0.0 && ox.abs().max(oy.abs()) <= reach && (dx - ox).hypot(dy - oy) <= NEAR
        });
        let offsets: BTreeSet<_> = near.map(|[dx, dy, _]| (dx.round() as i64, dy.round() as i64)).collect();
        offsets.len() as f64 / HEADS
    };
    let count = layers.len();
    layers.map(found).sum::<f64>() / if count == 0 { f64::NAN } else { count as f64 }
}

/// The mean of `measure` over all heads of the first layers.
fn mean(places: &Places, measure: impl Fn(&[f64; 3]) -> f64) -> f64 {
    let heads: Vec<f64> = places.iter().take(FIRST).flatten().map(measure).collect();
    heads.iter().sum::<f64>() / heads.len() as f64
}

fn report(request: &Request, results: &[CellResult]) -> Result<Report> {
    let scale = scale(request.preset);
    let by_seed = |of: &dyn Fn(&CellResult) -> f64| -> Seeded {
        results.iter().map(|run| (run.cell.seed, of(run))).collect()
    };
    let mut report = Report::new("PRS: do scattered heads come to the offsets of a kernel?");
    report.ran(
        "Asked: nine heads that attend by position around random centres learn the offsets of a grid in the first layers \
         (Cordonnier et al.).",
    );
    report.ran(arms::network(request, &scale));
    report.ran(arms::how(request, &scale));
    report.ran(
        "Attention by position alone from the first update, centres from N(0, 2^2) in patches, alpha 0.5, other ones for \
         each seed.",
    );

    let columns = [Column::left("quantity"), Column::right("start"), Column::right("end")];
    let mut table =
        Table::new("Heads of the first three layers, mean over seeds ± standard deviation (n)", columns);
    let mut test = ClaimTest::new(Published::embedded()?.claim("prs.C9")?);
    for (name, reach) in [("3x3", 1.0), ("5x5", 2.0)] {
        let of = |places: fn(&CellResult) -> Places| by_seed(&|run| 100.0 * share(&places(run), reach));
        let (before, after) = (of(start), of(end));
        table.row([
            Entry::text(format!("within {NEAR} of an offset of the {name} grid of its own, % of heads")),
            Entry::measured(before.summary(), 0),
            Entry::measured(after.summary(), 0),
        ]);
        let statement = format!("share of heads at offsets of the {name} grid: end > start");
        test = test.piece(Comparison::new(statement, "% of heads", after, before));
    }
    for (name, measure) in [
        ("distance of the centre, patches", (|[dx, dy, _]: &[f64; 3]| dx.hypot(*dy)) as fn(&[f64; 3]) -> f64),
        ("alpha", |[_, _, alpha]| *alpha),
    ] {
        let of = |places: fn(&CellResult) -> Places| by_seed(&|run| mean(&places(run), measure));
        table.row([
            Entry::text(name),
            Entry::measured(of(start).summary(), 2),
            Entry::measured(of(end).summary(), 2),
        ]);
    }
    table.note(format!(
        "An offset counts once, however many heads are there. The discs of radius {NEAR} around the offsets cover 79 % of \
         a grid, so a head within the grid is near some offset by chance: compare with the start.",
    ));
    report.table("heads", table);
    if let Some(run) = results.first() {
        report.figure("heads", paths(run));
    }
    report.claim(test.judge());
    report.differs(
        "Cordonnier et al.: six layers of 400 channels, 300 epochs of CIFAR-10, widths learned per head; here 8 x 8 \
         patches and a short run",
    );
    for line in arms::DIFFERENCES {
        report.differs(line);
    }
    report.next_step(
        "a longer run: AdamW moves a centre by about lr / (2 alpha) patches with each update, so few of them leave centres \
         where they began",
    );
    Ok(report)
}

/// Where the heads of the first layer go.
fn paths(run: &CellResult) -> Figure {
    let figure = Figure::new(
        "Heads of the first layer, from start to end",
        Axis::linear("patches to the right"),
        Axis::linear("patches down"),
    )
    .caption(format!(
        "Centres of attention by position, seed {}; a line from the start to the end of the run.",
        run.cell.seed
    ));
    let places = |places: Places| places.into_iter().next().unwrap_or_default();
    let (from, to) = (places(start(run)), places(end(run)));
    from.iter().zip(&to).enumerate().fold(figure, |figure, (head, (from, to))| {
        let series = Series::measured(format!("head {}", head + 1), head);
        figure.series(series.point(from[0], from[1]).point(to[0], to[1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Verdict,
        experiments::prs::tests::{finished_with, request},
    };

    /// Nine heads at the places of a 3 x 3 kernel, a little beside them.
    fn kernel(beside: f64) -> Vec<[f64; 3]> {
        (0..9).map(|h| [f64::from(h / 3 - 1) + beside, f64::from(h % 3 - 1), 1.0]).collect()
    }

    #[test]
    fn an_offset_counts_once_and_only_from_near() {
        assert!((share(&vec![kernel(0.3); 3], 1.0) - 1.0).abs() < 1e-12);
        let between = vec![vec![[0.4, 0.4, 1.0]; 9]; 3];
        assert_eq!(share(&between, 2.0), 0.0);
        let far = vec![vec![[2.0, 0.0, 1.0]; 9]; 3];
        assert!(share(&far, 1.0) == 0.0 && share(&far, 2.0) > 0.0);
        let crowd = vec![vec![[0.1, 0.1, 1.0]; 9]; 3];
        assert!((share(&crowd, 2.0) - 1.0 / 9.0).abs() < 1e-12);
        let none = vec![vec![[0.0, 0.0, -1.0]; 9]; 3];
        assert_eq!(share(&none, 2.0), 0.0);
        assert!(share(&Vec::new(), 1.0).is_nan());
    }

    fn verdict(end: impl Fn(u64) -> Vec<[f64; 3]>) -> Verdict {
        let request = request(Preset::Small);
        let cells = (OFFSETS.cells)(&request).unwrap();
        let results: Vec<_> = cells
            .into_iter()
            .map(|cell| {
                let heads = vec![end(cell.seed); 6];
                finished_with(cell, 50.0, |m| m.head_positions = heads.clone())
            })
            .collect();
        assert!(results.iter().all(|run| start(run).len() == 6 && start(run)[0].len() == 9));
        report(&request, &results).unwrap().claims[0].verdict
    }

    #[test]
    fn heads_that_come_to_the_kernel_make_the_claim_hold_and_those_that_fly_apart_make_it_fail() {
        assert_eq!(verdict(|_| kernel(0.2)), Verdict::Holds);
        assert_eq!(verdict(|_| vec![[9.0, 9.0, 1.0]; 9]), Verdict::Fails);
    }
}
