//! What a model is, in numbers that no run decides.

use std::cell::OnceCell;

use dfdx::prelude::Cpu;
use inductive_data::DataSpec;
use inductive_models::{BuildOptions, ModelSpec, build, find};
use inductive_nn::ModuleExt;
use inductive_train::Recipe;

use super::Result;

/// A model in numbers.
pub(crate) struct Facts {
    /// What it is; of unknown classes with 1000.
    pub spec: ModelSpec,
    options: BuildOptions,
    classes: Option<usize>,
    parameters: OnceCell<usize>,
}

impl Facts {
    /// Those of the model that `recipe` trains on data of so many classes.
    pub fn of(recipe: &Recipe, classes: Option<usize>) -> Result<Self> {
        let options = recipe.build_options(classes.unwrap_or(BuildOptions::default().classes));
        let spec = find(&recipe.model).and_then(|entry| entry.choose(&options));
        let spec = spec.map_err(inductive_train::Error::from)?;
        Ok(Self { spec, options, classes, parameters: OnceCell::new() })
    }

    /// Whether a run of `recipe` trains this model.
    pub fn are_of(&self, recipe: &Recipe, classes: Option<usize>) -> bool {
        let options = recipe.build_options(self.options.classes);
        (&self.spec.name, &self.options, self.classes) == (&recipe.model, &options, classes)
    }

    /// Numbers in its parameters, before a layer leaves convolution; `None` where the data do not say their number of classes.
    pub fn parameters(&self) -> Result<Option<usize>> {
        if self.classes.is_none() {
            return Ok(None);
        }
        if let Some(parameters) = self.parameters.get() {
            return Ok(Some(*parameters));
        }
        let (parameters, _) = counted(&self.spec.name, &self.options)?;
        Ok(Some(*self.parameters.get_or_init(|| parameters)))
    }

    /// Multiply-accumulates of one image; `None` where the data do not say their number of classes.
    pub fn macs(&self) -> Option<u64> {
        self.classes.map(|_| self.spec.macs())
    }
}

/// Numbers in the parameters of a model, and its tensors.
pub(crate) fn counted(model: &str, options: &BuildOptions) -> Result<(usize, usize)> {
    let built = build(&Cpu::default(), model, options).map_err(inductive_train::Error::from)?;
    let mut tensors = 0;
    let visited = built.model.for_each_parameter(&mut |_| {
        tensors += 1;
        Ok(())
    });
    visited.map_err(inductive_train::Error::from)?;
    Ok((built.model.num_params(), tensors))
}

/// Classes of the data, where that is known before they are loaded.
pub(crate) fn classes(data: &str) -> Option<usize> {
    data.parse::<DataSpec>().ok()?.source().classes()
}
