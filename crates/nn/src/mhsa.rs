//! Multi-head self-attention.

use dfdx::prelude::*;
use inductive_ops::{AttentionDims, Backend, Branch, Readout, SelfAttentionWeights};

use crate::{
    Build, Error, Layer, OperatorKind, Result,
    linear::{Linear, Packed},
    mixer::{AttentionRecord, Layout, Projections, QkvLayers, TokenMixer, Tokens},
    module,
};

/// Multi-head self-attention: `softmax(q k^T / sqrt(C / H)) v`, heads concatenated, then projected.
///
/// `C` channels, `H` heads, `QKV_BIAS` as in timm (true in ViT and DeiT, false in the released ConViTs).
/// timm equivalent: `timm.layers.Attention(C, num_heads=H, qkv_bias=QKV_BIAS)`, `convit.MHSA`.
///
/// ```
/// # use dfdx::prelude::*;
/// use inductive_nn::Mhsa;
/// let dev = Cpu::seed_from_u64(0);
/// let layer = Mhsa::<64, 4, true, f32, Cpu>::build(&dev);
/// let tokens = dev.sample_normal::<Rank3<2, 17, 64>>().realize::<(usize, usize, Const<64>)>();
/// assert_eq!(layer.forward(tokens).shape().concrete(), [2, 17, 64]);
/// ```
#[derive(Clone, Debug)]
pub struct Mhsa<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Device<E>> {
    /// Rows in the order q, k, v.
    pub qkv: Packed<3, C, QKV_BIAS, E, D>,
    /// Output projection.
    pub proj: Linear<C, C, true, E, D>,
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Mhsa<C, H, QKV_BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Mhsa<C, H, QKV_BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(C.is_multiple_of(H), "the channels must be divisible by the heads") };
        visitor.visit_fields(
            (
                Self::module("qkv", |s| &s.qkv, |s| &mut s.qkv),
                Self::module("proj", |s| &s.proj, |s| &mut s.proj),
            ),
            |(qkv, proj)| Mhsa { qkv, proj },
        )
    }
}

module!([const C: usize, const H: usize, const QKV_BIAS: bool] as Layer Mhsa<C, H, QKV_BIAS, E, D> { qkv, proj });

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for Mhsa<C, H, QKV_BIAS, E, D>
{
    fn new(device: &D) -> Result<Self> {
        const { assert!(C.is_multiple_of(H), "the channels must be divisible by the heads") };
        Ok(Self { qkv: Build::new(device)?, proj: Build::new(device)? })
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Layer<E>
    for Mhsa<C, H, QKV_BIAS, E, D>
{
    fn projections(&self) -> Option<Projections> {
        Some(Projections { width: C, heads: H, layers: QkvLayers::Together("qkv"), proj: "proj" })
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> TokenMixer<C, E, D>
    for Mhsa<C, H, QKV_BIAS, E, D>
{
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Attention
    }

    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>> {
        check_layout(tokens.shape().1, layout)?;
        self.attend(tokens, Readout::All, None)
    }

    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        let (batch, count, _) = *tokens.shape();
        check_layout(count, layout)?;
        let qkv = self.qkv.apply(tokens.clone())?;
        let map = tokens.device().attention_map(AttentionDims::new(batch, count, H, C), &qkv)?.as_vec();
        Ok(Some(AttentionRecord { map, batch, heads: H, layout: *layout, gates: None }))
    }

    fn mix_branch<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        readout: Readout,
        branch: Branch<'_, C, E, D>,
    ) -> Result<Tokens<C, E, D, T>> {
        check_layout(tokens.shape().1, layout)?;
        self.attend(tokens, readout, Some(branch))
    }
}

fn check_layout(tokens: usize, layout: &Layout) -> Result<()> {
    if tokens != layout.tokens() {
        return Err(Error::shape("Mhsa", format!("{} tokens as in {layout:?}", layout.tokens()), tokens));
    }
    Ok(())
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>>
    Mhsa<C, H, QKV_BIAS, E, D>
{
    fn attend<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        readout: Readout,
        branch: Option<Branch<'_, C, E, D>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let weights = SelfAttentionWeights {
            qkv: &self.qkv.weight,
            qkv_bias: self.qkv.bias.as_ref(),
            proj: &self.proj.weight,
            proj_bias: self.proj.bias(),
        };
        Ok(tokens.device().clone().self_attention(H, tokens, weights, readout, branch)?)
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>> Module<Tokens<C, E, D>>
    for Mhsa<C, H, QKV_BIAS, E, D>
{
    type Output = Tokens<C, E, D>;
    type Error = Error;

    fn try_forward(&self, tokens: Tokens<C, E, D>) -> Result<Self::Output> {
        self.attend(tokens, Readout::All, None)
    }
}

impl<const C: usize, const H: usize, const QKV_BIAS: bool, E: Dtype, D: Backend<E>>
    ModuleMut<Tokens<C, E, D, OwnedTape<E, D>>> for Mhsa<C, H, QKV_BIAS, E, D>
{
    type Output = Tokens<C, E, D, OwnedTape<E, D>>;
    type Error = Error;

    fn try_forward_mut(&mut self, tokens: Tokens<C, E, D, OwnedTape<E, D>>) -> Result<Self::Output> {
        self.attend(tokens, Readout::All, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;

    #[test]
    fn tokens_that_do_not_lie_as_the_layout_says_are_refused() {
        let dev = Cpu::seed_from_u64(0);
        let layer = Mhsa::<8, 2, false, f32, Cpu>::build(&dev);
        let tokens = || dev.zeros_like(&(1, 5, Const::<8>));
        let grid = Grid::square(2);
        assert!(layer.mix(tokens(), &Layout::with_class_token(grid)).is_ok());
        assert!(layer.mix(tokens(), &Layout::patches(grid)).is_err());
        assert!(layer.mix_recorded(tokens(), &Layout::patches(grid)).is_err());
    }
}
