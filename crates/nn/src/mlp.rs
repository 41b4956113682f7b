//! Two linear layers with a GELU between them.

use dfdx::prelude::*;
use inductive_ops::{Backend, Branch, MlpWeights};

use crate::{Build, Linear, Result, Tokens, module};

/// Two linear layers with a GELU between them.
///
/// timm equivalent: `timm.layers.Mlp(C, HIDDEN)`.
#[derive(Clone, Debug)]
pub struct Mlp<const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> {
    /// `C` to `HIDDEN`.
    pub fc1: Linear<C, HIDDEN, true, E, D>,
    /// `HIDDEN` to `C`.
    pub fc2: Linear<HIDDEN, C, true, E, D>,
}

module!([const C: usize, const HIDDEN: usize] Mlp<C, HIDDEN, E, D> { fc1, fc2 });

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Build<E, D> for Mlp<C, HIDDEN, E, D> {
    fn new(device: &D) -> Result<Self> {
        Ok(Self { fc1: Build::new(device)?, fc2: Build::new(device)? })
    }
}

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Mlp<C, HIDDEN, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Mlp<C, HIDDEN, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("fc1", |s| &s.fc1, |s| &mut s.fc1),
                Self::module("fc2", |s| &s.fc2, |s| &mut s.fc2),
            ),
            |(fc1, fc2)| Mlp { fc1, fc2 },
        )
    }
}

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Mlp<C, HIDDEN, E, D> {
    /// x: `[batch, tokens, C]`; with `branch` the result is `x + scale_b mlp(norm(x))`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        branch: Option<Branch<'_, C, E, D>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let weights = MlpWeights {
            weight1: &self.fc1.weight,
            bias1: self.fc1.bias(),
            weight2: &self.fc2.weight,
            bias2: self.fc2.bias(),
        };
        Ok(x.device().clone().mlp(x, weights, branch)?)
    }
}
