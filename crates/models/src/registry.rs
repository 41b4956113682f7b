//! Models by name.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard},
};

use dfdx::prelude::*;
use inductive_files::nearest;
use inductive_init::{initializer_names, named_initializer};
use inductive_nn::Uniform;
use inductive_ops::Backend;

use crate::{Error, Family, ModelSpec, Result, families, initialise::initialise_with, model::Model};

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
    init: Option<Cow<'static, str>>,
}

/// How a model is built: what it is, chosen by the options, and the options. Weights are drawn from the device's random numbers.
pub type Builder<D> = dyn Fn(&D, ModelSpec, &BuildOptions) -> Result<Built<D>> + Send + Sync;

/// A name with what builds it.
pub(crate) struct Named<D: Backend<f32>> {
    entry: Entry,
    build: Arc<Builder<D>>,
}

impl<D: Backend<f32>> Named<D> {
    pub(crate) fn new(
        entry: Entry,
        build: impl Fn(&D, ModelSpec, &BuildOptions) -> Result<Built<D>> + Send + Sync + 'static,
    ) -> Self {
        Self { entry, build: Arc::new(build) }
    }
}

/// Models by name, for one device: those of this crate, and what others add.
///
/// ```
/// use dfdx::prelude::*;
/// use inductive_models::{BuildOptions, Built, Classifier, Entry, ModelSpec, Zoo, build, families};
///
/// // A narrow ViT under a name of its own.
/// let spec = ModelSpec {
///     name: "vit_narrow".to_owned(),
///     image: (32, 32),
///     patch: 4,
///     embed_dim: 24,
///     depth: 2,
///     classes: 1000,
///     ..ModelSpec::default()
/// };
/// Cpu::registry().add(Entry::new(spec), |device, spec, options| {
///     let trunk = families::vit::<24, 2, 48, 4, f32, Cpu>(device, &spec)?;
///     let model = Classifier::new(device, trunk, options.classes, spec)?;
///     Ok(Built { model: Box::new(model), warnings: Vec::new() })
/// })?;
/// let options = BuildOptions { classes: 10, ..Default::default() };
/// assert_eq!(build(&Cpu::default(), "vit_narrow", &options)?.model.spec().classes, 10);
/// # Ok::<(), inductive_models::Error>(())
/// ```
pub struct Registry<D: Backend<f32>> {
    models: RwLock<Vec<Named<D>>>,
}

impl<D: Backend<f32>> Registry<D> {
    /// The models of this crate.
    pub(crate) fn standard() -> Self {
        Self { models: RwLock::new(families::models()) }
    }

    /// Adds a model. From then on recipes and all else that takes a model's name know it.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that is there already, and for initial weights ([`Entry::with_init`]) of a name that is not.
    pub fn add(
        &self,
        entry: Entry,
        build: impl Fn(&D, ModelSpec, &BuildOptions) -> Result<Built<D>> + Send + Sync + 'static,
    ) -> Result<()> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.iter().any(|it| it.entry.spec.name == entry.spec.name) {
            let what = "a model of this name is there already".to_owned();
            return Err(Error::Option { model: entry.spec.name, what });
        }
        if let Some(init) = entry.init().filter(|init| named_initializer(init).is_none()) {
            let known: Vec<String> = initializer_names().into_iter().map(|(name, _)| name).collect();
            let near = nearest(init, known.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let what = format!(
                "there are no initial weights `{init}`{near}; `inductive init --list` shows all, and `add_initializer` comes before the \
                 model that begins with them"
            );
            return Err(Error::Option { model: entry.spec.name, what });
        }
        models.push(Named::new(entry, build));
        Ok(())
    }

    /// All models: those of this crate in a fixed order, then what was added.
    pub fn entries(&self) -> Vec<Entry> {
        self.models().iter().map(|it| it.entry.clone()).collect()
    }

    /// The entry of this name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], with the nearest name.
    pub fn find(&self, name: &str) -> Result<Entry> {
        let models = self.models();
        let found = models.iter().find(|it| it.entry.spec.name == name).map(|it| it.entry.clone());
        found.ok_or_else(|| unknown(name, models.iter().map(|it| it.entry.spec.name.as_str())))
    }

    /// See [`build`].
    ///
    /// # Errors
    /// Those of [`build`].
    pub fn build(&self, device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
        let entry = self.find(name)?;
        let make = entry.init().filter(|_| !options.published_weights).and_then(named_initializer);
        let spec = entry.choose(options)?;
        let build = self.models().iter().find(|it| it.entry.spec.name == name).map(|it| it.build.clone());
        let Some(build) = build else { return Err(unknown(name, [])) };
        let mut built = build(device, spec, options)?;
        if let Some(make) = make {
            initialise_with(&mut *built.model, &*make, draw_seed(device)?, &|_| ())?;
        }
        Ok(built)
    }

    fn models(&self) -> RwLockReadGuard<'_, Vec<Named<D>>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Backend<f32>> std::fmt::Debug for Registry<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.models().iter().map(|it| &it.entry.spec.name)).finish()
    }
}

/// A device that models are built on. Implemented here, so that the models are compiled once and not by every user.
pub trait Zoo: Backend<f32> {
    /// The models of this process.
    fn registry() -> &'static Registry<Self>;
}

impl Zoo for Cpu {
    fn registry() -> &'static Registry<Self> {
        static MODELS: LazyLock<Registry<Cpu>> = LazyLock::new(Registry::standard);
        &MODELS
    }
}

#[cfg(feature = "cuda")]
impl Zoo for dfdx::tensor::Cuda {
    fn registry() -> &'static Registry<Self> {
        static MODELS: LazyLock<Registry<dfdx::tensor::Cuda>> = LazyLock::new(Registry::standard);
        &MODELS
    }
}

/// Builds a model by name with new weights. The device's seed decides them (`Cpu::seed_from_u64`).
///
/// Fails for a name that does not exist (the nearest one is told), for no classes, for images that the patches do not cover, for a
/// `local_up_to_layer` that leaves no layer for the class token, and for a `content_share` that is none.
pub fn build<D: Zoo>(device: &D, name: &str, options: &BuildOptions) -> Result<Built<D>> {
    D::registry().build(device, name, options)
}

/// All models of [`Cpu`]'s registry.
pub fn entries() -> Vec<Entry> {
    Cpu::registry().entries()
}

/// The entry of this name in [`Cpu`]'s registry.
///
/// # Errors
/// [`Error::UnknownModel`], with the nearest name.
pub fn find(name: &str) -> Result<Entry> {
    Cpu::registry().find(name)
}

/// A seed from the device's random numbers.
fn draw_seed<D: Backend<f32>>(device: &D) -> Result<u64> {
    let drawn = device.try_sample_like(&Rank1::<4>::default(), Uniform { bound: 1.0 });
    let drawn = drawn.map_err(|error| Error::device("build", error))?;
    let bits = |part: f32| (f64::from(part + 1.0) * 32768.0) as u64;
    Ok(drawn.as_vec().into_iter().fold(0, |seed, part| (seed << 16) | bits(part)))
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
    let all = entries();
    if let Some(same) = all.iter().find(|it| it.spec.can_switch() && it.is_but_for_switching(&own)) {
        return Ok(same.clone());
    }
    // By the plain name where there is one.
    let can = all.iter().filter(|it| it.spec.can_switch());
    let can = can.map(|it| all.iter().find(|plain| it.is_but_for_switching(plain)).unwrap_or(it));
    let can: Vec<&str> = can.map(|it| it.spec.name.as_str()).collect();
    let what =
        format!("none of its layers can leave convolution; these have such layers: {}", can.join(", "));
    Err(Error::Option { model: name.to_owned(), what })
}

fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    Error::UnknownModel { name: name.to_owned(), nearest: nearest(name, known).map(str::to_owned) }
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

    /// The name of a new model's initial weights; `None`: the published weights of its family. `*_micro` transformers and all `prs_*`
    /// have one.
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
    fn is_but_for_switching(&self, plain: &Self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Classifier;

    fn spec(name: &str) -> ModelSpec {
        let size = ModelSpec { image: (8, 8), patch: 4, embed_dim: 8, depth: 1, ..ModelSpec::default() };
        ModelSpec { name: name.to_owned(), classes: 1000, ..size }
    }

    fn add(registry: &Registry<Cpu>, name: &str) -> Result<()> {
        registry.add(Entry::new(spec(name)).with_init("kaiming"), |device, spec, options| {
            let trunk = families::vit::<8, 2, 16, 4, f32, Cpu>(device, &spec)?;
            let model = Classifier::new(device, trunk, options.classes, spec)?;
            Ok(Built { model: Box::new(model), warnings: Vec::new() })
        })
    }

    #[test]
    fn an_added_model_is_built_with_its_options_and_initial_weights() {
        let registry = Registry::<Cpu>::standard();
        add(&registry, "own").unwrap();
        let options = BuildOptions { classes: 3, image: Some((8, 16)), ..BuildOptions::default() };
        let build = |published_weights| {
            let options = BuildOptions { published_weights, ..options };
            registry.build(&Cpu::seed_from_u64(0), "own", &options).unwrap().model
        };
        let weights = |model: &dyn Model<f32, Cpu>| {
            let mut all = Vec::new();
            let _ = model.visit(&mut inductive_nn::Path::default(), &mut |p| {
                all.extend(p.to_vec());
                Ok(())
            });
            all
        };
        let (own, published) = (build(false), build(true));
        assert_eq!((own.spec().classes, own.spec().grid().tokens()), (3, 2 * 4));
        assert_ne!(weights(&*own), weights(&*published), "the strategy is applied");
        assert_eq!(registry.entries().last().unwrap().init(), Some("kaiming"));
    }

    #[test]
    fn a_name_is_given_once_and_a_near_one_is_told() {
        let registry = Registry::<Cpu>::standard();
        let error = add(&registry, "convit_micro").unwrap_err().to_string();
        assert!(error.contains("convit_micro") && error.contains("already"), "{error}");
        add(&registry, "of_my_own").unwrap();
        assert!(add(&registry, "of_my_own").is_err());
        let error = registry.find("of_my_owm").unwrap_err().to_string();
        assert!(error.contains("`of_my_own`"), "{error}");
    }

    #[test]
    fn narrow_transformers_and_stages_begin_with_weights_by_their_width() {
        for entry in entries() {
            let narrow = entry.spec.attention().is_some() && entry.spec.name.contains("_micro");
            let expected =
                if entry.spec.stages().is_some() { Some("lecun") } else { narrow.then_some("kaiming") };
            assert_eq!(entry.init(), expected, "{}", entry.spec.name);
        }
    }

    #[test]
    fn resnets_have_a_counterpart_whose_layers_can_leave_convolution() {
        for (name, same) in [
            ("resnet_micro", "resnet_micro_switch"),
            ("resnet18", "resnet18_switch"),
            ("prs_nano", "prs_nano"),
        ] {
            assert_eq!(find_switchable(name).unwrap().spec.name, same);
        }
        let error = find_switchable("resnet32_cifar").unwrap_err().to_string();
        assert!(error.contains("resnet20_cifar,") && !error.contains("_switch"), "{error}");
    }
}
