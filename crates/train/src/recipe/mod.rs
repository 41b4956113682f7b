//! What a run is: everything that decides its result, as one TOML file.

mod image;
mod init;
mod subset;
mod switch;
#[cfg(test)]
mod tests;
mod text;
mod validate;

use inductive_init::{Filters, Strategy};
use inductive_models::{BuildOptions, ModelSpec};
use inductive_schedule::{Clock, Duration, EmaDecay, length};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

pub use image::ImageSize;
pub use init::{Init, Named};
pub use subset::{Choice, SubsetSpec};
pub use switch::SwitchRecipe;
pub use text::Difference;
pub(crate) use text::is_ours;

use crate::{Result, optimizer::AdamWConfig};

/// A run, but for the machine: the same recipe on the same data gives the same weights, bit by bit.
///
/// Every field has a default ([`Recipe::default`]), so that a file names only what differs; a field that does not exist is an
/// error. The defaults are ConViT's recipe (arXiv 2103.10697; the arguments of main.py in facebookresearch/convit) where it does
/// not depend on the size of model and data.
///
/// `docs/recipes.md` and what `inductive recipe` prints are made of the comments and examples here. An example shows a field
/// that has no value by itself.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Name of the model; `inductive inspect` lists them.
    pub model: String,
    /// Height and width of the images that the model takes, in pixels, which its patches must cover: `48` or `[48, 32]`. The images of
    /// a folder are resized to it. Not set: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<image::Sides>", example = ImageSize { height: 48, width: 32 })]
    pub image_size: Option<ImageSize>,
    /// Blocks of the model. EIT, PRS and ResNet keep their own. Not set: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 6)]
    pub depth: Option<usize>,
    /// ConViT: blocks with gated positional attention, from the first; 0 is its DeiT control. Not set: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 3)]
    pub local_up_to_layer: Option<usize>,
    /// ConViT: locality strength alpha with which gated layers begin, above 0. Attention falls off as exp(-alpha distance^2),
    /// distance in patches.
    pub locality_strength: f64,
    /// `simple_vit_*`: share of the tokens in queries and keys, 0 to 1; the rest is position. Not set: 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.5)]
    pub content_share: Option<f64>,
    /// Seed of everything random: initial weights, order of the images, their augmentation, stochastic depth.
    pub seed: u64,

    /// Data: `synthetic`, `synthetic-parity`, `cifar10:PATH`, `cifar100:PATH` (the official archive, binary version, or its
    /// folder) or `folder:DIR` (with `train/<class>/*` and `val/<class>/*`). They decide the number of classes.
    pub data: String,
    /// Which drawing of an embedded set. Only the one that this program makes is accepted; a run writes it down so that an
    /// earlier drawing is not mistaken for it. Not set: that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2)]
    pub data_revision: Option<u32>,
    /// Training images to use, of each class: `all`, `first 10%`, `first 50`, `random 10%` or `random 50`.
    #[schemars(with = "String")]
    pub subset: SubsetSpec,
    /// Images per update.
    pub batch_size: usize,
    /// Whether the last batch of an epoch is left out if it is smaller than the others, as in timm.
    pub drop_last: bool,

    /// Length of the run, in any unit but percent.
    #[serde(with = "length")]
    #[schemars(with = "length::Length")]
    pub epochs: Duration,
    /// Time between evaluations; each gives a line of metrics and a checkpoint, and so does the end.
    #[serde(with = "length")]
    #[schemars(with = "length::Length")]
    pub eval_every: Duration,

    /// Learning rate at the top, as it is used. Not set: 1e-3, unless `lr_base` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1e-3)]
    pub lr: Option<f64>,
    /// Learning rate for a batch of 512, used as `lr_base * batch_size / 512` in place of `lr`; DeiT and ConViT: 5e-4.
    /// `warmup_lr` and `min_lr` are not scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 5e-4)]
    pub lr_base: Option<f64>,
    /// Learning rate at the start of the warm-up.
    pub warmup_lr: f64,
    /// Learning rate at the end of the cosine.
    pub min_lr: f64,
    /// Length of the linear warm-up, part of `epochs`; ConViT: 5 of 300 epochs.
    #[serde(with = "length")]
    #[schemars(with = "length::Length")]
    pub warmup_epochs: Duration,
    /// How the learning rate follows time: `epoch` changes it with every update; `whole-epoch-one-behind` is what the
    /// published runs saw, one value per epoch and the first two epochs at `warmup_lr`; `whole-epoch` is one value per
    /// epoch without that delay.
    #[serde(deserialize_with = "clock")]
    #[schemars(with = "String")]
    pub clock: Clock,

    /// AdamW's decoupled weight decay, 0 or more. As in timm, biases, norms, position embedding and class token have none
    /// ([`decays`](crate::decays)).
    pub weight_decay: f64,
    /// AdamW's decays of the averages of the gradient and of its square, 0 or more and less than 1.
    pub betas: (f64, f64),
    /// Added to the root in AdamW, above 0.
    pub eps: f64,
    /// Largest global norm of the gradients, above 0. Not set: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1.0)]
    pub clip_grad: Option<f64>,
    /// Share of a target spread over all classes, 0 or more and less than 1.
    pub label_smoothing: f64,
    /// Stochastic depth: rate of the last block, 0 or more and less than 1; earlier ones have linearly less.
    pub drop_path: f64,

    /// Names of parameters that keep their initial values, with `*` for any text. Not set: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = FROZEN)]
    pub freeze: Vec<String>,
    /// Initial weights: the name of a strategy (`inductive init --list` shows them) or a table with its parts. Not set: the
    /// model's own, which are the published ones for published sizes and by width for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"impulse")]
    pub init: Option<Init<Strategy>>,
    /// Filters of ConvMixer's depthwise convolutions: `random`, `softmax`, `impulse`, `box` or a table with their parts. Not
    /// set: the model's own, PyTorch's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"impulse")]
    pub filters: Option<Init<Filters>>,
    /// A `.safetensors` file with timm's names that the run begins with, to train on. A head for another number of classes is new;
    /// positions of another grid of patches are resampled as timm does. A run that goes on does not need the file. Not set: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"last.safetensors")]
    pub weights: Option<String>,
    /// Exponential moving average of the weights, evaluated beside them and saved as `ema.safetensors`. Not set: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = EmaDecay { decay: 0.99996, warmup: true })]
    pub ema: Option<EmaDecay>,
    /// When and how layers leave convolution for attention, in models with such layers (`inductive reparameterize --help` lists
    /// them). Not set: they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = SwitchRecipe::example())]
    pub switch: Option<SwitchRecipe>,
    /// Random changes of the training images.
    pub augment: Augment,
    /// Size of an embedded set; without meaning for other data.
    pub synthetic: Synthetic,
    /// Files of the run to keep.
    pub keep: Keep,
}

/// What the reference of recipes shows for [`Recipe::freeze`].
const FROZEN: [&str; 1] = ["patch_embed.*"];

/// Random changes of the training images.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Random crop out of the image with so many black pixels on each side; 0: none.
    pub crop_padding: u16,
    /// Probability of a left-right flip, 0 to 1.
    pub flip: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self { crop_padding: 4, flip: 0.5 }
    }
}

/// Size of an embedded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Every seed is another set of the same task.
    pub seed: u64,
}

impl From<Synthetic> for inductive_data::SyntheticConfig {
    fn from(Synthetic { train, test, seed }: Synthetic) -> Self {
        Self { train, test, seed }
    }
}

impl Default for Synthetic {
    fn default() -> Self {
        let inductive_data::SyntheticConfig { train, test, seed } = Default::default();
        Self { train, test, seed }
    }
}

/// Which files of a run to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// `last.safetensors` (and `ema.safetensors`): the newest weights.
    pub last: bool,
    /// `best.safetensors`: the weights with the best top-1.
    pub best: bool,
    /// The optimizer's state after the end; without it `state.safetensors` only says that the run is finished.
    pub state: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: true, best: true, state: true }
    }
}

/// The clocks of the learning rate that a recipe may name; a schedule of one's own may have the others.
const CLOCKS: [(&str, Clock); 3] = [
    ("epoch", Clock::Epoch),
    ("whole-epoch", Clock::WholeEpoch),
    ("whole-epoch-one-behind", Clock::WholeEpochOneBehind),
];

fn clock<'de, D: Deserializer<'de>>(field: D) -> std::result::Result<Clock, D::Error> {
    const NAMES: &[&str] = &[CLOCKS[0].0, CLOCKS[1].0, CLOCKS[2].0];
    let name = String::deserialize(field)?;
    let known = CLOCKS.iter().find(|(known, _)| *known == name);
    known.map(|(_, clock)| *clock).ok_or_else(|| de::Error::unknown_variant(&name, NAMES))
}

impl Default for Recipe {
    fn default() -> Self {
        let AdamWConfig { betas, eps, weight_decay, clip_grad } = AdamWConfig::default();
        Self {
            model: "convit_micro".to_owned(),
            image_size: None,
            depth: None,
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
            weights: None,
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
        let entry = inductive_models::find(&self.model)?;
        self.resolve_for(&self.model_spec()?, entry.init(), false)
    }

    /// [`Recipe::resolve`] for a model of this spec that begins with the strategy `init` by itself. own_data: whether data are given, so
    /// that their name need not be one that can be loaded.
    pub(crate) fn resolve_for(&self, model: &ModelSpec, init: Option<&str>, own_data: bool) -> Result<Self> {
        self.validate_for(model)?;
        Ok(Self {
            local_up_to_layer: Some(self.local_up_to_layer.or(model.local_up_to_layer()).unwrap_or(0)),
            lr: Some(self.learning_rate()),
            lr_base: None,
            data_revision: self.revision(own_data)?,
            init: match &self.init {
                None if self.weights.is_some() => None,
                None => init.map(Init::from),
                init => init.clone(),
            },
            ..self.clone()
        })
    }

    /// What the model is with the options of this recipe, for 1000 classes.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) with the nearest name if there is no such model, and for options that it cannot have.
    pub fn model_spec(&self) -> Result<ModelSpec> {
        Ok(inductive_models::find(&self.model)?.choose(&self.build_options(1000))?)
    }

    /// How to build the model for so many classes; what it begins with is for [`Initial`](crate::Initial) to write.
    pub fn build_options(&self, classes: usize) -> BuildOptions {
        BuildOptions {
            classes,
            image: self.image_size.map(Into::into),
            depth: self.depth,
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
