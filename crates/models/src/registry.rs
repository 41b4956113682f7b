//! Models by name.

use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use dfdx::prelude::*;
use inductive_files::nearest;
use inductive_init::{initializer_names, named_initializer};
use inductive_nn::Uniform;
use inductive_ops::Backend;

use crate::{
    BuildOptions, Entry, Error, ModelSpec, Result, families, initialise::initialise_with, model::Model,
};

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
            let narrow = entry.spec.attention().is_some() && entry.spec.embed_dim < 128;
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
