//! Layers that all transformers share: layer normalisation and patch embedding.

use dfdx::prelude::*;
use inductive_attention::{Tokens, Uniform};
use inductive_ops::{Backend, Branch, Result};

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

impl<const C: usize, E: Dtype, D: Backend<E>> LayerNorm<C, E, D> {
    /// x: `[.., C]`.
    pub fn apply<S: Shape, T: Tape<E, D>>(&self, x: Tensor<S, E, D, T>) -> Result<Tensor<S, E, D, T>> {
        x.device().clone().layer_norm(x, &self.weight, &self.bias, Self::EPS)
    }

    /// A residual branch that begins with this normalisation. `scale`: the branch's factor per sample.
    pub fn branch<'a>(&'a self, scale: Option<&'a [f32]>) -> Branch<'a, C, E, D> {
        Branch { weight: &self.weight, bias: &self.bias, eps: Self::EPS, scale }
    }
}

/// Patch embedding: a convolution with kernel and stride `P`, its result row by row as tokens.
///
/// timm equivalent: `timm.layers.PatchEmbed(patch_size=P, embed_dim=C)`. Initialised as PyTorch's `Conv2d`: weight and
/// bias uniform in `+-1 / sqrt(3 P^2)`; timm's `init_weights` of ViT and ConViT leaves it so.
#[derive(Clone, Debug)]
pub struct PatchEmbed<const C: usize, const P: usize, E: Dtype, D: Device<E>> {
    /// `[C, 3, P, P]`
    pub weight: Tensor<Rank4<C, 3, P, P>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, const P: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for PatchEmbed<C, P, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = PatchEmbed<C, P, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        fn fan_in<const P: usize>() -> Uniform {
            Uniform { bound: ((3 * P * P) as f64).powf(-0.5) }
        }
        visitor.visit_fields(
            (
                Self::tensor(
                    "proj.weight",
                    |s| &s.weight,
                    |s| &mut s.weight,
                    TensorOptions::reset_with(|t| t.try_fill_with_distr(fan_in::<P>())),
                ),
                Self::tensor(
                    "proj.bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_with(|t| t.try_fill_with_distr(fan_in::<P>())),
                ),
            ),
            |(weight, bias)| PatchEmbed { weight, bias },
        )
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> PatchEmbed<C, P, E, D> {
    /// images: `[batch, 3, height, width]`, both divisible by `P`; result: `[batch, height / P * width / P, C]`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        images: Tensor<(usize, usize, usize, usize), E, D, T>,
        image_gradient: bool,
    ) -> Result<Tokens<C, E, D, T>> {
        images.device().clone().patch_embed(images, &self.weight, &self.bias, image_gradient)
    }
}
