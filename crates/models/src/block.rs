//! The pre-norm transformer block, over any token mixer.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, MixerPath, OperatorKind, TokenMixer, Tokens};
use inductive_ops::{Backend, Branch, DropPath, MlpWeights, Readout, Result};

use crate::{
    layers::LayerNorm,
    model::{BlockRecord, Record},
    points::Change,
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

impl<M: TensorCollection<E, D> + MixerPath, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Block<M, C, HIDDEN, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Block<M::To<E2, D2>, C, HIDDEN, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("norm1", |s| &s.norm1, |s| &mut s.norm1),
                Self::module(M::PATH, |s| &s.attn, |s| &mut s.attn),
                Self::module("norm2", |s| &s.norm2, |s| &mut s.norm2),
                Self::module("mlp", |s| &s.mlp, |s| &mut s.mlp),
            ),
            |(norm1, attn, norm2, mlp)| Block { norm1, attn, norm2, mlp },
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
        x.device().clone().mlp(x, weights, branch)
    }
}

impl<M: TokenMixer<C, E, D> + MixerPath, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>>
    Block<M, C, HIDDEN, E, D>
{
    /// tokens: `[batch, tokens, C]` as `layout` says; the result has the tokens that `readout` names.
    pub fn apply<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        readout: Readout,
        drop_path: DropPath,
        mut record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let batch = tokens.shape().0;
        let scales = [0, 1].map(|sublayer| drop_path.fork(sublayer).scales(batch));
        let (tokens, tape) = tokens.split_tape();
        let attention = match &record {
            Some(record) if record.skip_attention => None,
            None => None,
            Some(_) => Some(self.attn.attention(&self.norm1.apply(tokens.clone())?, layout)?),
        };
        let tokens = tokens.put_tape(tape);
        let tokens =
            self.attn.mix_branch(tokens, layout, readout, self.norm1.branch(scales[0].as_deref()))?;
        let mut keep = |tokens: &Tokens<C, E, D, T>, part: &str, kind| {
            if let Some(record) = &mut record {
                record.keep_point(
                    |record| format!("{}.{part}", record.block_name()),
                    kind,
                    layout,
                    tokens,
                    Change::Sum,
                );
            }
        };
        let mixer = if M::PATH.is_empty() { "attn" } else { M::PATH };
        keep(&tokens, mixer, self.attn.operator_kind());
        let tokens = self.mlp.apply(tokens, Some(self.norm2.branch(scales[1].as_deref())))?;
        keep(&tokens, "mlp", OperatorKind::Mlp);
        if let Some(record) = record {
            let output = if record.keep_outputs { tokens.as_vec() } else { Vec::new() };
            record.blocks.push(BlockRecord { output, layout: *layout, attention });
        }
        Ok(tokens)
    }
}
