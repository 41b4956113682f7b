//! Initial weights: attention that begins uniform and hands the mean of all tokens on.

use inductive_init::{AttentionInit, Dims, Initializer, LinearInit, Progress, Result, add_initializer};
use inductive_nn::ModuleExt;
use inductive_train::{Initial, Recipe};

/// For layers of so many channels.
struct Uniform(usize);

impl Initializer for Uniform {
    fn attention(&self, _: usize, _: &(dyn Fn(Progress) + Sync)) -> Result<Option<AttentionInit>> {
        let (zero, identity) = (LinearInit::zeros(self.0, self.0), LinearInit::identity(self.0));
        Ok(Some(AttentionInit::new(zero.clone(), zero, identity.clone(), identity)))
    }
}

pub const UNIFORM: &str = "uniform-attention";

/// From then on a recipe may ask for it.
pub fn add() -> Result<()> {
    add_initializer(UNIFORM, "queries and keys 0, values the identity", |dims: Dims, _, _| {
        Ok(Box::new(Uniform(dims.width)))
    })
}

/// Channels of `deit_micro`.
pub const WIDTH: usize = 96;

/// The weights that a run with it begins with in the first layer: those of queries and keys, and those of values.
pub fn first_layer() -> inductive_train::Result<(Vec<f32>, Vec<f32>)> {
    let recipe = Recipe { model: "deit_micro".to_owned(), init: Some(UNIFORM.into()), ..Recipe::default() };
    let mut weights = Vec::new();
    Initial::new(&recipe, 5, &|_| {})?.model.for_each_parameter(&mut |parameter| {
        if parameter.name() == "blocks.0.attn.qkv.weight" {
            weights = parameter.to_vec();
        }
        Ok(())
    })?;
    let values = weights.split_off(2 * WIDTH * WIDTH);
    Ok((weights, values))
}
