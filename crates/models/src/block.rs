//! The pre-norm transformer block, over any token mixer.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, TokenMixer, Tokens};
use inductive_ops::{Backend, DropPath, MlpWeights, Result};

use crate::{
    layers::LayerNorm,
    model::{BlockRecord, Record},
};

/// `x + dp(mixer(norm1(x)))`, then `x + dp(mlp(norm2(x)))`, with stochastic depth dp.
///
/// timm equivalent: `vision_transformer.Block`, `convit.Block`.
#[derive(Clone, Debug)]
pub struct Block<M, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> {
    /// Before the mixer.
    pub norm1: LayerNorm<C, E, D>,
    /// The token mixer.
    pub attn: M,
    /// Before the MLP.
    pub norm2: LayerNorm<C, E, D>,
    /// Channel mixing.
    pub mlp: Mlp<C, HIDDEN, E, D>,
}

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

impl<M: TensorCollection<E, D>, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Block<M, C, HIDDEN, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Block<M::To<E2, D2>, C, HIDDEN, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("norm1", |s| &s.norm1, |s| &mut s.norm1),
                Self::module("attn", |s| &s.attn, |s| &mut s.attn),
                Self::module("norm2", |s| &s.norm2, |s| &mut s.norm2),
                Self::module("mlp", |s| &s.mlp, |s| &mut s.mlp),
            ),
            |(norm1, attn, norm2, mlp)| Block { norm1, attn, norm2, mlp },
        )
    }
}

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Mlp<C, HIDDEN, E, D> {
    /// x: `[batch, tokens, C]`.
    pub fn apply<T: Tape<E, D>>(&self, x: Tokens<C, E, D, T>) -> Result<Tokens<C, E, D, T>> {
        let weights = MlpWeights {
            weight1: &self.fc1.weight,
            bias1: self.fc1.bias(),
            weight2: &self.fc2.weight,
            bias2: self.fc2.bias(),
        };
        x.device().clone().mlp(x, weights)
    }
}

impl<M: TokenMixer<C, E, D>, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>>
    Block<M, C, HIDDEN, E, D>
{
    /// tokens: `[batch, tokens, C]` as `layout` says.
    pub fn apply<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        drop_path: DropPath,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let device = tokens.device().clone();
        let batch = tokens.shape().0;
        let (residual, tape) = tokens.split_tape();
        let normal = self.norm1.apply(residual.clone().put_tape(tape))?;
        let (mixed, attention) = match record {
            None => (self.attn.mix(normal, layout)?, None),
            Some(record) => {
                let (mixed, attention) = self.attn.mix_recorded(normal, layout)?;
                (mixed, Some((record, attention)))
            }
        };
        let tokens = device.add_residual(mixed, &residual, drop_path.fork(0).scales(batch).as_deref())?;

        let (residual, tape) = tokens.split_tape();
        let branch = self.mlp.apply(self.norm2.apply(residual.clone().put_tape(tape))?)?;
        let tokens = device.add_residual(branch, &residual, drop_path.fork(1).scales(batch).as_deref())?;
        if let Some((record, attention)) = attention {
            let output = if record.keep_outputs { tokens.as_vec() } else { Vec::new() };
            record.blocks.push(BlockRecord { output, attention });
        }
        Ok(tokens)
    }
}
