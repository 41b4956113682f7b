//! Layer normalisation.

use dfdx::prelude::*;
use inductive_ops::{Backend, Branch, Erase};

use crate::{Build, Fill, Result, module};

/// Layer normalisation over the channels, eps 1e-6 as in ViT, DeiT and ConViT.
///
/// timm equivalent: `timm.layers.LayerNorm(C, eps=1e-6)`.
#[derive(Clone, Debug)]
pub struct LayerNorm<const C: usize, E: Dtype, D: Device<E>> {
    /// `[C]`
    pub weight: Tensor<Rank1<C>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, E: Dtype, D: Device<E>> LayerNorm<C, E, D> {
    /// Added to the variance.
    pub const EPS: f64 = 1e-6;
}

impl<const C: usize, E: Dtype, D: Device<E>> TensorCollection<E, D> for LayerNorm<C, E, D> {
    type To<E2: Dtype, D2: Device<E2>> = LayerNorm<C, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_to_ones()),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_to_zeros()),
            ),
            |(weight, bias)| LayerNorm { weight, bias },
        )
    }
}

module!([const C: usize] LayerNorm<C, E, D> { weight, bias });

impl<const C: usize, E: Dtype, D: Backend<E>> Build<E, D> for LayerNorm<C, E, D> {
    fn new(device: &D) -> Result<Self> {
        let weight = Fill::ONES.tensor(device, (Const,))?;
        Ok(Self { weight, bias: Fill::ZEROS.tensor(device, (Const,))? })
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>> LayerNorm<C, E, D> {
    /// x: `[.., C]`.
    pub fn apply<S: Erase, T: Tape<E, D>>(&self, x: Tensor<S, E, D, T>) -> Result<Tensor<S, E, D, T>> {
        Ok(x.device().clone().layer_norm(x, &self.weight, &self.bias, Self::EPS)?)
    }

    /// A residual branch that begins with this normalisation. `scale`: the branch's factor per sample.
    pub fn branch<'a>(&'a self, scale: Option<&'a [f32]>) -> Branch<'a, C, E, D> {
        Branch { weight: &self.weight, bias: &self.bias, eps: Self::EPS, scale }
    }
}
