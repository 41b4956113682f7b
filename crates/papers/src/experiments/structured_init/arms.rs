//! The runs: models with initial weights, at one size of the data.

use inductive_schedule::Duration;
use inductive_train::{Augment, Keep, Recipe, Synthetic};

use super::super::{Cell, Request, Result, percent, subset};

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arm {
    /// Name of its runs.
    pub variant: &'static str,
    /// Registry name of the model.
    pub model: &'static str,
    /// Strategy of its initial weights; `None`: the model's own.
    pub init: Option<&'static str>,
    /// Its depthwise filters; `None`: the model's own.
    pub filters: Option<&'static str>,
    /// Whether these keep their initial values.
    pub frozen: bool,
    /// What it is, in words.
    pub label: &'static str,
}

impl Arm {
    /// The smaller of the numbers of patches and channels; both models have the same.
    pub fn smaller_side(self) -> f64 {
        inductive_models::find(self.model)
            .map_or(f64::NAN, |entry| entry.spec.grid().tokens().min(entry.spec.embed_dim) as f64)
    }
}

/// ViT of arXiv 2404.01139, and that of 2505.19985.
pub(super) const POOLED: &str = "vit_micro_gap";
pub(super) const TOKEN: &str = "deit_micro";

pub(super) const fn arm(
    variant: &'static str,
    model: &'static str,
    init: &'static str,
    label: &'static str,
) -> Arm {
    Arm { variant, model, init: Some(init), filters: None, frozen: false, label }
}

pub(super) const POOLED_DEFAULT: Arm = arm("pooled-default", POOLED, "kaiming", "default");
pub(super) const POOLED_TRUNC: Arm = arm("pooled-trunc-normal", POOLED, "trunc-normal", "truncated normal");
pub(super) const POOLED_MIMETIC: Arm = arm("pooled-mimetic", POOLED, "mimetic", "mimetic");
pub(super) const POOLED_IMPULSE: Arm = arm("pooled-impulse", POOLED, "impulse3", "impulse (gradient solve)");
pub(super) const POOLED_SCRAMBLED: Arm =
    arm("pooled-scrambled", POOLED, "impulse3-scrambled", "scrambled impulse");
pub(super) const DEFAULT: Arm = arm("token-default", TOKEN, "kaiming", "default");
pub(super) const TRUNC: Arm = arm("token-trunc-normal", TOKEN, "trunc-normal", "truncated normal");
pub(super) const MIMETIC: Arm = arm("token-mimetic", TOKEN, "mimetic", "mimetic");
pub(super) const IMPULSE: Arm = arm("token-impulse", TOKEN, "impulse", "impulse (closed form)");
pub(super) const SCRAMBLED: Arm = arm("token-scrambled", TOKEN, "impulse-scrambled", "scrambled impulse");
pub(super) const ANYWHERE: Arm =
    arm("token-anywhere", TOKEN, "impulse-anywhere", "impulse at offsets from the whole grid");
pub(super) const DEFAULT_V: Arm =
    arm("token-impulse-default-v", TOKEN, "impulse-default-v", "impulse, V and projection default");
pub(super) const MIMETIC_V: Arm =
    arm("token-default-mimetic-v", TOKEN, "default-mimetic-v", "default, V and projection mimetic");
pub(super) const SCALED: Arm =
    arm("token-default-scaled-position", TOKEN, "default-scaled-position", "default, positions x 18");

/// The other solver on this model, and the V and projection of the closed form's paper on the other model.
pub(super) const IMPULSE_GRADIENT: Arm = arm("token-impulse3", TOKEN, "impulse3", "impulse (gradient solve)");
pub(super) const POOLED_MIMETIC_V: Arm =
    arm("pooled-default-mimetic-v", POOLED, "default-mimetic-v", "default, V and projection mimetic");

/// What the papers compare.
pub(super) const MAIN: [Arm; 8] =
    [POOLED_DEFAULT, POOLED_MIMETIC, POOLED_IMPULSE, DEFAULT, MIMETIC, IMPULSE, POOLED_TRUNC, TRUNC];

/// With the controls; the more important first, since a study that is stopped has those.
pub(super) const ALL: [Arm; 16] = [
    POOLED_DEFAULT,
    POOLED_MIMETIC,
    POOLED_IMPULSE,
    DEFAULT,
    MIMETIC,
    IMPULSE,
    MIMETIC_V,
    SCALED,
    DEFAULT_V,
    SCRAMBLED,
    POOLED_SCRAMBLED,
    ANYWHERE,
    POOLED_TRUNC,
    TRUNC,
    IMPULSE_GRADIENT,
    POOLED_MIMETIC_V,
];

/// Sizes of a study.
pub(super) struct Scale {
    /// Length of every run.
    pub epochs: f64,
    pub batch_size: usize,
    /// Share of the training images.
    pub fraction: f64,
    pub seeds: u64,
    pub synthetic: Synthetic,
    pub arms: &'static [Arm],
}

/// Weights and biases of ConvMixer's depthwise convolutions.
const FILTERS: &str = "blocks.*.0.fn.0.*";

/// Evaluations of a run; the first is "early".
pub(super) const EVALUATIONS: f64 = 3.0;

/// All runs, seed by seed: a study that is stopped early has whole pairs.
pub(super) fn cells(request: &Request, scale: &Scale) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for seed in 0..request.seeds_or(scale.seeds)? {
        for arm in scale.arms {
            let recipe = Recipe {
                model: arm.model.to_owned(),
                init: arm.init.map(Into::into),
                filters: arm.filters.map(Into::into),
                freeze: if arm.frozen { vec![FILTERS.to_owned()] } else { Vec::new() },
                seed,
                data: request.data.clone(),
                subset: subset(&request.data, scale.fraction),
                batch_size: scale.batch_size,
                epochs: Duration::Epochs(scale.epochs),
                eval_every: Duration::Epochs(scale.epochs / EVALUATIONS),
                warmup_epochs: Duration::Percent(5.0),
                lr: Some(1e-3),
                min_lr: 1e-6,
                weight_decay: 0.01,
                clip_grad: Some(3.0),
                drop_path: 0.0,
                augment: Augment::default(),
                synthetic: scale.synthetic,
                keep: Keep { last: false, best: false, state: false },
                ..Recipe::default()
            };
            let name = format!("{}-{}", arm.variant, percent(scale.fraction).replace('%', "pct"));
            cells.push(Cell { name, variant: arm.variant, fraction: scale.fraction, seed, recipe });
        }
    }
    Ok(cells)
}

/// The recipe in words.
pub(super) fn how(request: &Request, scale: &Scale) -> String {
    format!(
        "Every run: {} of the training images ({} of each class), {} epochs in batches of {}, AdamW, learning rate 1e-3 with \
         5 % warm-up and a cosine, weight decay 0.01, gradients clipped at 3, label smoothing 0.1, crop and flip. Runs of a \
         seed have the same order of images and the same initial weights wherever the strategies do not design them; the images \
         themselves are the first of each class in every run, so intervals leave out their choice. Accuracy is that of the last \
         weights; \"early\" is after a third of the run.",
        percent(scale.fraction),
        subset(&request.data, scale.fraction),
        scale.epochs,
        scale.batch_size
    )
}

/// What differs from the papers in every table.
pub(super) const DIFFERENCES: [&str; 3] = [
    "recipe: arXiv 2404.01139's as far as it fits (learning rate 1e-3, decay 0.01, clipping at 3, no mixup, no stochastic \
     depth); batches of 64 instead of 512, at most 9 epochs instead of 200, so that all of it is early training; crop and flip instead of RandAugment, eps 1e-8 \
     instead of 1e-3",
    "default: PyTorch's `Linear` (Kaiming uniform), the papers' \"default\"; truncated normal: timm's",
    "the papers report single seeds (2404.01139) or five (2505.19985, one figure); verdicts here are on paired seeds",
];
