//! What a model is, in numbers that no run decides.

use std::path::Path;

use dfdx::prelude::Cpu;
use inductive_models::{BuildOptions, ModelSpec, build};
use inductive_nn::ModuleExt;

use super::Result;

/// A model in numbers.
pub(crate) struct Facts {
    pub spec: ModelSpec,
    pub parameters: usize,
    pub tensors: usize,
}

impl Facts {
    /// Those of a model with a head for `classes`.
    pub fn of(model: &str, classes: usize) -> Result<Self> {
        let options = BuildOptions { classes, ..BuildOptions::default() };
        let built = build(&Cpu::default(), model, &options).map_err(inductive_train::Error::from)?;
        let mut tensors = 0;
        let counted = built.model.for_each_parameter(&mut |_| {
            tensors += 1;
            Ok(())
        });
        counted.map_err(inductive_train::Error::from)?;
        Ok(Self { spec: built.model.spec().clone(), parameters: built.model.num_params(), tensors })
    }
}

/// Classes of the data, for the heads of the models that are counted.
pub(crate) fn classes(data: &str) -> usize {
    match data.split_once(':') {
        Some(("cifar100", _)) => 100,
        Some(("folder", dir)) => std::fs::read_dir(Path::new(dir).join("train")).map_or(10, |it| it.count()),
        _ => 10,
    }
}
