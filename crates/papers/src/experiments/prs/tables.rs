//! What the runs of the main study measured, as tables and figures.

use inductive_train::Metrics;

use super::{
    super::{
        CellResult,
        results::{layers, of_arm, profile},
    },
    arms::{Arm, EARLY_FIRST, LATE_FIRST, LAYERS, NEVER, SWEEP, Scale, UNIFORM_50},
};
use crate::{Report, Seeded};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Finished runs at the first of the study's fractions.
pub(super) struct Measured<'a> {
    pub results: &'a [CellResult],
    pub scale: &'a Scale,
}

impl Measured<'_> {
    fn fraction(&self) -> f64 {
        self.scale.fractions[0]
    }

    /// `measure` at the end of an arm's runs, by seed.
    pub fn of(&self, arm: Arm, measure: impl Fn(&Metrics) -> f64) -> Seeded {
        of_arm(self.results, arm.variant, self.fraction(), measure)
    }

    /// Accuracy of the last weights, percent.
    pub fn top1(&self, arm: Arm) -> Seeded {
        self.of(arm, |m| m.test_top1)
    }

    /// The last line of metrics of each of an arm's runs.
    pub fn last(&self, arm: Arm) -> impl Iterator<Item = &Metrics> {
        let runs = self.results.iter().filter(move |r| r.cell.variant == arm.variant);
        runs.filter_map(|run| run.result.metrics.last())
    }

    /// A list with one number per layer, mean over seeds, as text.
    fn profile(&self, arm: Arm, list: fn(&Metrics) -> &Vec<f64>) -> Entry {
        Entry::text(profile(self.results, arm.variant, self.fraction(), list))
    }

    /// The shares of the run, in percent, after which each layer left convolution; `None`: it did not.
    fn switched(&self, arm: Arm) -> Vec<Option<f64>> {
        let Some(last) = self.last(arm).next() else { return Vec::new() };
        let share = |step: u64| 100.0 * step as f64 / last.step as f64;
        let mut shares: Vec<_> = last.switched.iter().map(|step| step.map(share)).collect();
        shares.resize(LAYERS, None);
        shares
    }

    /// Adds all tables and figures.
    pub fn add(&self, report: &mut Report) {
        report
            .table("accuracy", self.accuracy())
            .table("switch-times", self.times())
            .table("inside", self.inside())
            .figure("accuracy", self.accuracy_by_time())
            .figure("switch-times", self.times_by_layer())
            .figure("gates", self.gates_by_layer());
    }

    fn accuracy(&self) -> Table {
        let mut table = Table::new(
            "Accuracy, mean over seeds ± standard deviation (n)",
            [
                Column::left("arm"),
                Column::left("layers"),
                Column::right("top-1"),
                Column::right("above convolution throughout"),
                Column::right("top-1 in training"),
                Column::right("test loss"),
            ],
        );
        let never = self.top1(NEVER);
        for arm in self.scale.arms {
            let above = (arm.variant != NEVER.variant).then(|| self.top1(*arm).minus(&never));
            table.row([
                Entry::text(arm.variant),
                Entry::text(arm.label),
                Entry::measured(self.top1(*arm).summary(), 1),
                above.map_or(Entry::Empty, |it| Entry::measured(it.summary(), 1)),
                Entry::measured(self.of(*arm, |m| m.train_top1).summary(), 1),
                Entry::measured(self.of(*arm, |m| m.test_loss).summary(), 3),
            ]);
        }
        table.note(
            "Above: points, paired by seed. In training: on augmented images, over the last half of the run.",
        );
        table
    }

    fn times(&self) -> Table {
        let layers = (1..=LAYERS).map(|layer| Column::right(layer.to_string()));
        let columns = [Column::left("arm")].into_iter().chain(layers).chain([Column::right("mean")]);
        let mut table = Table::new(
            "Share of the run, in %, after which each layer left convolution, first to last",
            columns,
        );
        for arm in self.scale.arms {
            let times = self.switched(*arm);
            let text =
                |time: Option<f64>| Entry::text(time.map_or("never".to_owned(), |it| format!("{it:.0}")));
            // A layer that does not leave is a convolution for all of the run.
            let mean = times.iter().map(|time| time.unwrap_or(100.0)).sum::<f64>() / times.len() as f64;
            let mean = if times.is_empty() { Entry::Empty } else { Entry::number(mean, 1) };
            table.row(
                [Entry::text(arm.variant)].into_iter().chain(times.iter().map(|it| text(*it))).chain([mean]),
            );
        }
        table
    }

    fn inside(&self) -> Table {
        let mut table = Table::new(
            "Inside at the end, layer by layer",
            [
                Column::left("arm"),
                Column::right("share of position"),
                Column::right("non-locality"),
                Column::right("high-frequency share"),
            ],
        );
        for arm in self.scale.arms {
            table.row([
                Entry::text(arm.variant),
                self.profile(*arm, |m| &m.gates),
                self.profile(*arm, |m| &m.nonlocality),
                self.profile(*arm, |m| &m.high_frequency),
            ]);
        }
        table.note(
            "Share of position in attention, mean over heads; 1 for a convolution. Non-locality: mean attention distance \
             in patches. High-frequency share of the output of each block. Means over seeds on a fixed batch of test \
             images.",
        );
        table
    }

    fn accuracy_by_time(&self) -> Figure {
        let ticks = SWEEP.map(|(percent, _)| (percent, format!("{percent} %")));
        let run = SWEEP.iter().filter(|(_, arm)| self.scale.has(*arm));
        let uniform = run.fold(Series::measured("all layers at once", 0), |series, (percent, arm)| {
            series.mean_sd(*percent, self.top1(*arm).summary())
        });
        let at = |name, hue, arm, x| Series::measured(name, hue).mean_sd(x, self.top1(arm).summary());
        Figure::new(
            "Accuracy against the time at which layers leave convolution",
            Axis::linear("mean share of the run in convolution").with_ticks(ticks),
            Axis::linear("top-1, %"),
        )
        .series(uniform)
        .series(at("late layers first", 1, LATE_FIRST, 50.0))
        .series(at("early layers first", 2, EARLY_FIRST, 50.0))
        .caption(
            "Mean ± sd over seeds. 0 %: attention from the start, with the function of convolution; 100 %: convolution \
             throughout.",
        )
    }

    fn times_by_layer(&self) -> Figure {
        let mut figure = Figure::new(
            "When each layer leaves convolution",
            layers_axis(),
            Axis::linear("share of the run, %"),
        )
        .caption("As the runs recorded it. The three have the same mean, but for rounding to updates.");
        for (hue, arm) in [UNIFORM_50, LATE_FIRST, EARLY_FIRST].into_iter().enumerate() {
            let times = self.switched(arm);
            let points =
                times.iter().enumerate().filter_map(|(layer, time)| Some((layer as f64 + 1.0, (*time)?)));
            figure = figure.series(points.fold(Series::measured(arm.label, hue), |s, (x, y)| s.point(x, y)));
        }
        figure
    }

    fn gates_by_layer(&self) -> Figure {
        let mut figure =
            Figure::new("Share of position at the end", layers_axis(), Axis::linear("share of position"))
                .caption("Mean over heads and seeds; 1 at the switch.");
        let shown =
            self.scale.arms.iter().filter(|arm| arm.variant != NEVER.variant && arm.variant != "held");
        for (hue, arm) in shown.enumerate() {
            let gates = layers(self.results, arm.variant, self.fraction(), |m| &m.gates);
            figure = figure.series(curve(arm.variant, hue, &gates));
        }
        figure
    }
}

/// Layers of the network, first to last.
pub(super) fn layers_axis() -> Axis {
    Axis::linear("layer").with_ticks((1..=LAYERS).map(|layer| (layer as f64, layer.to_string())))
}

/// One number per layer.
pub(super) fn curve(name: &str, hue: usize, values: &[f64]) -> Series {
    let points = values.iter().enumerate();
    points
        .fold(Series::measured(name, hue), |series, (layer, value)| series.point(layer as f64 + 1.0, *value))
}
