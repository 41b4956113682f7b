//! The runs: one network whose layers leave convolution at other times and in other ways.

use inductive_nn::{Gate, Positions};
use inductive_schedule::{Duration, SwitchTimes};
use inductive_train::{Keep, Recipe, SwitchRecipe, Synthetic};

use super::super::{Cell, Request, Result, percent, subset};

/// The network of studies: 3 layers of 48 channels on 8 x 8 patches, 3 of 96 on 4 x 4.
pub(super) const STAGED: &str = "prs_micro";
/// Layers of either that can leave convolution.
pub(super) const LAYERS: usize = 6;

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arm {
    /// Name of its runs.
    pub variant: &'static str,
    /// What it is, in words.
    pub label: &'static str,
    /// When and how its layers leave convolution; `None`: they do not.
    pub switch: fn() -> Option<SwitchRecipe>,
    /// Parameters that keep the values they begin with.
    pub freeze: &'static [&'static str],
}

impl Arm {
    const fn new(variant: &'static str, label: &'static str, switch: fn() -> Option<SwitchRecipe>) -> Self {
        Self { variant, label, switch, freeze: &[] }
    }

    /// The same with parameters that keep the values they begin with.
    const fn frozen(self, freeze: &'static [&'static str]) -> Self {
        Self { freeze, ..self }
    }
}

/// Leaves convolution in the way that keeps the function: sharp positions, a linear gate from 1.
fn at(times: SwitchTimes) -> Option<SwitchRecipe> {
    Some(SwitchRecipe::new(times))
}

/// Attention from the first update.
fn from_start(positions: Positions, gate: Gate) -> Option<SwitchRecipe> {
    Some(SwitchRecipe { times: SwitchTimes::FromStart, positions, gate })
}

fn uniform(percent: f64) -> SwitchTimes {
    SwitchTimes::Uniform(Duration::Percent(percent))
}

/// The first and the last switch of the linear schedules; their mean is 50 %.
const EARLIEST: Duration = Duration::Percent(25.0);
const LATEST: Duration = Duration::Percent(75.0);

pub(super) const NEVER: Arm = Arm::new("never", "convolution throughout", || None);
pub(super) const FROM_START: Arm =
    Arm::new("from-start", "attention from the start, as convolution", || at(SwitchTimes::FromStart));
pub(super) const UNIFORM_25: Arm = Arm::new("uniform-25", "all layers at 25 %", || at(uniform(25.0)));
pub(super) const UNIFORM_50: Arm = Arm::new("uniform-50", "all layers at 50 %", || at(uniform(50.0)));
pub(super) const UNIFORM_75: Arm = Arm::new("uniform-75", "all layers at 75 %", || at(uniform(75.0)));
pub(super) const LATE_FIRST: Arm = Arm::new("late-first", "late layers first, 25 % to 75 %", || {
    at(SwitchTimes::LateFirst { earliest: EARLIEST, latest: LATEST })
});
pub(super) const EARLY_FIRST: Arm = Arm::new("early-first", "early layers first, 25 % to 75 %", || {
    at(SwitchTimes::EarlyFirst { earliest: EARLIEST, latest: LATEST })
});
pub(super) const HELD: Arm = Arm::new("held", "all layers at 50 %, by position alone for good", || {
    Some(SwitchRecipe { gate: Gate::Held, ..SwitchRecipe::new(uniform(50.0)) })
});
pub(super) const RANDOM: Arm =
    Arm::new("random", "attention from the start, random positions", || from_start(Positions::Kept, SIGMOID));

/// Convolution, but as blurred as ConViT's initialisation: from the first update, locality strength 1, sigmoid of 1.
pub(super) const BLURRED: Arm =
    Arm::new("blurred", "attention from the start, as blurred convolution", || {
        from_start(BLURRED_KERNEL, SIGMOID)
    });

/// ConViT's initial gate, a share of position of 0.731.
const SIGMOID: Gate = Gate::Sigmoid(1.0);
/// ConViT's initial positions, 0.318 of the attention on the patch a head aims at.
const BLURRED_KERNEL: Positions = Positions::Kernel { alpha: 1.0 };
/// Names of all gates.
const GATES: &[&str] = &["*.mixer.gate"];
/// Names of all parameters of the layers that can leave convolution.
const MIXERS: &[&str] = &["*.mixer.*"];

/// ConViT's ablation (its Table 3), a to g.
pub(super) const ABLATION: [Arm; 7] = [
    Arm::new("a", "gate, convolutional positions", || from_start(BLURRED_KERNEL, SIGMOID)),
    Arm::new("b", "gate frozen at 0.5", || from_start(BLURRED_KERNEL, Gate::Sigmoid(0.0))).frozen(GATES),
    Arm::new("c", "random positions", || from_start(Positions::Kept, SIGMOID)),
    Arm::new("d", "gate frozen at 0.5, random positions", || from_start(Positions::Kept, Gate::Sigmoid(0.0)))
        .frozen(GATES),
    Arm::new("e", "content alone", || from_start(Positions::Kept, Gate::Linear(0.0))).frozen(GATES),
    Arm::new("f", "attention frozen, convolutional positions", || from_start(BLURRED_KERNEL, SIGMOID))
        .frozen(MIXERS),
    Arm::new("g", "attention frozen, random positions", || from_start(Positions::Kept, SIGMOID))
        .frozen(MIXERS),
];

/// Cordonnier et al.'s: attention by position alone, around centres drawn from N(0, 2^2), twice as wide as ConViT's.
pub(super) const SCATTERED: Arm = Arm::new("scattered", "attention by position, scattered heads", || {
    from_start(Positions::Scattered { std: 2.0, alpha: 0.5, seed: 0 }, Gate::Held)
});

/// What `schedule` compares; the more important first, since a study that is stopped has those.
pub(super) const SCHEDULES: [Arm; 9] =
    [NEVER, UNIFORM_50, LATE_FIRST, EARLY_FIRST, FROM_START, HELD, UNIFORM_25, UNIFORM_75, RANDOM];
/// Its main part.
pub(super) const MAIN: [Arm; 5] = [NEVER, UNIFORM_50, LATE_FIRST, EARLY_FIRST, FROM_START];
/// What `fractions` compares.
pub(super) const FRACTIONS: [Arm; 3] = [NEVER, BLURRED, RANDOM];

/// Arms by the share of the run that all layers are convolutions, in percent.
pub(super) const SWEEP: [(f64, Arm); 5] =
    [(0.0, FROM_START), (25.0, UNIFORM_25), (50.0, UNIFORM_50), (75.0, UNIFORM_75), (100.0, NEVER)];

/// Sizes of a study.
pub(super) struct Scale {
    /// The network.
    pub model: &'static str,
    /// Length of every run.
    pub length: Duration,
    pub batch_size: usize,
    /// Shares of the training images.
    pub fractions: &'static [f64],
    pub seeds: u64,
    pub synthetic: Synthetic,
    pub arms: &'static [Arm],
    /// Evaluations of a run.
    pub evaluations: u32,
}

impl Scale {
    /// Whether runs of `arm` belong to the study.
    pub fn has(&self, arm: Arm) -> bool {
        self.arms.iter().any(|it| it.variant == arm.variant)
    }
}

/// All runs, seed by seed: a study that is stopped early has whole pairs.
pub(super) fn cells(request: &Request, scale: &Scale) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for seed in 0..request.seeds_or(scale.seeds)? {
        for &fraction in scale.fractions {
            for arm in scale.arms {
                let recipe = Recipe {
                    model: scale.model.to_owned(),
                    switch: (arm.switch)(),
                    freeze: arm.freeze.iter().map(|&it| it.to_owned()).collect(),
                    seed,
                    data: request.data.clone(),
                    subset: subset(&request.data, fraction),
                    batch_size: scale.batch_size,
                    epochs: scale.length,
                    eval_every: Duration::Percent(100.0 / f64::from(scale.evaluations)),
                    drop_path: 0.0,
                    synthetic: scale.synthetic,
                    keep: Keep { last: false, best: false, state: false },
                    ..Recipe::default()
                };
                let name = format!("{}-{}", arm.variant, percent(fraction).replace('%', "pct"));
                cells.push(Cell { name, variant: arm.variant, fraction, seed, recipe });
            }
        }
    }
    Ok(cells)
}

/// What the network is.
pub(super) fn network(request: &Request, scale: &Scale) -> String {
    let what = "patches of 4 pixels, 3 blocks of 48 channels on 8x8 patches and 3 of 96 on 4x4; in each a 3x3 convolution \
                (replicate border) that can become attention with 9 heads of full width, and an MLP. No position embedding, \
                average pooling.";
    format!("`{}` on `{}`, preset `{}`: {what}", scale.model, request.data, request.preset)
}

/// The recipe in words.
pub(super) fn how(request: &Request, scale: &Scale) -> String {
    let shares: Vec<String> = scale
        .fractions
        .iter()
        .map(|&it| {
            format!("{} of the training images ({} of each class)", percent(it), subset(&request.data, it))
        })
        .collect();
    format!(
        "Every run: {}, {} in batches of {}, AdamW, learning rate 1e-3 with 5 % warm-up and a cosine that no switch \
         touches, weight decay 0.05, label smoothing 0.1, crop and flip, no drop path. Runs of a seed have the same \
         initial weights, order of images and number of updates, and the same parameters, of which those of attention rest \
         until a layer switches; the images are the first of each class in every run, so intervals leave out their choice. \
         Accuracy is that of the last weights.",
        shares.join(", "),
        scale.length,
        scale.batch_size
    )
}

/// What differs from the paper in every table.
pub(super) const DIFFERENCES: [&str; 5] = [
    "nothing here repeats a table of arXiv 2210.01370: its text, tables and hyperparameters were not available. Results \
     are of a PRS-style schedule (project choice of first and last switch time, alpha, gate)",
    "architecture: ours, two stages at 32 pixels; the paper's is not known",
    "schedule: the abstract says that late layers leave convolution earlier, linearly in depth; the ends, 25 % and 75 % of \
     the run, are ours",
    "switch: sharp positions (alpha 20) and a linear gate from 1, projected to [0, 1], keep the function exactly; the form \
     of the paper's gate is not known",
    "optimizer: the convolution's moments go on as those of the attention's output weights, what is new begins with \
     moments of zero; the paper's choice is not known",
];
