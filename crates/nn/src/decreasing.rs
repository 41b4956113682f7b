//! Attention and a depthwise convolution side by side on different channels: EIT's mixer, whose convolution has fewer
//! channels in every layer (Xia et al., arXiv 2203.07116).

use dfdx::prelude::*;
use inductive_ops::Backend;

use crate::{
    Build, Error, Fill, Result,
    init::he,
    mhsa::Mhsa,
    mixer::{AttentionRecord, Layout, TokenMixer, Tokens},
    module,
    point::OperatorKind,
};

/// The first `E_CONV` of `C` channels go through a depthwise 3x3 convolution over the grid of patches, the last `A` through
/// multi-head self-attention with `H` heads; the results lie side by side again.
///
/// `C = E_CONV + A`. The convolution passes a class token on unchanged: its channels are those of the normalised input. It
/// has no bias, activation or projection. [`conv_channels`] gives the paper's split. Queries, keys
/// and values have a bias, as in all released models. A layer without attention does not compile, nor one without convolution,
/// which is [`Mhsa`]:
///
/// ```
/// # use dfdx::prelude::*;
/// use inductive_nn::{Build, ConvAttention};
/// ConvAttention::<10, 6, 4, 2, f32, Cpu>::new(&Cpu::default())?;
/// # Ok::<(), inductive_nn::Error>(())
/// ```
///
/// ```compile_fail,E0080
/// # use dfdx::prelude::*;
/// use inductive_nn::{Build, ConvAttention};
/// ConvAttention::<10, 10, 0, 2, f32, Cpu>::new(&Cpu::default())?;
/// # Ok::<(), inductive_nn::Error>(())
/// ```
///
/// ```compile_fail,E0080
/// # use dfdx::prelude::*;
/// use inductive_nn::{Build, ConvAttention};
/// ConvAttention::<10, 0, 10, 2, f32, Cpu>::new(&Cpu::default())?;
/// # Ok::<(), inductive_nn::Error>(())
/// ```
///
/// Equivalent in the authors' code: `EIT_T` beside `Attention` in `Block`; state-dict names `eit_t.conv1` and `attn`.
#[derive(Clone, Debug)]
pub struct ConvAttention<
    const C: usize,
    const E_CONV: usize,
    const A: usize,
    const H: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// On the last `A` channels.
    pub attn: Mhsa<A, H, true, E, D>,
    /// `eit_t.conv1.weight`, `[E_CONV, 1, 3, 3]`.
    pub conv: Tensor<Rank4<E_CONV, 1, 3, 3>, E, D>,
}

/// Channels of the convolution in each of `depth` layers of `width` channels in `heads` heads, by the paper's rule: heads
/// grow from layer to layer to their full size, the convolution gets the rest, nothing in the last layer.
pub fn conv_channels(width: usize, heads: usize, depth: usize) -> Vec<usize> {
    let attention = |layer: usize| if layer == depth { width } else { width / heads * layer / depth * heads };
    (1..=depth).map(|layer| width - attention(layer)).collect()
}

impl<const C: usize, const E_CONV: usize, const A: usize, const H: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for ConvAttention<C, E_CONV, A, H, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ConvAttention<C, E_CONV, A, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(E_CONV + A == C, "the channels of convolution and attention must add up") };
        const { assert!(A > 0, "a layer without attention has nothing that mixes distant patches") };
        const { assert!(E_CONV > 0, "a layer without convolution is Mhsa") };
        visitor.visit_fields(
            (
                Self::module("attn", |s| &s.attn, |s| &mut s.attn),
                Self::tensor(
                    "eit_t.conv1.weight",
                    |s| &s.conv,
                    |s| &mut s.conv,
                    TensorOptions::reset_with(|t| t.try_fill_with_distr(he(9 * E_CONV))),
                ),
            ),
            |(attn, conv)| ConvAttention { attn, conv },
        )
    }
}

module!([const C: usize, const E_CONV: usize, const A: usize, const H: usize] ConvAttention<C, E_CONV, A, H, E, D> {
    attn,
    conv: "eit_t.conv1.weight",
});

impl<const C: usize, const E_CONV: usize, const A: usize, const H: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for ConvAttention<C, E_CONV, A, H, E, D>
{
    fn new(device: &D) -> Result<Self> {
        const { assert!(E_CONV + A == C, "the channels of convolution and attention must add up") };
        const { assert!(A > 0, "a layer without attention has nothing that mixes distant patches") };
        const { assert!(E_CONV > 0, "a layer without convolution is Mhsa") };
        let attn = Build::new(device)?;
        Ok(Self { attn, conv: Fill::he(9 * E_CONV).tensor(device, (Const, Const, Const, Const))? })
    }
}

impl<const C: usize, const E_CONV: usize, const A: usize, const H: usize, E: Dtype, D: Backend<E>>
    ConvAttention<C, E_CONV, A, H, E, D>
{
    fn attended<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>) -> Result<Tokens<A, E, D, T>> {
        Ok(tokens.device().clone().slice_channels(tokens, E_CONV)?)
    }
}

impl<const C: usize, const E_CONV: usize, const A: usize, const H: usize, E: Dtype, D: Backend<E>>
    TokenMixer<C, E, D> for ConvAttention<C, E_CONV, A, H, E, D>
{
    // Its two parts are named beside the block's others.
    const PATH: &'static str = "";
    const CONV_CHANNELS: usize = E_CONV;

    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Mixed
    }

    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>> {
        if tokens.shape().1 != layout.tokens() {
            let expected = format!("{} tokens as in {layout:?}", layout.tokens());
            return Err(Error::shape("ConvAttention", expected, tokens.shape().1));
        }
        let device = tokens.device().clone();
        let (tokens, tape) = tokens.split_tape();
        let conv: Tokens<E_CONV, E, D, T> = device.slice_channels(tokens.clone().put_tape(tape), 0)?;
        let no_bias: Option<&Tensor<Rank1<E_CONV>, E, D>> = None;
        let conv = device.depthwise_conv2d(conv, layout.grid, layout.prefix, &self.conv, no_bias)?;
        let attended = self.attn.mix(self.attended(tokens.retaped::<T>())?, layout)?;
        Ok(device.concat_channels(conv, attended)?)
    }

    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        self.attn.attention(&self.attended(tokens.clone())?, layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;

    #[test]
    fn the_split_is_that_of_the_released_models() {
        assert_eq!(conv_channels(250, 10, 5), [200, 150, 100, 50, 0]);
        assert_eq!(conv_channels(330, 10, 8), [290, 250, 210, 170, 130, 90, 50, 0]);
        assert_eq!(conv_channels(400, 16, 10), [368, 320, 288, 240, 208, 160, 128, 80, 48, 0]);
        let large = [432, 400, 352, 320, 272, 240, 208, 160, 128, 80, 48, 0];
        assert_eq!(conv_channels(464, 16, 12), large);
    }

    #[test]
    fn the_class_tokens_convolved_channels_pass_unchanged() {
        let dev = Cpu::seed_from_u64(0);
        let layer = ConvAttention::<10, 6, 4, 2, f32, Cpu>::build(&dev);
        let layout = Layout::with_class_token(Grid { rows: 2, cols: 3 });
        let x: Tokens<10, f32, Cpu> =
            dev.sample_like(&(2, 7, Const), rand::distributions::Uniform::new(-1.0f32, 1.0));
        let y = layer.mix(x.clone(), &layout).unwrap().as_vec();
        for (x, y) in x.as_vec().chunks_exact(70).zip(y.chunks_exact(70)) {
            assert_eq!(x[..6], y[..6]);
            assert_ne!(x[6..10], y[6..10]);
            assert_ne!(x[10..16], y[10..16]);
        }
    }
}
