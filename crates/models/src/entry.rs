//! A name of a model, and what may be chosen when it is built.

use std::borrow::Cow;

use crate::{Error, Family, ModelSpec, Result};

/// Most classes of a model: more than any set has, and few enough that a head fits into memory.
const MAX_CLASSES: usize = 1 << 18;
/// Channels from which on timm's and EIT's initial weights are good for; fewer are far from what they were made for.
const NARROW: usize = 128;
/// Longest side of an image, pixels.
const MAX_SIDE: usize = 4096;
/// Most blocks of a model: deeper ones than any published.
const MAX_DEPTH: usize = 1024;

/// What may be chosen when a model is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOptions {
    /// Classes, 1 to 262,144.
    pub classes: usize,
    /// Height and width of the images, pixels, that the patches cover; `None`: the model's default. To load weights into a model for
    /// images that are not square, tell the loader its grid (`LoadOptions::grid` of `inductive-checkpoint`).
    pub image: Option<(usize, usize)>,
    /// Blocks, 1 to 1024; `None`: the model's default, which EIT, PRS and ResNet keep.
    pub depth: Option<usize>,
    /// Blocks with gated positional attention, from the first; `None`: the model's default. 0 is the DeiT control. Models but ConViT refuse more
    /// than 0; one of [`Family::Other`] is told and decides itself.
    pub local_up_to_layer: Option<usize>,
    /// Locality strength alpha of the gated layers' initialisation.
    pub locality_strength: f64,
    /// SimpleViT: the share of content in queries and keys, 0 to 1; the position embedding has the rest. The paper's alpha,
    /// 0 to 0.5 there.
    pub content_share: f64,
    /// Weights as published for the family, whatever [`Entry::init`] says: to begin with a strategy of one's own.
    pub published_weights: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            classes: 1000,
            image: None,
            depth: None,
            local_up_to_layer: None,
            locality_strength: 1.0,
            content_share: 0.5,
            published_weights: false,
        }
    }
}

/// A name in the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the name stands for, with 1000 classes.
    pub spec: ModelSpec,
    init: Option<Cow<'static, str>>,
}

impl Entry {
    /// A model that begins with the published weights of its family, or whatever its builder gives it.
    pub fn new(spec: ModelSpec) -> Self {
        Self { spec, init: None }
    }

    /// The same beginning with the weights of this name: of [`Strategy::NAMES`](inductive_init::Strategy::NAMES), or one that was added before
    /// the model ([`add_initializer`](inductive_init::add_initializer)).
    pub fn with_init(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { init: Some(name.into()), ..self }
    }

    /// The name of a new model's initial weights; `None`: the published weights of its family. Transformers of fewer than 128
    /// channels and all `prs_*` have one.
    ///
    /// timm's N(0, 0.02^2) and EIT's N(0, 0.01^2) are made for hundreds of channels. With 96 a branch of the network then adds
    /// a tenth of the stream, the logits of a new model hardly depend on the image, and training starts late or, in EIT and PRS, not
    /// within hundreds of updates. So these get weights by the width of their layers.
    pub fn init(&self) -> Option<&str> {
        self.init.as_deref()
    }

    /// [`Entry::with_init`] of weights by the width of the layers, where they are narrow.
    pub(crate) fn with_init_by_width(self) -> Self {
        if self.spec.embed_dim < NARROW { self.with_init("kaiming") } else { self }
    }

    /// Whether it is `plain` with convolutions that can become attention.
    pub(crate) fn is_but_for_switching(&self, plain: &Self) -> bool {
        let (Some(own), Some(resnet)) = (self.spec.resnet(), plain.spec.resnet()) else { return false };
        self.spec.image == plain.spec.image && own.clone().switching(0) == *resnet
    }

    /// What is built with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for no classes, for an image that the patches do not cover, for a depth that the model cannot have, and for
    /// gated layers that leave none for the class token.
    pub fn choose(&self, options: &BuildOptions) -> Result<ModelSpec> {
        let refuse = |what: String| Err(Error::Option { model: self.spec.name.clone(), what });
        if !(1..=MAX_CLASSES).contains(&options.classes) {
            return refuse(format!("{} classes: give 1 to {MAX_CLASSES}", options.classes));
        }
        let depth = self.choose_depth(options.depth)?;
        let image = options.image.unwrap_or(self.spec.image);
        let mut spec = ModelSpec { image, depth, classes: options.classes, ..self.spec.clone() };
        let local = choose_local(&spec, options.local_up_to_layer)?;
        if let Family::Convit(convit) = &mut spec.family {
            convit.local_up_to_layer = local;
        }
        let small = image.0.max(image.1) <= MAX_SIDE;
        match small && spec.covers(image) {
            true => Ok(spec),
            false if !small => refuse(format!(
                "images of {}x{} pixels: give a height and width of at most {MAX_SIDE}",
                image.0, image.1
            )),
            false => refuse(format!(
                "images of {}x{} pixels: give a height and width that its patches cover, such as multiples of {}",
                image.0,
                image.1,
                spec.multiple()
            )),
        }
    }

    /// The number of blocks if `asked` is asked for.
    fn choose_depth(&self, asked: Option<usize>) -> Result<usize> {
        let own = self.spec.depth;
        let depth = asked.unwrap_or(own);
        let refuse = |why: &str| {
            Err(Error::Option { model: self.spec.name.clone(), what: format!("depth {depth}: {why}") })
        };
        let fixed = match self.spec.family {
            Family::Eit(_) => "each of its layers has channels of its own",
            Family::Resnet(_) | Family::Prs(_) => "its blocks are those of its stages",
            _ if (1..=MAX_DEPTH).contains(&depth) => return Ok(depth),
            _ => return refuse(&format!("give 1 to {MAX_DEPTH} blocks")),
        };
        if depth == own { Ok(own) } else { refuse(&format!("{fixed}, {own} in all; leave depth out")) }
    }
}

/// The number of gated layers of `spec` if `asked` is asked for; `None` asks for the default.
fn choose_local(spec: &ModelSpec, asked: Option<usize>) -> Result<usize> {
    let ModelSpec { name, depth, .. } = spec;
    // A family from outside says itself how many it can have.
    if matches!(spec.family, Family::Other(_)) {
        return Ok(0);
    }
    let gated = spec.local_up_to_layer();
    let local = asked.or(gated).unwrap_or(0);
    let refuse = |what: String| Err(Error::Option { model: name.clone(), what });
    if gated.is_none() && local > 0 {
        return refuse(format!("local_up_to_layer {local}: only ConViT has gated layers"));
    }
    if local >= *depth {
        return refuse(format!(
            "local_up_to_layer {local} with {depth} layers: the class token joins after the last gated layer and would never be \
             added; give at most {}",
            depth.saturating_sub(1)
        ));
    }
    Ok(local)
}
