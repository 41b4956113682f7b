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
use inductive_attention::{Layout, OperatorKind, Tokens, Uniform};
use inductive_ops::{Activation, Backend, Grid, Window};

use crate::{
    Result,
    batch_norm::{BatchNorm, BatchStatistics},
    classifier::{HeadInit, HeadStyle, Trunk},
    model::{BlockRecord, Context, Images, Record},
    points::Change,
};

/// ReLU or GELU of each number.
fn activate<const RELU: bool, const C: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    x: Tokens<C, E, D, T>,
) -> inductive_ops::Result<Tokens<C, E, D, T>> {
    let device = x.device().clone();
    if RELU { device.relu(x) } else { device.gelu(x) }
}

/// How PyTorch fills weight and bias of a convolution.
fn default_of(fan_in: usize) -> Uniform {
    Uniform { bound: (fan_in as f64).powf(-0.5) }
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

impl<const C: usize, const P: usize, const RELU: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for ConvMixerStem<C, P, RELU, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ConvMixerStem<C, P, RELU, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(3 * P * P)));
        let bias = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(3 * P * P)));
        visitor.visit_fields(
            (
                Self::tensor("0.weight", |s| &s.weight, |s| &mut s.weight, weight),
                Self::tensor("0.bias", |s| &s.bias, |s| &mut s.bias, bias),
                Self::module("2", |s| &s.norm, |s| &mut s.norm),
            ),
            |(weight, bias, norm)| ConvMixerStem { weight, bias, norm },
        )
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
    ) -> inductive_ops::Result<Tokens<C, E, D, T>> {
        let device = images.device().clone();
        let x = device.patch_embed(images, &self.weight, &self.bias, context.image_gradient)?;
        let x = activate::<RELU, C, E, D, T>(x)?;
        self.norm.apply(x, None, Activation::None, context.batch_statistics.as_deref_mut())
    }
}

/// One block: patches are mixed within each channel by a `K x K` convolution, `K` odd, beside which the input is added;
/// then channels are mixed within each patch, without a residual connection.
///
/// timm equivalent: an element of `ConvMixer.blocks`. Visited in the order of the forward pass, on which
/// [`BatchStatistics`] depends.
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

impl<const C: usize, const K: usize, const RELU: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for ConvMixerBlock<C, K, RELU, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ConvMixerBlock<C, K, RELU, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let filters = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(K * K)));
        let filters_bias = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(K * K)));
        let weight = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(C)));
        let bias = TensorOptions::reset_with(|t| t.try_fill_with_distr(default_of(C)));
        visitor.visit_fields(
            (
                Self::tensor("0.fn.0.weight", |s| &s.spatial_weight, |s| &mut s.spatial_weight, filters),
                Self::tensor("0.fn.0.bias", |s| &s.spatial_bias, |s| &mut s.spatial_bias, filters_bias),
                Self::module("0.fn.2", |s| &s.spatial_norm, |s| &mut s.spatial_norm),
                Self::tensor("1.weight", |s| &s.channel_weight, |s| &mut s.channel_weight, weight),
                Self::tensor("1.bias", |s| &s.channel_bias, |s| &mut s.channel_bias, bias),
                Self::module("3", |s| &s.channel_norm, |s| &mut s.channel_norm),
            ),
            |(spatial_weight, spatial_bias, spatial_norm, channel_weight, channel_bias, channel_norm)| {
                ConvMixerBlock {
                    spatial_weight,
                    spatial_bias,
                    spatial_norm,
                    channel_weight,
                    channel_bias,
                    channel_norm,
                }
            },
        )
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
    ) -> inductive_ops::Result<Tokens<C, E, D, T>> {
        let device = x.device().clone();
        let (x, tape) = x.split_tape();
        let y = x.clone().put_tape(tape);
        let y = device.depthwise_conv2d(y, grid, 0, &self.spatial_weight, Some(&self.spatial_bias))?;
        let y = activate::<RELU, C, E, D, T>(y)?;
        let y = self.spatial_norm.apply(y, Some(&x), Activation::None, statistics.as_deref_mut())?;
        let mut keep = |y: &Tokens<C, E, D, T>, part: &str, kind, change| {
            if let Some(record) = &mut record {
                let name = |record: &Record<E>| format!("{}.{part}", record.block_name());
                record.keep_point(name, kind, &Layout::patches(grid), y, change);
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

/// The trunk of a ConvMixer for images of `HEIGHT x WIDTH` pixels: `C` channels, `DEPTH` blocks with `K x K` filters, patches
/// of `P x P` pixels; ReLU instead of GELU with `RELU`. The features are the mean over the patches.
///
/// Stochastic depth is not part of the architecture: the rate of a [`Context`] has no effect, and recipes give 0. The head
/// begins uniform, as PyTorch's `Linear`.
///
/// timm equivalent: `timm.models.convmixer.ConvMixer(C, DEPTH, kernel_size=K, patch_size=P)`.
#[derive(Clone, Debug)]
pub struct ConvMixer<
    const C: usize,
    const K: usize,
    const DEPTH: usize,
    const P: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const RELU: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// Images to tokens.
    pub stem: ConvMixerStem<C, P, RELU, E, D>,
    /// `DEPTH` blocks.
    pub blocks: Vec<ConvMixerBlock<C, K, RELU, E, D>>,
}

impl<
    const C: usize,
    const K: usize,
    const DEPTH: usize,
    const P: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const RELU: bool,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for ConvMixer<C, K, DEPTH, P, HEIGHT, WIDTH, RELU, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ConvMixer<C, K, DEPTH, P, HEIGHT, WIDTH, RELU, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(K % 2 == 1, "a filter has a centre") };
        const { assert!(HEIGHT.is_multiple_of(P) && WIDTH.is_multiple_of(P), "patches cover the image") };
        let names: Vec<String> = (0..DEPTH).map(|i| format!("blocks.{i}")).collect();
        let blocks: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
            .collect();
        visitor
            .visit_fields((Self::module("stem", |s| &s.stem, |s| &mut s.stem), blocks), |(stem, blocks)| {
                ConvMixer { stem, blocks }
            })
    }
}

impl<
    const C: usize,
    const K: usize,
    const DEPTH: usize,
    const P: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const RELU: bool,
    E: Dtype,
    D: Device<E>,
> HeadStyle for ConvMixer<C, K, DEPTH, P, HEIGHT, WIDTH, RELU, E, D>
{
    const INIT: HeadInit = HeadInit::Uniform;
}

impl<
    const C: usize,
    const K: usize,
    const DEPTH: usize,
    const P: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const RELU: bool,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for ConvMixer<C, K, DEPTH, P, HEIGHT, WIDTH, RELU, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (HEIGHT, WIDTH))?;
        context.start_record();
        // Without effect, but a rate that cannot be meant is refused as everywhere.
        context.block_drop_paths(DEPTH)?;
        let layout = self.layout(0);
        let mut x = self.stem.apply(images, &mut context)?;
        context.keep_stem("stem", &layout, &x);
        for block in &self.blocks {
            let (statistics, record) =
                (context.batch_statistics.as_deref_mut(), context.record.as_deref_mut());
            x = block.apply(x, layout.grid, statistics, record)?;
            if let Some(record) = &mut context.record {
                let output = if record.keep_outputs { x.as_vec() } else { Vec::new() };
                record.blocks.push(BlockRecord { output, layout, attention: None });
            }
        }
        Ok(device.mean_tokens(x, 0)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::patches(Grid { rows: HEIGHT / P, cols: WIDTH / P })
    }
}
