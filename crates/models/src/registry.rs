//! Models by name.

use dfdx::prelude::*;
use inductive_init::Strategy;
use inductive_nn::Uniform;
use inductive_ops::Backend;

use crate::{Error, ModelSpec, Result, families, initialise::initialise, model::Model};

/// Most classes of a model: more than any set has, and few enough that a head fits into memory.
const MAX_CLASSES: usize = 1 << 18;
/// Longest side of an image, pixels.
const MAX_SIDE: usize = 4096;

/// What may be chosen when a model is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOptions {
    /// Classes, 1 to 262,144.
    pub classes: usize,
    /// Height and width of the images, pixels, that the patches cover; `None`: the model's default. To load weights into a model for
    /// images that are not square, tell the loader its grid (`LoadOptions::grid` of `inductive-checkpoint`).
    pub image: Option<(usize, usize)>,
    /// Blocks with gated positional attention, from the first; `None`: the model's default. 0 is the DeiT control.
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
            local_up_to_layer: None,
            locality_strength: 1.0,
            content_share: 0.5,
            published_weights: false,
        }
    }
}

/// A model with new weights, drawn from the device's random numbers as [`Entry::init`] says.
pub struct Built<D: Backend<f32>> {
    /// The model.
    pub model: Box<dyn Model<f32, D>>,
    /// What its initialisation has to say, to be shown to the user.
    pub warnings: Vec<String>,
}

impl<D: Backend<f32>> std::fmt::Debug for Built<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").field("spec", self.model.spec()).field("warnings", &self.warnings).finish()
    }
}

/// A name in the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the name stands for, with 1000 classes.
    pub spec: ModelSpec,
}

/// A device that models are built on. Implemented here, so that the models are compiled once and not by every user.
pub trait Zoo: Backend<f32> {
    /// See [`build`].
    fn build_model(&self, name: &str, options: &BuildOptions) -> Result<Built<Self>>;
}

impl Zoo for Cpu {
    fn build_model(&self, name: &str, options: &BuildOptions) -> Result<Built<Self>> {
        build_on(self, name, options)
    }
}

#[cfg(feature = "cuda")]
impl Zoo for dfdx::tensor::Cuda {
    fn build_model(&self, name: &str, options: &BuildOptions) -> Result<Built<Self>> {
        build_on(self, name, options)
    }
}

/// Builds a model by name with new weights. The device's seed decides them (`Cpu::seed_from_u64`).
///
/// Fails for a name that does not exist (the nearest one is told), for no classes, for images that the patches do not cover, for a
/// `local_up_to_layer` that leaves no layer for the class token, and for a `content_share` that is none.
pub fn build<D: Zoo>(device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
    device.build_model(name, options)
}

/// All models, in a fixed order.
pub fn entries() -> Vec<Entry> {
    families::entries()
}

fn build_on<D: Backend<f32>>(device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
    let entry = find(name)?;
    let strategy = entry.init().filter(|_| !options.published_weights).and_then(Strategy::named);
    let spec = entry.choose(options)?;
    let mut built = families::build(device, spec, options)?.ok_or_else(|| unknown(name))?;
    if let Some(strategy) = strategy {
        initialise(&mut *built.model, &strategy, draw_seed(device)?, &|_| ())?;
    }
    Ok(built)
}

/// A seed from the device's random numbers.
fn draw_seed<D: Backend<f32>>(device: &D) -> Result<u64> {
    let drawn = device.try_sample_like(&Rank1::<4>::default(), Uniform { bound: 1.0 });
    let drawn = drawn.map_err(|error| inductive_ops::Error::device("build", error))?;
    let bits = |part: f32| (f64::from(part + 1.0) * 32768.0) as u64;
    Ok(drawn.as_vec().into_iter().fold(0, |seed, part| (seed << 16) | bits(part)))
}

/// The entry of this name.
pub fn find(name: &str) -> Result<Entry> {
    entries().into_iter().find(|e| e.spec.name == name).ok_or_else(|| unknown(name))
}

/// The model of this name, or the one with the same weights and more, whose layers can leave convolution.
///
/// # Errors
/// [`Error::UnknownModel`]; [`Error::Option`] for a model that has no such counterpart.
pub fn find_switchable(name: &str) -> Result<Entry> {
    let own = find(name)?;
    if own.spec.can_switch() {
        return Ok(own);
    }
    find(&format!("{name}_switch")).map_err(|_| {
        let can: Vec<String> =
            entries().into_iter().filter(|it| it.spec.can_switch()).map(|it| it.spec.name).collect();
        let can: Vec<&str> = can.iter().map(|it| it.strip_suffix("_switch").unwrap_or(it)).collect();
        let what =
            format!("none of its layers can leave convolution; these have such layers: {}", can.join(", "));
        Error::Option { model: name.to_owned(), what }
    })
}

fn unknown(name: &str) -> Error {
    let distance = |entry: &Entry| edit_distance(&entry.spec.name, name);
    let nearest = entries().into_iter().min_by_key(distance).filter(|e| distance(e) <= name.len().max(4) / 2);
    Error::UnknownModel { name: name.to_owned(), nearest: nearest.map(|e| e.spec.name) }
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

impl Entry {
    /// The strategy of a new model's weights, a name of [`Strategy::NAMES`]; `None`: the published weights of its family.
    /// `*_micro` transformers and all `prs_*` have one.
    ///
    /// timm's N(0, 0.02^2) and EIT's N(0, 0.01^2) are made for hundreds of channels. With 96 a branch of the network then adds
    /// a tenth of the stream, the logits of a new model hardly depend on the image, and training starts late or, in EIT and PRS, not
    /// within hundreds of updates. So these get weights by the width of their layers.
    pub fn init(&self) -> Option<&'static str> {
        match self.spec.family.as_str() {
            "prs" => Some("lecun"),
            "vit" | "convit" | "eit" | "simple_vit" if self.spec.name.contains("_micro") => Some("kaiming"),
            _ => None,
        }
    }

    /// What is built with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for no classes, for an image that the patches do not cover, and as [`Entry::choose_local`].
    pub fn choose(&self, options: &BuildOptions) -> Result<ModelSpec> {
        let refuse = |what: String| Err(Error::Option { model: self.spec.name.clone(), what });
        let local = self.choose_local(options.local_up_to_layer)?;
        if !(1..=MAX_CLASSES).contains(&options.classes) {
            return refuse(format!("{} classes: give 1 to {MAX_CLASSES}", options.classes));
        }
        let image = options.image.unwrap_or(self.spec.image);
        let spec =
            ModelSpec { local_up_to_layer: local, image, classes: options.classes, ..self.spec.clone() };
        let small = image.0.max(image.1) <= MAX_SIDE;
        match small && spec.covers(image) {
            true => Ok(spec),
            false if !small => refuse(format!(
                "images of {}x{} pixels: give a height and width of at most {MAX_SIDE}",
                image.0, image.1
            )),
            false => refuse(format!(
                "images of {}x{} pixels: give a height and width that its patches cover, such as multiples of {}",
                image.0, image.1, spec.patch
            )),
        }
    }

    /// The number of gated layers if `asked` is asked for; `None` asks for the default.
    ///
    /// # Errors
    /// [`Error::Option`] where no layer is left for the class token.
    pub fn choose_local(&self, asked: Option<usize>) -> Result<usize> {
        let ModelSpec { name, depth, local_up_to_layer, family, .. } = &self.spec;
        let local = asked.unwrap_or(*local_up_to_layer);
        let refuse = |what: String| Err(Error::Option { model: name.clone(), what });
        if family != "convit" && local > 0 {
            return refuse(format!("local_up_to_layer {local}: only ConViT has gated layers"));
        }
        if local >= *depth {
            return refuse(format!(
                "local_up_to_layer {local} with {depth} layers: the class token joins after the last gated layer and \
                 would never be added; give at most {}",
                depth - 1
            ));
        }
        Ok(local)
    }
}
