//! What a run is: everything that decides its result, as one TOML file.

mod init;
mod subset;
mod switch;
#[cfg(test)]
mod tests;
mod text;
mod validate;

use inductive_data::DataSpec;
use inductive_init::{Filters, Strategy};
use inductive_models::{BuildOptions, ModelSpec};
use inductive_schedule::{Clock, Duration, EmaDecay, length};
use serde::{Deserialize, Serialize};

pub use init::{Init, Named};
pub use subset::{Choice, SubsetSpec};
pub use switch::SwitchRecipe;
pub use text::Difference;
pub(crate) use text::is_ours;

use crate::{Result, optimizer::AdamWConfig};

/// A run, but for the machine: the same recipe on the same data gives the same weights, bit by bit.
///
/// Every field has a default, so that a file names only what differs; a field that does not exist is an error. The
/// defaults are ConViT's recipe (arXiv 2103.10697; the arguments of main.py in facebookresearch/convit) where it does
/// not depend on the size of model and data.
///
/// Lengths of time are a number of epochs (`epochs = 20`) or a text (`"2000 steps"`, `"1e6 examples"`, `"5%"`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Registry name of the model. Default `convit_micro`.
    pub model: String,
    /// Blocks with gated positional attention, from the first; 0 is ConViT's DeiT control. Default: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_up_to_layer: Option<usize>,
    /// Locality strength alpha of the gated layers' initialisation. Default 1.
    pub locality_strength: f64,
    /// Share of the tokens in queries and keys, the rest is position (`simple_vit_*`), 0 to 1. Default 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_share: Option<f64>,
    /// Seed of everything random. Default 0.
    pub seed: u64,

    /// Data: `synthetic`, `synthetic-parity`, `cifar10:PATH`, `cifar100:PATH`, `folder:DIR`; decides the number of classes.
    /// Default `synthetic`.
    pub data: String,
    /// Drawing of an embedded set ([`DataSpec::revision`](inductive_data::DataSpec::revision)); only the one that this
    /// program makes. Default: that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_revision: Option<u32>,
    /// Training images to use: `all`, `first 10%`, `first 50`, `random 10%` or `random 50`, of each class. Default
    /// `all`.
    pub subset: SubsetSpec,
    /// Images per update. Default 128.
    pub batch_size: usize,
    /// Whether the last batch of an epoch is left out if it is smaller than the others, as in timm. Default true.
    pub drop_last: bool,

    /// Length of the run. Default 20 epochs.
    #[serde(with = "length")]
    pub epochs: Duration,
    /// Time between evaluations; each gives a line of metrics and a checkpoint, and so does the end. Default 1 epoch.
    #[serde(with = "length")]
    pub eval_every: Duration,

    /// Learning rate at the top, as it is used. Default 1e-3, unless `lr_base` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Learning rate for a batch of 512, used as `lr_base * batch_size / 512` in place of `lr`; DeiT and ConViT: 5e-4.
    /// `warmup_lr` and `min_lr` are not scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_base: Option<f64>,
    /// Learning rate at the start of the warm-up. Default 1e-6.
    pub warmup_lr: f64,
    /// Learning rate at the end of the cosine. Default 1e-5.
    pub min_lr: f64,
    /// Length of the linear warm-up, part of `epochs`. Default 5 %; ConViT: 5 of 300 epochs.
    #[serde(with = "length")]
    pub warmup_epochs: Duration,
    /// How the learning rate follows time: `epoch` changes it with every update; `whole-epoch-one-behind` is what the
    /// published runs saw, one value per epoch and the first two epochs at `warmup_lr`; `whole-epoch` is one value per
    /// epoch without that delay. Default `epoch`.
    pub clock: Clock,

    /// AdamW's decoupled weight decay of what [`decays`](crate::decays). Default 0.05.
    pub weight_decay: f64,
    /// AdamW's decays of the averages of the gradient and its square. Default [0.9, 0.999].
    pub betas: (f64, f64),
    /// Added to the root in AdamW. Default 1e-8.
    pub eps: f64,
    /// Largest global norm of the gradients. Default: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_grad: Option<f64>,
    /// Share of a target spread over all classes. Default 0.1.
    pub label_smoothing: f64,
    /// Stochastic depth: rate of the last block, earlier ones have linearly less. Default 0.1.
    pub drop_path: f64,

    /// Names of parameters that keep their initial values, with `*` for any text: `["blocks.*.0.fn.0.*"]`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Initial weights: the name of a strategy ([`inductive_init::Strategy::NAMES`]) or a table with its parts. Default: the
    /// model's own ([`Entry::init`](inductive_models::Entry::init)): published ones for published sizes, by width for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init<Strategy>>,
    /// Filters of depthwise convolutions: a name ([`inductive_init::Filters::NAMES`]) or a table with their parts. Default: the
    /// model's own, PyTorch's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Init<Filters>>,
    /// Moving average of the weights, evaluated beside them: `decay`, and `warmup` (default false). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaDecay>,
    /// When and how layers leave convolution for attention, in models with such layers (`prs_*`, `resnet*_switch`). Default:
    /// they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchRecipe>,
    /// Random changes of the training images.
    pub augment: Augment,
    /// Size of the synthetic set; without meaning for other data.
    pub synthetic: Synthetic,
    /// Files to keep.
    pub keep: Keep,
}

/// Random changes of the training images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Random crop out of the image with so many black pixels on each side; 0: none. Default 4.
    pub crop_padding: u16,
    /// Probability of a left-right flip. Default 0.5.
    pub flip: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self { crop_padding: 4, flip: 0.5 }
    }
}

/// Size of the synthetic set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// Training images. Default 10,000.
    pub train: usize,
    /// Test images. Default 2,000.
    pub test: usize,
    /// Every seed is another set of the same task. Default 0.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        let inductive_data::SyntheticConfig { train, test, seed } = Default::default();
        Self { train, test, seed }
    }
}

/// Which files of a run to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// `last.safetensors` (and `ema.safetensors`): the newest weights. Default true.
    pub last: bool,
    /// `best.safetensors`: the weights with the best top-1. Default true.
    pub best: bool,
    /// The optimizer's state after the end; without it `state.safetensors` only says that the run is finished. Default
    /// true.
    pub state: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: true, best: true, state: true }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        let AdamWConfig { betas, eps, weight_decay, clip_grad } = AdamWConfig::default();
        Self {
            model: "convit_micro".to_owned(),
            local_up_to_layer: None,
            locality_strength: 1.0,
            content_share: None,
            seed: 0,
            data: "synthetic".to_owned(),
            data_revision: None,
            subset: SubsetSpec::All,
            batch_size: 128,
            drop_last: true,
            epochs: Duration::Epochs(20.0),
            eval_every: Duration::Epochs(1.0),
            lr: None,
            lr_base: None,
            warmup_lr: 1e-6,
            min_lr: 1e-5,
            warmup_epochs: Duration::Percent(5.0),
            clock: Clock::Epoch,
            weight_decay,
            betas,
            eps,
            clip_grad,
            label_smoothing: 0.1,
            drop_path: 0.1,
            freeze: Vec::new(),
            init: None,
            filters: None,
            ema: None,
            switch: None,
            augment: Augment::default(),
            synthetic: Synthetic::default(),
            keep: Keep::default(),
        }
    }
}

/// The learning rate where neither `lr` nor `lr_base` is given.
const DEFAULT_LR: f64 = 1e-3;
/// The batch that `lr_base` is for.
const LR_BASE_BATCH: f64 = 512.0;

impl Recipe {
    /// The learning rate at the top, scaled.
    pub fn learning_rate(&self) -> f64 {
        match (self.lr, self.lr_base) {
            (Some(lr), _) => lr,
            (None, Some(base)) => base * self.batch_size as f64 / LR_BASE_BATCH,
            (None, None) => DEFAULT_LR,
        }
    }

    /// This recipe on other data, in the drawing that this program makes of them.
    pub fn on_data(self, data: String) -> Self {
        Self { data, data_revision: None, ..self }
    }

    /// This recipe, checked, with every choice that was left open filled in: what a run's folder keeps.
    ///
    /// # Errors
    /// As [`Recipe::validate`].
    pub fn resolve(&self) -> Result<Self> {
        self.validate()?;
        let spec = self.model_spec()?;
        Ok(Self {
            local_up_to_layer: Some(self.local_up_to_layer.or(spec.local_up_to_layer()).unwrap_or(0)),
            lr: Some(self.learning_rate()),
            lr_base: None,
            data_revision: self.data.parse::<DataSpec>()?.revision(),
            init: match &self.init {
                None => inductive_models::find(&self.model)?.init().map(Init::from),
                init => init.clone(),
            },
            ..self.clone()
        })
    }

    /// What the model's name stands for, with 1000 classes.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) with the nearest name if there is no such model.
    pub fn model_spec(&self) -> Result<ModelSpec> {
        Ok(inductive_models::find(&self.model)?.spec)
    }

    /// How to build the model for so many classes; what it begins with is for [`Initial`](crate::Initial) to write.
    pub fn build_options(&self, classes: usize) -> BuildOptions {
        BuildOptions {
            classes,
            image: None,
            local_up_to_layer: self.local_up_to_layer,
            locality_strength: self.locality_strength,
            content_share: self.content_share.unwrap_or(BuildOptions::default().content_share),
            // A run draws its initial weights from its own seed: `Initial`.
            published_weights: true,
        }
    }

    /// What the optimizer needs of it.
    pub(crate) fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            clip_grad: self.clip_grad,
        }
    }
}
