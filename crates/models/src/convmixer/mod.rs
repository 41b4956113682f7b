//! ConvMixer (Trockman and Kolter, "Patches Are All You Need?", arXiv 2201.09792): patches, and blocks of a depthwise
//! convolution and a convolution of single patches, on one grid throughout.
//!
//! ```text
//! stem     x = BN(act(Conv_{P x P, stride P}(image)))
//! block    x = x + BN(act(DWConv_{K x K}(x)))       x = BN(act(Conv_{1 x 1}(x)))
//! ```
//!
//! Normalisation comes after the activation. Weights and biases of convolutions begin as PyTorch's, uniform in
//! `+-1 / sqrt(fan_in)`; the fan in of a depthwise one is `K^2`.

#[cfg(test)]
mod tests;

use dfdx::prelude::*;
use inductive_nn::{
    BatchNorm, BatchStatistics, Build, Change, Context, Fill, Images, Layout, OperatorKind, Record, Taped,
    Tokens, module, plain_grid,
};
use inductive_ops::{Activation, Backend, Grid, Window};

use crate::{
    Result,
    classifier::{HeadInit, Trunk},
};

/// ReLU or GELU of each number.
fn activate<const RELU: bool, const C: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    x: Tokens<C, E, D, T>,
) -> inductive_nn::Result<Tokens<C, E, D, T>> {
    let device = x.device().clone();
    if RELU { Ok(device.relu(x)?) } else { Ok(device.gelu(x)?) }
}

/// Images to tokens: patches of `P x P` pixels, activation, batch normalisation.
///
/// timm equivalent: `ConvMixer.stem`.
#[derive(Clone, Debug)]
pub struct ConvMixerStem<const C: usize, const P: usize, const RELU: bool, E: Dtype, D: Device<E>> {
    /// `0.weight`, `[C, 3, P, P]`
    pub weight: Tensor<Rank4<C, 3, P, P>, E, D>,
    /// `0.bias`, `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
    /// `2`
    pub norm: BatchNorm<C, E, D>,
}

module!(
    [const C: usize, const P: usize, const RELU: bool]
    ConvMixerStem<C, P, RELU, E, D> { weight: "0.weight", bias: "0.bias", norm: "2" }
);

impl<const C: usize, const P: usize, const RELU: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for ConvMixerStem<C, P, RELU, E, D>
{
    fn new(device: &D) -> inductive_nn::Result<Self> {
        let fill = Fill::fan_in(3 * P * P);
        Ok(Self {
            weight: fill.tensor(device, (Const, Const, Const, Const))?,
            bias: fill.tensor(device, (Const,))?,
            norm: Build::new(device)?,
        })
    }
}

impl<const C: usize, const P: usize, const RELU: bool, E: Dtype, D: Backend<E>>
    ConvMixerStem<C, P, RELU, E, D>
{
    /// images: `[batch, 3, height, width]`, both divisible by `P`; result: `[batch, height / P * width / P, C]`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> inductive_nn::Result<Tokens<C, E, D, T>> {
        let device = images.device().clone();
        let x = device.patch_embed(images, &self.weight, &self.bias, context.image_gradient)?;
        let x = activate::<RELU, C, E, D, T>(x)?;
        self.norm.apply(x, None, Activation::None, context.batch_statistics.as_deref_mut())
    }
}

/// One block: patches are mixed within each channel by a `K x K` convolution, `K` odd, beside which the input is added;
/// then channels are mixed within each patch, without a residual connection.
///
/// timm equivalent: an element of `ConvMixer.blocks`.
#[derive(Clone, Debug)]
pub struct ConvMixerBlock<const C: usize, const K: usize, const RELU: bool, E: Dtype, D: Device<E>> {
    /// `0.fn.0.weight`, `[C, 1, K, K]`: the depthwise filters.
    pub spatial_weight: Tensor<Rank4<C, 1, K, K>, E, D>,
    /// `0.fn.0.bias`, `[C]`
    pub spatial_bias: Tensor<Rank1<C>, E, D>,
    /// `0.fn.2`
    pub spatial_norm: BatchNorm<C, E, D>,
    /// `1.weight`, `[C, C, 1, 1]`
    pub channel_weight: Tensor<Rank4<C, C, 1, 1>, E, D>,
    /// `1.bias`, `[C]`
    pub channel_bias: Tensor<Rank1<C>, E, D>,
    /// `3`
    pub channel_norm: BatchNorm<C, E, D>,
}

module!([const C: usize, const K: usize, const RELU: bool] ConvMixerBlock<C, K, RELU, E, D> {
    spatial_weight: "0.fn.0.weight",
    spatial_bias: "0.fn.0.bias",
    spatial_norm: "0.fn.2",
    channel_weight: "1.weight",
    channel_bias: "1.bias",
    channel_norm: "3",
});

impl<const C: usize, const K: usize, const RELU: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for ConvMixerBlock<C, K, RELU, E, D>
{
    fn new(device: &D) -> inductive_nn::Result<Self> {
        const { assert!(K % 2 == 1, "a filter has a centre") };
        let (spatial, channel) = (Fill::fan_in(K * K), Fill::fan_in(C));
        Ok(Self {
            spatial_weight: spatial.tensor(device, (Const, Const, Const, Const))?,
            spatial_bias: spatial.tensor(device, (Const,))?,
            spatial_norm: Build::new(device)?,
            channel_weight: channel.tensor(device, (Const, Const, Const, Const))?,
            channel_bias: channel.tensor(device, (Const,))?,
            channel_norm: Build::new(device)?,
        })
    }
}

impl<const C: usize, const K: usize, const RELU: bool, E: Dtype, D: Backend<E>>
    ConvMixerBlock<C, K, RELU, E, D>
{
    /// x and result: `[batch, grid.tokens(), C]`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        grid: Grid,
        mut statistics: Option<&mut BatchStatistics<E>>,
        mut record: Option<&mut Record<E>>,
    ) -> inductive_nn::Result<Tokens<C, E, D, T>> {
        let device = x.device().clone();
        let (x, tape) = x.split_tape();
        let y = x.clone().put_tape(tape);
        let y = device.depthwise_conv2d(y, grid, 0, &self.spatial_weight, Some(&self.spatial_bias))?;
        let y = activate::<RELU, C, E, D, T>(y)?;
        let y = self.spatial_norm.apply(y, Some(&x), Activation::None, statistics.as_deref_mut())?;
        let mut keep = |y: &Tokens<C, E, D, T>, part: &str, kind, change| {
            if let Some(record) = &mut record {
                record.keep_part(part, kind, &Layout::patches(grid), y, change);
            }
        };
        keep(&y, "spatial", OperatorKind::Convolution, Change::Sum);
        let (weight, bias) = (&self.channel_weight, Some(&self.channel_bias));
        let (y, _) = device.conv2d(y, grid, weight, bias, Window::square(1, 1, 0))?;
        let y = activate::<RELU, C, E, D, T>(y)?;
        let y = self.channel_norm.apply(y, None, Activation::None, statistics)?;
        keep(&y, "channel", OperatorKind::Mlp, Change::Replaced);
        Ok(y)
    }
}

/// The trunk of a ConvMixer: `C` channels, blocks with `K x K` filters, patches of `P x P` pixels; ReLU instead of GELU with
/// `RELU`. The features are the mean over the patches.
///
/// Stochastic depth is not part of the architecture: the rate of a [`Context`] has no effect, and recipes give 0. The head
/// begins uniform, as PyTorch's `Linear`.
///
/// timm equivalent: `timm.models.convmixer.ConvMixer(C, depth, kernel_size=K, patch_size=P)`.
#[derive(Clone, Debug)]
pub struct ConvMixer<const C: usize, const K: usize, const P: usize, const RELU: bool, E: Dtype, D: Device<E>>
{
    /// Images to tokens.
    pub stem: ConvMixerStem<C, P, RELU, E, D>,
    /// The blocks.
    pub blocks: Vec<ConvMixerBlock<C, K, RELU, E, D>>,
    image: (usize, usize),
}

module!(
    [const C: usize, const K: usize, const P: usize, const RELU: bool]
    ConvMixer<C, K, P, RELU, E, D> { stem, blocks }
);

impl<const C: usize, const K: usize, const P: usize, const RELU: bool, E: Dtype, D: Backend<E>>
    ConvMixer<C, K, P, RELU, E, D>
{
    /// New, with so many blocks, for images of `(height, width)` pixels.
    ///
    /// # Errors
    /// An image that patches do not cover; a device without memory for it.
    pub fn new(device: &D, depth: usize, image: (usize, usize)) -> Result<Self> {
        plain_grid(image, P)?;
        let stem = Build::new(device)?;
        let blocks = (0..depth).map(|_| Build::new(device)).collect::<inductive_nn::Result<_>>()?;
        Ok(Self { stem, blocks, image })
    }
}

impl<const C: usize, const K: usize, const P: usize, const RELU: bool, E: Dtype, D: Backend<E>> Trunk<C, E, D>
    for ConvMixer<C, K, P, RELU, E, D>
{
    const HEAD_INIT: HeadInit = HeadInit::Uniform;

    fn image(&self) -> (usize, usize) {
        self.image
    }

    fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn pass<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let (device, layout) = (images.device().clone(), self.layout(0));
        let mut x = self.stem.apply(images, context)?;
        context.keep_stem("stem", &layout, &x);
        for block in &self.blocks {
            let (statistics, record) =
                (context.batch_statistics.as_deref_mut(), context.record.as_deref_mut());
            x = block.apply(x, layout.grid, statistics, record)?;
            if let Some(record) = &mut context.record {
                record.keep_block(&x, &layout, None);
            }
        }
        Ok(device.mean_tokens(x, 0)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::patches(Grid { rows: self.image.0 / P, cols: self.image.1 / P })
    }
}
