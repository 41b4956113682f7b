//! Models by name.

mod convmixer;
mod eit;
mod prs;
mod resnet;
mod simple_vit;
mod transformers;

use dfdx::prelude::*;
use inductive_attention::{LocalInit, Uniform};
use inductive_init::Strategy;
use inductive_ops::Backend;

use crate::{
    Error, ModelSpec, Result,
    classifier::{Classifier, Trunk},
    initialise::initialise,
    model::Model,
};

/// Numbers of classes a head exists for. (Shapes are types: each is compiled.)
const CLASSES: [usize; 3] = [10, 100, 1000];

/// What may be chosen when a model is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOptions {
    /// Classes: 10, 100 or 1000.
    pub classes: usize,
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
    /// Values of `local_up_to_layer` that exist.
    pub locals: Vec<usize>,
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
/// Fails for a name that does not exist (the nearest one is told), a number of classes without a head, a
/// `local_up_to_layer` that leaves no layer for the class token or is not compiled, a `content_share` that is none.
pub fn build<D: Zoo>(device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
    device.build_model(name, options)
}

/// All models, in a fixed order.
pub fn entries() -> Vec<Entry> {
    let of_convolution = [resnet::entries(), convmixer::entries()].concat();
    [transformers::entries(), simple_vit::entries(), eit::entries(), of_convolution, prs::entries()].concat()
}

fn build_on<D: Backend<f32>>(device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
    let entry = find(name)?;
    let local = entry.choose_local(options.local_up_to_layer)?;
    let strategy = entry.init().filter(|_| !options.published_weights).and_then(Strategy::named);
    let spec = ModelSpec { local_up_to_layer: local, ..entry.spec };
    let built = match spec.family.as_str() {
        "convmixer" => convmixer::build(device, spec, options)?,
        "eit" => eit::build(device, spec, options)?,
        "prs" => prs::build(device, spec, options)?,
        "resnet" => resnet::build(device, spec, options)?,
        "simple_vit" => simple_vit::build(device, spec, options)?,
        _ => transformers::build(device, spec, options)?,
    };
    let mut built = built.ok_or_else(|| unknown(name))?;
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
    /// a tenth of the stream, the logits of a new model hardly depend on the image, and training stands still for hundreds of
    /// updates. So these get weights by the width of their layers.
    pub fn init(&self) -> Option<&'static str> {
        match self.spec.family.as_str() {
            "prs" => Some("lecun"),
            "vit" | "convit" | "eit" | "simple_vit" if self.spec.name.contains("_micro") => Some("kaiming"),
            _ => None,
        }
    }

    /// The number of gated layers if `asked` is asked for; `None` asks for the default.
    ///
    /// Fails where no layer is left for the class token, or the number is not compiled.
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
        if !self.locals.contains(&local) {
            return refuse(format!(
                "local_up_to_layer {local} is not compiled; choose one of {:?}",
                self.locals
            ));
        }
        Ok(local)
    }
}

fn with_head<M, const C: usize, D>(
    device: &D,
    trunk: M,
    spec: ModelSpec,
    options: &BuildOptions,
    plan: Option<LocalInit>,
) -> Result<Built<D>>
where
    D: Backend<f32>,
    M: Trunk<C, f32, D> + TensorCollection<f32, D, To<f32, D> = M> + 'static,
{
    fn boxed<M, const C: usize, const N: usize, D>(
        device: &D,
        trunk: M,
        spec: ModelSpec,
    ) -> Result<Box<dyn Model<f32, D>>>
    where
        D: Backend<f32>,
        M: Trunk<C, f32, D> + TensorCollection<f32, D, To<f32, D> = M> + 'static,
    {
        Ok(Box::new(Classifier::<M, C, N, f32, D>::new(device, trunk, spec)?))
    }
    let model = match options.classes {
        10 => boxed::<M, C, 10, D>(device, trunk, spec)?,
        100 => boxed::<M, C, 100, D>(device, trunk, spec)?,
        1000 => boxed::<M, C, 1000, D>(device, trunk, spec)?,
        other => {
            let what = format!(
                "there is no head for {other} classes; choose one of {CLASSES:?}, and data with as many"
            );
            return Err(Error::Option { model: spec.name, what });
        }
    };
    Ok(Built { model, warnings: plan.and_then(|p| p.warning()).into_iter().collect() })
}

fn on_device<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T> {
    result.map_err(|e| inductive_ops::Error::device("build", e).into())
}
