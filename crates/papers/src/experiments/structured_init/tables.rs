//! What the runs measured, as tables and figures.

use inductive_train::{Inside, Metrics};

use super::{
    super::CellResult,
    arms::{Arm, POOLED, Scale},
};
use crate::{Report, Seeded};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// The first evaluation.
    Early,
    /// The last.
    End,
}

impl When {
    /// What to add to a statement.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Early => ", early",
            Self::End => "",
        }
    }
}

/// Finished runs.
pub(super) struct Measured<'a> {
    pub results: &'a [CellResult],
    pub scale: &'a Scale,
}

impl Measured<'_> {
    fn runs(&self, arm: Arm) -> impl Iterator<Item = &CellResult> {
        self.results
            .iter()
            .filter(move |r| r.cell.variant == arm.variant && r.cell.fraction == self.scale.fraction)
    }

    /// `measure` of an arm's runs, by seed.
    fn of(&self, arm: Arm, when: When, measure: impl Fn(&Metrics) -> f64) -> Seeded {
        let metrics = |run: &CellResult| match when {
            When::Early => run.result.metrics.first().cloned(),
            When::End => run.result.metrics.last().cloned(),
        };
        self.runs(arm).filter_map(|run| Some((run.cell.seed, measure(&metrics(run)?)))).collect()
    }

    pub fn top1(&self, arm: Arm, when: When) -> Seeded {
        self.of(arm, when, |m| m.test_top1)
    }

    /// The largest stable ranks of a block's tokens by seed: when, which, and the ranks.
    pub fn largest_ranks(&self, arm: Arm) -> [(&'static str, &'static str, Seeded); 4] {
        // Not f64::max, which passes over a block that is no number.
        let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
        let largest = |list: &[f64]| list.iter().copied().reduce(larger).unwrap_or(f64::NAN);
        let start = |list: fn(&Inside) -> &Vec<f64>| -> Seeded {
            let runs = self.runs(arm);
            runs.filter_map(|run| Some((run.cell.seed, largest(list(run.result.start.as_ref()?))))).collect()
        };
        [
            ("start", "sr2", start(|it| &it.stable_rank)),
            ("start", "sr1", start(|it| &it.nuclear_rank)),
            ("end", "sr2", self.of(arm, When::End, |m| largest(&m.stable_rank))),
            ("end", "sr1", self.of(arm, When::End, |m| largest(&m.nuclear_rank))),
        ]
    }

    /// Adds all tables and figures.
    pub fn add(&self, report: &mut Report) {
        report
            .table("accuracy", self.accuracy())
            .table("decay", self.decay())
            .table("inside", self.inside())
            .table("stable-rank-trained", self.ranks())
            .figure("learning", self.learning())
            .figure("target-mass", self.target_mass());
    }

    /// All arms.
    fn accuracy(&self) -> Table {
        let mut table = Table::new(
            "Accuracy, mean over seeds ± standard deviation (n)",
            [
                Column::left("model"),
                Column::left("initial weights"),
                Column::right("top-1, early"),
                Column::right("top-1"),
                Column::right("above default"),
                Column::right("test loss"),
            ],
        );
        for arm in self.scale.arms {
            let default =
                self.scale.arms.iter().find(|it| it.model == arm.model && it.init == Some("kaiming"));
            let top1 = self.top1(*arm, When::End);
            let above = default.filter(|it| *it != arm).map(|it| top1.minus(&self.top1(*it, When::End)));
            table.row([
                Entry::text(arm.model),
                Entry::text(arm.label),
                Entry::measured(self.top1(*arm, When::Early).summary(), 1),
                Entry::measured(top1.summary(), 1),
                above.map_or(Entry::Empty, |it| Entry::measured(it.summary(), 1)),
                Entry::measured(self.of(*arm, When::End, |m| m.test_loss).summary(), 3),
            ]);
        }
        table.note("Above default: points, paired by seed, of the same model.");
        table
    }

    /// Mean over seeds of a list with one number per layer, of whatever `list` reads of a run.
    fn layers<'b>(&'b self, arm: Arm, list: impl Fn(&'b CellResult) -> Option<&'b Vec<f64>>) -> Vec<f64> {
        let lists: Vec<&Vec<f64>> = self.runs(arm).filter_map(list).collect();
        let depth = lists.iter().map(|list| list.len()).min().unwrap_or(0);
        (0..depth).map(|i| lists.iter().map(|list| list[i]).sum::<f64>() / lists.len() as f64).collect()
    }

    /// How much of the designed attention is left while training goes on.
    pub fn decay(&self) -> Table {
        let columns = [
            Column::left("model"),
            Column::left("initial weights"),
            Column::right("start"),
            Column::right("early"),
            Column::right("end"),
        ];
        let mut table =
            Table::new("Attention to its target, layer by layer: how the pattern decays", columns);
        for arm in self.scale.arms {
            let start = self.layers(*arm, |run| run.result.start.as_ref().map(|it| &it.target_mass));
            if start.is_empty() {
                continue;
            }
            table.row([
                Entry::text(arm.model),
                Entry::text(arm.label),
                Entry::text(profile(&start)),
                Entry::text(profile(
                    &self.layers(*arm, |run| Some(&run.result.metrics.first()?.target_mass)),
                )),
                Entry::text(profile(&self.layers(*arm, |run| Some(&run.result.metrics.last()?.target_mass)))),
            ]);
        }
        table.note(
            "Share of a patch's attention that goes to the patch its head aims at, over heads, patches and a fixed batch of test \
             images; uniform attention has 0.016. For mimetic weights the target is the patch itself.",
        );
        table
    }

    /// What the layers do, before and after.
    fn inside(&self) -> Table {
        let columns = [
            Column::left("model"),
            Column::left("initial weights"),
            Column::right("non-locality, start"),
            Column::right("end"),
            Column::right("head diversity, end"),
        ];
        let mut table = Table::new("Inside, layer by layer", columns);
        for arm in self.scale.arms {
            table.row([
                Entry::text(arm.model),
                Entry::text(arm.label),
                Entry::text(profile(
                    &self.layers(*arm, |run| run.result.start.as_ref().map(|it| &it.nonlocality)),
                )),
                Entry::text(profile(&self.layers(*arm, |run| Some(&run.result.metrics.last()?.nonlocality)))),
                Entry::text(profile(
                    &self.layers(*arm, |run| Some(&run.result.metrics.last()?.head_diversity)),
                )),
            ]);
        }
        table.note("Non-locality: mean attention distance in patches; uniform attention has 4.1.");
        table
    }

    /// How many directions the tokens have.
    fn ranks(&self) -> Table {
        let columns = [
            Column::left("model"),
            Column::left("initial weights"),
            Column::right("sr2, start"),
            Column::right("sr2, end"),
            Column::right("sr1, start"),
            Column::right("sr1, end"),
        ];
        let mut table = Table::new("Stable rank of the patches after each block", columns);
        for arm in self.scale.arms {
            let start = |list: fn(&Inside) -> &Vec<f64>| {
                profile(&self.layers(*arm, |run| run.result.start.as_ref().map(list)))
            };
            let end = |list: fn(&Metrics) -> &Vec<f64>| {
                profile(&self.layers(*arm, |run| run.result.metrics.last().map(list)))
            };
            table.row([
                Entry::text(arm.model),
                Entry::text(arm.label),
                Entry::text(start(|it| &it.stable_rank)),
                Entry::text(end(|it| &it.stable_rank)),
                Entry::text(start(|it| &it.nuclear_rank)),
                Entry::text(end(|it| &it.nuclear_rank)),
            ]);
        }
        table.note(
            "Of a sample's matrix of 64 patches by 96 channels with singular values s: sr1 = sum s / max s, sr2 = sum s^2 / max \
             s^2, mean over test images; both could be 64.",
        );
        table
    }

    /// Epochs of the evaluations, those of the first run.
    fn epochs(&self, arm: Arm) -> Vec<f64> {
        self.runs(arm)
            .next()
            .map_or_else(Vec::new, |run| run.result.metrics.iter().map(|m| m.epoch).collect())
    }

    fn learning(&self) -> Figure {
        let mut figure = Figure::new("Accuracy while training goes on", Axis::linear("epochs"), Axis::linear("top-1, %"))
            .caption("Mean ± sd over seeds. GAP: average pooling, fixed positions; CLS: class token, learned positions.");
        let shown = ["kaiming", "mimetic", "impulse", "impulse3"];
        for (hue, arm) in self
            .scale
            .arms
            .iter()
            .filter(|arm| arm.init.is_some_and(|init| shown.contains(&init)))
            .enumerate()
        {
            let series = Series::measured(short(arm), hue);
            let points = self.epochs(*arm).into_iter().enumerate();
            figure = figure.series(points.fold(series, |series, (index, epoch)| {
                let runs = self.runs(*arm);
                let top1 =
                    runs.filter_map(|run| Some((run.cell.seed, run.result.metrics.get(index)?.test_top1)));
                series.mean_sd(epoch, top1.collect::<Seeded>().summary())
            }));
        }
        figure
    }

    fn target_mass(&self) -> Figure {
        let mut figure = Figure::new(
            "How the designed attention decays",
            Axis::linear("epochs"),
            Axis::linear("attention to the target"),
        )
        .caption("Mean over layers and seeds; uniform attention has 0.016.");
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len() as f64;
        let shown = ["mimetic", "impulse", "impulse3", "impulse-scrambled"];
        let arms = self.scale.arms.iter().filter(|arm| arm.init.is_some_and(|init| shown.contains(&init)));
        for (hue, arm) in arms.enumerate() {
            let start = self.layers(*arm, |run| run.result.start.as_ref().map(|it| &it.target_mass));
            if start.is_empty() {
                continue;
            }
            let series = Series::measured(short(arm), hue).point(0.0, mean(&start));
            let points = self.epochs(*arm).into_iter().enumerate();
            figure = figure.series(points.fold(series, |series, (index, epoch)| {
                let layers = self.layers(*arm, |run| Some(&run.result.metrics.get(index)?.target_mass));
                series.point(epoch, mean(&layers))
            }));
        }
        figure
    }
}

/// Model and weights in few letters.
fn short(arm: &Arm) -> String {
    format!("{}, {}", if arm.model == POOLED { "GAP" } else { "CLS" }, arm.label)
}

/// One number per layer.
fn profile(layers: &[f64]) -> String {
    layers.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ")
}
