//! What all initial weights reach on all grids, by number of heads.

use inductive_init::{
    ClosedForm, Dims, Gradient, Linear, Mixture, Offsets, Quality, QueryKeyChoice, SinCos, Solver, Strategy,
    StrategyInitializer, Target, layer_norm, learned,
};
use inductive_ops::Grid;
use inductive_random::of_seed;

use super::{super::super::Result, Scale, solvers::WIDTH};
use crate::Report;
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell, Column, Table},
};

/// Steps of the gradient solve: the last 100 are free of renormalisation, as in the published 10,000.
const STEPS: usize = 1_100;
/// The constants the text of arXiv 2505.19985 is summarised with; the deviation of its noise is not known, here 0.6.
const PAPER: ClosedForm = ClosedForm { impulse: 40.0, noise: 1.0, norm: 2.0 };

/// Initial weights on a position embedding.
struct Arm {
    label: &'static str,
    strategy: Strategy,
    /// Sines and cosines; else learned ones as they start.
    sines: bool,
}

impl Arm {
    /// Whether queries and keys aim at something.
    fn is_designed(&self) -> bool {
        self.strategy.query_key != QueryKeyChoice::Linear
    }
}

fn arms() -> [Arm; 8] {
    let arm = |label, strategy, sines| Arm { label, strategy, sines };
    let solved = |mut strategy: Strategy, solver| {
        if let Some(impulse) = strategy.impulse_mut() {
            impulse.solver = solver;
        }
        strategy.offsets(Offsets::Ordered)
    };
    let mimetic = || Strategy::mimetic(Mixture::QUERY_KEY, Mixture::VALUE_PROJ);
    let code = Solver::ClosedForm(ClosedForm::default());
    let paper = Strategy { position_scale: 1.0, ..Strategy::impulse_closed_form() };
    let gradient = Solver::Gradient(Gradient { steps: STEPS, ..Gradient::default() });
    [
        arm("Kaiming uniform, learned", Strategy::plain(Linear::Kaiming), false),
        arm("truncated normal, learned", Strategy::plain(Linear::TruncatedNormal), false),
        arm("mimetic, learned", mimetic(), false),
        arm("mimetic, sin-cos", mimetic(), true),
        arm("closed form: code's constants, learned", solved(Strategy::impulse_closed_form(), code), false),
        arm("closed form: paper's constants, learned", solved(paper, Solver::ClosedForm(PAPER)), false),
        arm("closed form, sin-cos", solved(Strategy::impulse_closed_form(), code), true),
        arm("gradient solve, sin-cos", solved(Strategy::impulse_gradient(3), gradient), true),
    ]
}

/// The attention of the first layer on its normalised embedding, against what it aims at; for plain weights, against
/// the impulses in their fixed order.
fn reached(arm: &Arm, grid: Grid, heads: usize) -> Result<Quality> {
    let dims = Dims { width: WIDTH, heads, grid, class_token: false };
    let position = match arm.sines {
        true => SinCos::Timm.embedding(grid, WIDTH)?,
        false => learned(dims.tokens(), WIDTH, &mut of_seed(0)),
    };
    let initializer = StrategyInitializer::new(arm.strategy.clone(), dims, &position.to_f32(), 0)?;
    let layer = initializer.layer(0)?;
    if let Some(quality) = layer.quality {
        return Ok(quality);
    }
    let weights = layer.query_key(heads)?;
    let offsets = Offsets::Ordered.draw(heads, 3, grid, &mut of_seed(0))?;
    let targets: Vec<_> =
        offsets.into_iter().map(|offset| Target::impulse(grid, offset)).collect::<Result<_, _>>()?;
    Ok(Quality::measure(&weights, &layer_norm(&position), &targets)?)
}

/// A table's name, title, decimals, and what it shows.
type Measure = (&'static str, &'static str, usize, fn(&Quality, Grid) -> f64);

const MEASURES: [Measure; 4] = [
    ("mass", "Mean attention to the target, by number of heads", 3, |it, _| it.mass()),
    ("hits", "Share of queries that attend to their target most, %", 1, |it, _| 100.0 * it.hits()),
    ("mse", "MSE over that of uniform attention", 3, |it, _| it.mse() / it.uniform_mse()),
    ("entropy", "Entropy of attention over that of uniform attention", 3, |it, grid| {
        let mean = it.heads.iter().map(|head| head.entropy).sum::<f64>() / it.heads.len() as f64;
        mean / (grid.tokens() as f64).ln()
    }),
];

/// Adds four tables and a figure.
pub(super) fn add(report: &mut Report, scale: &Scale) -> Result<()> {
    let arms = arms();
    let mut rows = Vec::new();
    for &side in scale.sides {
        for arm in &arms {
            let grid = Grid::square(side);
            let by_heads: Vec<_> =
                scale.heads.iter().map(|&heads| reached(arm, grid, heads)).collect::<Result<_>>()?;
            rows.push((arm, grid, by_heads));
        }
    }
    for (name, title, decimals, value) in MEASURES {
        let heads = scale.heads.iter().map(|heads| Column::right(format!("{heads} heads")));
        let mut table = Table::new(
            title,
            [Column::right("grid"), Column::left("initial weights, embedding")].into_iter().chain(heads),
        );
        for (arm, grid, by_heads) in &rows {
            let start = [Cell::text(grid.to_string()), Cell::text(arm.label)];
            let values = by_heads.iter().map(|quality| Cell::number(value(quality, *grid), decimals));
            table.row(start.into_iter().chain(values));
        }
        if name == "mass" {
            table.note(format!(
                "Width {WIDTH}, first layer, seed 0, on the normalised embedding; uniform attention has 1 / N. Targets are impulses \
                 of 3 x 3 in the fixed order; mimetic weights aim at the patch itself. Gradient solve: {} steps, of which the \
                 last 100 are free (the published 10,000 are in the table of solvers).",
                STEPS
            ));
            table.note(
                "Paper's constants: 40 : 1, norm 2, embedding not scaled, as arXiv 2505.19985 is summarised.",
            );
        }
        report.table(name, table);
    }
    if let Some(largest) = scale.sides.last() {
        let of_largest = rows.iter().filter(|(_, grid, _)| grid.rows == *largest);
        let figure = Figure::new(
            format!("Mean attention to the target on {largest} x {largest} patches"),
            Axis::linear("heads")
                .with_ticks(scale.heads.iter().map(|&heads| (heads as f64, heads.to_string()))),
            Axis::linear("mass on target"),
        )
        .caption(format!(
            "Width {WIDTH}, one seed; mimetic weights aim at the patch itself, the others at impulses."
        ));
        // plain weights and the paper's constants lie on the ground
        let shown = of_largest.filter(|(arm, _, _)| arm.is_designed() && !arm.label.contains("paper's"));
        let figure = shown.enumerate().fold(figure, |figure, (hue, (arm, _, by_heads))| {
            let points = scale.heads.iter().zip(by_heads);
            let series = points.fold(Series::measured(arm.label, hue), |series, (heads, quality)| {
                series.point(*heads as f64, quality.mass())
            });
            figure.series(series)
        });
        report.figure("mass", figure);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn designed_weights_look_at_their_targets_and_plain_ones_nowhere() {
        let grid = Grid::square(8);
        for arm in arms() {
            let quality = reached(&arm, grid, 6).unwrap();
            let factor = quality.mass() / quality.uniform_mass();
            let (least, most) = match arm.label {
                _ if !arm.is_designed() => (0.5, 2.0),
                "closed form, sin-cos" => (0.9, 1.1),
                "closed form: paper's constants, learned" => (3.0, 20.0),
                "mimetic, sin-cos" => (3.0, 20.0),
                _ => (20.0, 64.0),
            };
            assert!((least..=most).contains(&factor), "{}: {quality}", arm.label);
        }
    }

    /// With 12 channels a head keeps the 12 strongest of 23 directions; with 64 it keeps all.
    #[test]
    fn the_closed_form_works_on_sines_once_heads_have_few_channels() {
        let closed = &arms()[6];
        assert!(closed.sines && closed.label.starts_with("closed form"));
        let mass = |heads| reached(closed, Grid::square(14), heads).unwrap().mass();
        assert!(mass(3) < 1.05 / 196.0);
        assert!(mass(16) > 0.7);
    }
}
