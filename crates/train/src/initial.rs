//! The weights that a run begins with.

use std::{collections::BTreeSet, sync::Arc};

use dfdx::prelude::Cpu;
use inductive_checkpoint::{LoadOptions, LoadReport};
use inductive_init::{MakeInitializer, Strategy};
use inductive_models::{Initialised, Model, Zoo, build, find, initialise_filters, initialise_with};
use inductive_ops::Backend;

use crate::{
    Error, Init, Recipe, Result,
    by_name::ByName,
    check_weights,
    seeds::{Purpose, derive},
    weights::load_weights,
};

/// A model before its first update.
pub struct Initial {
    /// The model, on the CPU, where its weights are drawn whatever device it trains on.
    pub model: Box<dyn Model<f32, Cpu>>,
    /// What the recipe's strategy did; empty without one.
    pub initialised: Initialised,
    /// What model and strategy have to say to the user.
    pub warnings: Vec<String>,
    /// What was loaded from the recipe's file of weights; `None` without one.
    pub loaded: Option<LoadReport>,
}

impl Initial {
    /// The model of `recipe` for so many classes, bit for bit as a run of this recipe begins.
    ///
    /// `progress` hears of gradient solves, which take seconds.
    ///
    /// # Errors
    /// As [`Recipe::validate`]; [`Error::Model`](crate::Error::Model) for no classes, or too many and for a
    /// strategy that the model has no place for; [`Error::Checkpoint`](crate::Error::Checkpoint) and
    /// [`Error::WeightsNotFinite`](crate::Error::WeightsNotFinite) for a file of weights that is
    /// not the model's.
    pub fn new(
        recipe: &Recipe,
        classes: usize,
        progress: &(dyn Fn(inductive_init::Progress) + Sync),
    ) -> Result<Self> {
        recipe.validate()?;
        Self::make(recipe, classes, true, progress)
    }

    /// [`Initial::new`] by a recipe that is valid. read: whether its file of weights is loaded, which a run that goes on from weights
    /// of its own does not need.
    pub(crate) fn make(
        recipe: &Recipe,
        classes: usize,
        read: bool,
        progress: &(dyn Fn(inductive_init::Progress) + Sync),
    ) -> Result<Self> {
        let device = Cpu::seed_from_u64(derive(recipe.seed, Purpose::Weights, 0));
        let mut built = build(&device, &recipe.model, &recipe.build_options(classes))?;
        // The model's own, as if the recipe had named it.
        let own = match recipe.weights {
            Some(_) => None,
            None => find(&recipe.model)?.init().map(Init::from),
        };
        let (initialised, loaded) = begin(&mut *built.model, recipe, own, read, progress)?;
        let mut warnings = if recipe.weights.is_some() { Vec::new() } else { built.warnings };
        warnings.extend(initialised.warnings.iter().cloned());
        Ok(Self { model: built.model, initialised, warnings, loaded })
    }

    /// The same model on another device. recipe: the one that it was made by.
    ///
    /// # Errors
    /// A device that cannot copy.
    pub fn on<D: Zoo>(&self, device: &D, recipe: &Recipe) -> Result<Box<dyn Model<f32, D>>> {
        let options = recipe.build_options(self.model.spec().classes);
        let mut model = build(device, &recipe.model, &options)?.model;
        copy_weights(&*self.model, &mut *model)?;
        Ok(model)
    }
}

/// Gives a new model the weights that `recipe` asks for: by its strategy, else by `own`; then by its filters; then those of its file.
pub(crate) fn begin<D: Backend<f32>>(
    model: &mut dyn Model<f32, D>,
    recipe: &Recipe,
    own: Option<Init<Strategy>>,
    read: bool,
    progress: &(dyn Fn(inductive_init::Progress) + Sync),
) -> Result<(Initialised, Option<LoadReport>)> {
    let make = recipe.init.clone().or(own).and_then(|init| init.initializer());
    let design = |make: Arc<dyn MakeInitializer>| {
        initialise_with(&mut *model, &*make, derive(recipe.seed, Purpose::Init, 0), progress)
    };
    let initialised = make.map(design).transpose()?.unwrap_or_default();
    if let Some(filters) = recipe.filters.as_ref().and_then(Init::get) {
        initialise_filters(&mut *model, &filters, derive(recipe.seed, Purpose::Init, 1))?;
    }
    let path = recipe.weights.as_ref().filter(|_| read);
    let loaded = path.map(|path| load_to_train(&mut *model, path)).transpose()?;
    Ok((initialised, loaded))
}

/// Loads the weights of a file into a model that will train on. Its layers are then what they are in the file; what only attention
/// has, a file of convolutions need not have.
fn load_to_train<D: Backend<f32>>(model: &mut dyn Model<f32, D>, path: &str) -> Result<LoadReport> {
    let optional = without_effect(model)?;
    let report = load_weights(model, path, LoadOptions::new().replace_head().optional(optional))?;
    check_weights(model)?;
    let optional = without_effect(model)?;
    match report.kept.iter().find(|name| !optional.contains(*name)) {
        None => Ok(report),
        Some(name) => Err(Error::Recipe {
            field: "weights",
            got: path.to_owned(),
            expected: format!(
                "all that its layers compute with; there is no `{name}`, and its layer is attention"
            ),
        }),
    }
}

/// Parameters of layers that are convolutions as yet, and the codes that say so.
fn without_effect<D: Backend<f32>>(model: &dyn Model<f32, D>) -> Result<BTreeSet<String>> {
    Ok(model.switchable()?.into_iter().flat_map(|layer| layer.idle.into_iter().chain([layer.code])).collect())
}

/// Copies all parameters between two models of the same, on whatever devices.
fn copy_weights<D: Zoo>(from: &dyn Model<f32, Cpu>, to: &mut dyn Model<f32, D>) -> Result<()> {
    ByName::new("initial weights", from, |p| Ok(p.to_vec()))?.change(to, |p, values| Ok(p.copy_from(values)?))
}

impl std::fmt::Debug for Initial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initial")
            .field("model", self.model.spec())
            .field("initialised", &self.initialised)
            .field("warnings", &self.warnings)
            .field("loaded", &self.loaded)
            .finish()
    }
}
