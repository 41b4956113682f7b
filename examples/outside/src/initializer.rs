//! Initial weights: attention that begins uniform and hands the mean of all tokens on.

use inductive_init::{AttentionInit, Dims, Initializer, LinearInit, Progress, Result, add_initializer};

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
