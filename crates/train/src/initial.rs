//! The weights that a run begins with.

use dfdx::prelude::Cpu;
use inductive_init::Strategy;
use inductive_models::{Initialised, Model, Zoo, build, find, initialise, initialise_filters};
use inductive_nn::ModuleExt;

use crate::{
    Init, Recipe, Result,
    seeds::{Purpose, derive},
};

/// A model before its first update.
pub struct Initial {
    /// The model, on the CPU, where its weights are drawn whatever device it trains on.
    pub model: Box<dyn Model<f32, Cpu>>,
    /// What the recipe's strategy did; empty without one.
    pub initialised: Initialised,
    /// What model and strategy have to say to the user.
    pub warnings: Vec<String>,
}

impl Initial {
    /// The model of `recipe` for so many classes, bit for bit as a run of this recipe begins.
    ///
    /// `progress` hears of gradient solves, which take seconds.
    ///
    /// # Errors
    /// As [`Recipe::validate`]; [`Error::Model`](crate::Error::Model) for no classes, or too many and for a
    /// strategy that the model has no place for.
    pub fn new(
        recipe: &Recipe,
        classes: usize,
        progress: &(dyn Fn(inductive_init::Progress) + Sync),
    ) -> Result<Self> {
        recipe.validate()?;
        let device = Cpu::seed_from_u64(derive(recipe.seed, Purpose::Weights, 0));
        let mut built = build(&device, &recipe.model, &recipe.build_options(classes))?;
        // The model's own, as if the recipe had named it.
        let strategy = match &recipe.init {
            Some(init) => init.get(),
            None => find(&recipe.model)?.init().and_then(Strategy::named),
        };
        let seed = derive(recipe.seed, Purpose::Init, 0);
        let design = |strategy| initialise(&mut *built.model, &strategy, seed, progress);
        let initialised = strategy.map(design).transpose()?.unwrap_or_default();
        if let Some(filters) = recipe.filters.as_ref().and_then(Init::get) {
            initialise_filters(&mut *built.model, &filters, derive(recipe.seed, Purpose::Init, 1))?;
        }
        let mut warnings = built.warnings;
        warnings.extend(initialised.warnings.iter().cloned());
        Ok(Self { model: built.model, initialised, warnings })
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

/// Copies all parameters between two models of one type, on whatever devices.
fn copy_weights<D: Zoo>(from: &dyn Model<f32, Cpu>, to: &mut dyn Model<f32, D>) -> Result<()> {
    let mut values = Vec::new();
    from.for_each_parameter(&mut |p| {
        values.push(p.to_vec());
        Ok(())
    })?;
    let mut values = values.iter();
    to.for_each_parameter_mut(&mut |p| values.next().map_or(Ok(()), |v| p.copy_from(v)))?;
    Ok(())
}

impl std::fmt::Debug for Initial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initial")
            .field("model", self.model.spec())
            .field("initialised", &self.initialised)
            .field("warnings", &self.warnings)
            .finish()
    }
}
