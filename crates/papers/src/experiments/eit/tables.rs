//! What the runs measured, as tables and figures.

use std::path::Path;

use inductive_train::Metrics;

use super::{
    super::{
        CellResult, Request, Result,
        results::{layers, of_arm, profile},
    },
    Arm, EIT, EIT_POS, HALF, INCREASING, MEAN, P, P_POS, RESNET, Scale, T, T_POS, VIT, VIT_POS,
    exact::{Numbers, numbers},
};
use crate::{Published, Report, Seeded};
use inductive_report::{
    figure::{Axis, Figure, Series},
    table::{Cell as Entry, Column, Table},
};

/// Classes of the data, for the heads of the models that are counted.
fn classes(data: &str) -> usize {
    match data.split_once(':') {
        Some(("cifar100", _)) => 100,
        Some(("folder", dir)) => std::fs::read_dir(Path::new(dir).join("train")).map_or(10, |it| it.count()),
        _ => 10,
    }
}

/// Finished runs, and what their models are.
pub(super) struct Measured<'a> {
    results: &'a [CellResult],
    fraction: f64,
    classes: usize,
    /// Of the arms that were run.
    arms: Vec<(Arm, Numbers)>,
    published: &'static Published,
}

impl<'a> Measured<'a> {
    pub fn new(request: &Request, scale: &Scale, results: &'a [CellResult]) -> Result<Self> {
        let classes = classes(&request.data);
        let arms: Result<Vec<_>> =
            scale.arms.iter().map(|arm| Ok((*arm, numbers(arm.model, classes)?))).collect();
        let published = Published::embedded()?;
        Ok(Self { results, fraction: scale.fraction, classes, arms: arms?, published })
    }

    /// `measure` at the end of an arm's runs, by seed.
    pub fn of(&self, arm: Arm, measure: impl Fn(&Metrics) -> f64) -> Seeded {
        of_arm(self.results, arm.variant, self.fraction, measure)
    }

    /// What an arm's model is; `None` for one that was not run.
    pub fn numbers(&self, arm: Arm) -> Option<&Numbers> {
        self.arms.iter().find(|(it, _)| *it == arm).map(|(_, numbers)| numbers)
    }

    fn top1(&self, arm: Arm) -> Seeded {
        self.of(arm, |m| m.test_top1)
    }

    /// Adds all tables and figures.
    pub fn add(&self, report: &mut Report) {
        report
            .table("comparison", self.comparison())
            .table("parts", self.parts())
            .table("splits-measured", self.splits())
            .table("inside", self.inside())
            .figure("accuracy", self.accuracy())
            .figure("high-frequency", self.frequencies());
    }

    /// All arms, with their sizes.
    fn comparison(&self) -> Table {
        let mut table = Table::new(
            "All models: top-1 accuracy, mean over seeds ± standard deviation (n)",
            [
                Column::left("model"),
                Column::right("parameters"),
                Column::right("MMACs"),
                Column::right("top-1"),
                Column::right("above EIT"),
                Column::right("top-5"),
                Column::right("test loss"),
            ],
        );
        let eit = self.top1(EIT);
        for (arm, numbers) in &self.arms {
            let above = self.top1(*arm).minus(&eit);
            table.row([
                Entry::text(arm.label),
                Entry::count(numbers.parameters),
                Entry::number(numbers.spec.macs() as f64 / 1e6, 1),
                Entry::measured(self.top1(*arm).summary(), 1),
                if *arm == EIT { Entry::Empty } else { Entry::measured(above.summary(), 1) },
                Entry::measured(self.of(*arm, |m| m.test_top5).summary(), 1),
                Entry::measured(self.of(*arm, |m| m.test_loss).summary(), 3),
            ]);
        }
        table.note(format!(
            "Parameters and MACs (attention products included) with {} classes. Above EIT: points, paired by seed.",
            self.classes
        ));
        if let Some((eit, resnet)) = self.numbers(EIT).zip(self.numbers(RESNET)) {
            let share = 100.0 * eit.parameters as f64 / resnet.parameters as f64;
            table.note(format!(
                "EIT has {share:.1} % of the parameters of this ResNet, which has {:.2} times EIT's; the paper names {}.",
                100.0 / share,
                self.published("abstract-v1", "parameters relative to ResNet")
            ));
        }
        table.note(format!(
            "Of EIT above ViT the paper names {} and {}, on average over four small data sets; it does not say which, nor \
             whether these are points.",
            self.published("abstract-v1", "mean gain over ViT"),
            self.published("abstract-v2", "mean gain over ViT")
        ));
        table
    }

    /// What an abstract of the paper says of its small data sets, with the source.
    fn published(&self, table: &str, column: &str) -> String {
        let row = "four small datasets (names unavailable)";
        let said = self.published.value("eit", table, row, column);
        said.iter().map(|it| format!("{} ({})", it.value, it.source)).collect::<Vec<_>>().join(", ")
    }

    /// Patches x convolution, with and without positions.
    fn parts(&self) -> Table {
        let mut table = Table::new(
            "Patches (P) and convolution (T): top-1 accuracy",
            [
                Column::left("model"),
                Column::right("without positions"),
                Column::right("with positions"),
                Column::right("gain"),
            ],
        );
        for (label, plain, positions) in [
            ("ViT: neither", VIT, VIT_POS),
            ("P alone", P, P_POS),
            ("T alone", T, T_POS),
            ("EIT: both", EIT, EIT_POS),
        ] {
            table.row([
                Entry::text(label),
                Entry::measured(self.top1(plain).summary(), 1),
                Entry::measured(self.top1(positions).summary(), 1),
                Entry::measured(self.top1(positions).minus(&self.top1(plain)).summary(), 1),
            ]);
        }
        table.note("Gain: points from a learned position embedding, paired by seed. The grid has 8x8 patches in all of them.");
        table
    }

    /// Splits between convolution and attention.
    fn splits(&self) -> Table {
        let mut table = Table::new(
            "How channels are split between convolution and attention: top-1 accuracy",
            [
                Column::left("split"),
                Column::right("convolution's channels"),
                Column::right("parameters"),
                Column::right("MMACs"),
                Column::right("top-1"),
            ],
        );
        for arm in [EIT, MEAN, HALF, INCREASING, P] {
            let Some(numbers) = self.numbers(arm) else { continue };
            let label = match arm {
                EIT => "decreasing (EIT)",
                P => "attention alone",
                other => other.label,
            };
            let channels = numbers.spec.eit().into_iter().flat_map(|eit| &eit.conv_channels);
            table.row([
                Entry::text(label),
                Entry::text(channels.map(usize::to_string).collect::<Vec<_>>().join(" ")),
                Entry::count(numbers.parameters),
                Entry::number(numbers.spec.macs() as f64 / 1e6, 1),
                Entry::measured(self.top1(arm).summary(), 1),
            ]);
        }
        table.note("All with EIT's patches and without positions. The paper's own constant split (LSRA) is not available.");
        table.note(
            "Only the class token of the last layer reaches the logits, and it passes the convolution unchanged: channels that \
             are convolved in the last layer do nothing there but carry the class token. EIT has none of them.",
        );
        table
    }

    /// Proxies for the paper's analysis.
    fn inside(&self) -> Table {
        let mut table = Table::new(
            "Inside at the end, layer by layer: PROXIES, since the paper's definitions are not available",
            [
                Column::left("model"),
                Column::right("high-frequency share"),
                Column::right("head diversity"),
                Column::right("non-locality"),
            ],
        );
        for (arm, _) in &self.arms {
            let list = |list| Entry::text(profile(self.results, arm.variant, self.fraction, list));
            table.row([
                Entry::text(arm.label),
                list(|m| &m.high_frequency),
                list(|m| &m.head_diversity),
                list(|m| &m.nonlocality),
            ]);
        }
        table.note(
            "High-frequency share: share of the spectrum's amplitude (DC left out) above half of Nyquist, in the output of \
             each block. Head diversity: standard deviation over heads of the mean attention distance, in patches. \
             Non-locality in patches. Means over seeds on a fixed batch of test images; all tokens of the last block are \
             among them, though only its class token is trained.",
        );
        table
    }

    fn accuracy(&self) -> Figure {
        let mut figure = Figure::new(
            "Accuracy against parameters",
            Axis::log("parameters, thousands"),
            Axis::linear("top-1, %"),
        )
        .caption("Mean ± sd over seeds, all at the same number of epochs.");
        let groups: [(&str, &[Arm]); 5] = [
            ("EIT", &[EIT, EIT_POS]),
            ("P or T alone", &[P, P_POS, T, T_POS]),
            ("ViT", &[VIT, VIT_POS]),
            ("other splits", &[MEAN, HALF, INCREASING]),
            ("ResNet", &[RESNET]),
        ];
        for (hue, (name, arms)) in groups.into_iter().enumerate() {
            let run = arms.iter().filter_map(|arm| Some((arm, self.numbers(*arm)?)));
            let series = run.fold(Series::measured(name, hue), |series, (arm, numbers)| {
                series.mean_sd(numbers.parameters as f64 / 1e3, self.top1(*arm).summary())
            });
            figure = figure.series(series);
        }
        figure
    }

    fn frequencies(&self) -> Figure {
        let mut figure = Figure::new(
            "High-frequency share over depth (proxy)",
            Axis::linear("block"),
            Axis::linear("share above half of Nyquist"),
        )
        .caption("Output of each block, mean over seeds.");
        let shown = [(EIT, 0), (HALF, 3), (VIT_POS, 2), (RESNET, 4)];
        for (arm, hue) in shown.into_iter().filter(|(arm, _)| self.numbers(*arm).is_some()) {
            let values = layers(self.results, arm.variant, self.fraction, |m| &m.high_frequency);
            let points = values.iter().enumerate();
            let series = points.fold(Series::measured(arm.label, hue), |series, (block, share)| {
                series.point(block as f64 + 1.0, *share)
            });
            figure = figure.series(series);
        }
        figure
    }
}
