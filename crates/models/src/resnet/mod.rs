//! ResNet (He et al., CVPR 2016, arXiv 1512.03385): the convolutional network that transformers are measured against.
//!
//! Types for ImageNet ([`Resnet18`], [`Resnet34`], [`Resnet50`]), for CIFAR with the paper's three narrow stages
//! ([`CifarResnet`]) or with the four of ImageNet ([`Resnet18Cifar`], [`CifarResnet4`]).

mod block;
mod layers;
mod sizes;
mod spec;
mod stage;
#[cfg(test)]
mod tests;

use dfdx::prelude::*;
use inductive_attention::{Layout, Tokens};
use inductive_ops::{Activation, Backend, Grid, Window};

pub use block::{BasicBlock, Bottleneck, ResidualBlock};
pub use layers::{Conv, Convolution, Identity, Projection, Shortcut, SwitchConv};
pub use sizes::{
    BasicResnet, CifarResnet, CifarResnet4, CifarResnet20, CifarResnet32, CifarResnet44, CifarResnet56,
    CifarResnet110, Resnet18, Resnet18Cifar, Resnet34, Resnet50, SwitchCifarResnet, SwitchCifarResnet4,
    SwitchResnet, SwitchResnet50,
};
pub use spec::ResnetSpec;
pub use stage::{
    BasicDownStage, BasicStage, BottleneckStage, NoStage, ResnetStage, Stage, SwitchBottleneckStage,
    SwitchDownStage,
};

use crate::{
    Result,
    batch_norm::BatchNorm,
    classifier::{HeadInit, HeadStyle, Trunk},
    model::{Context, Images},
    switch::{Switches, SwitchesMut, within},
};
use layers::strided;

/// Images to the first stage: a `K x K` convolution with stride `S`, batch normalisation, ReLU and, with `POOL`, 3x3 max
/// pooling with stride 2. State-dict names `conv1`, `bn1`.
#[derive(Clone, Debug)]
pub struct ResnetStem<
    const C: usize,
    const K: usize,
    const S: usize,
    const POOL: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// `3` to `C` channels.
    pub conv1: Conv<3, C, K, S, E, D>,
    /// After `conv1`.
    pub bn1: BatchNorm<C, E, D>,
}

/// The stem for ImageNet: 7x7 with stride 2 and pooling, a grid of a quarter of the rows and columns.
pub type ImagenetStem<const C: usize, E, D> = ResnetStem<C, 7, 2, true, E, D>;
/// The stem for CIFAR: 3x3 on every pixel.
pub type CifarStem<const C: usize, E, D> = ResnetStem<C, 3, 1, false, E, D>;

impl<const C: usize, const K: usize, const S: usize, const POOL: bool, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for ResnetStem<C, K, S, POOL, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = ResnetStem<C, K, S, POOL, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("conv1", |s| &s.conv1, |s| &mut s.conv1),
                Self::module("bn1", |s| &s.bn1, |s| &mut s.bn1),
            ),
            |(conv1, bn1)| ResnetStem { conv1, bn1 },
        )
    }
}

impl<const C: usize, const K: usize, const S: usize, const POOL: bool, E: Dtype, D: Backend<E>>
    ResnetStem<C, K, S, POOL, E, D>
{
    /// The grid that images of this size give.
    pub fn grid(image: Grid) -> Grid {
        strided(image, if POOL { 2 * S } else { S })
    }

    /// images: `[batch, 3, height, width]`; result: `[batch, tokens, C]` and its grid.
    pub fn apply<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)> {
        let device = images.device().clone();
        let window = Conv::<3, C, K, S, E, D>::window();
        let (x, grid) =
            device.conv2d_images(images, &self.conv1.weight, None, window, context.image_gradient)?;
        let statistics = context.batch_statistics.as_deref_mut();
        let x = self.bn1.apply(x, None, Activation::Relu, statistics)?;
        if POOL { device.max_pool2d(x, grid, Window::square(3, 2, 1)) } else { Ok((x, grid)) }
    }
}

/// The trunk of a ResNet for images of `HEIGHT x WIDTH` pixels: a [`ResnetStem`], stages that give `W1`, `W2`, `W3` and `C`
/// channels; the features are the mean over the last grid.
///
/// Where a block changes width or grid, its shortcut is a [`Projection`] ("option B"), also for CIFAR, where the paper pads
/// with zeros ("option A"): 1 % more parameters. Stochastic depth is not part of the architecture: the rate of a
/// [`Context`] has no effect, and recipes give 0. Weights begin as timm's: He's rule over the fan out, the last batch
/// normalisation of a block at 0, the head `fc` uniform as PyTorch's `Linear`.
///
/// timm equivalent: `timm.models.resnet.ResNet(block, layers)`.
#[derive(Clone, Debug)]
pub struct Resnet<
    STEM,
    L1,
    L2,
    L3,
    L4,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
> {
    /// `conv1`, `bn1`
    pub stem: STEM,
    /// The first stage.
    pub layer1: L1,
    /// The second stage.
    pub layer2: L2,
    /// The third stage.
    pub layer3: L3,
    /// The fourth stage, or [`NoStage`].
    pub layer4: L4,
}

impl<
    STEM: TensorCollection<E, D>,
    L1: TensorCollection<E, D>,
    L2: TensorCollection<E, D>,
    L3: TensorCollection<E, D>,
    L4: TensorCollection<E, D>,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Resnet<STEM, L1, L2, L3, L4, W1, W2, W3, C, HEIGHT, WIDTH>
{
    type To<E2: Dtype, D2: Device<E2>> = Resnet<
        STEM::To<E2, D2>,
        L1::To<E2, D2>,
        L2::To<E2, D2>,
        L3::To<E2, D2>,
        L4::To<E2, D2>,
        W1,
        W2,
        W3,
        C,
        HEIGHT,
        WIDTH,
    >;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("", |s| &s.stem, |s| &mut s.stem),
                Self::module("layer1", |s| &s.layer1, |s| &mut s.layer1),
                Self::module("layer2", |s| &s.layer2, |s| &mut s.layer2),
                Self::module("layer3", |s| &s.layer3, |s| &mut s.layer3),
                Self::module("layer4", |s| &s.layer4, |s| &mut s.layer4),
            ),
            |(stem, layer1, layer2, layer3, layer4)| Resnet { stem, layer1, layer2, layer3, layer4 },
        )
    }
}

impl<
    STEM,
    L1,
    L2,
    L3,
    L4,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
> HeadStyle for Resnet<STEM, L1, L2, L3, L4, W1, W2, W3, C, HEIGHT, WIDTH>
{
    const NAME: &'static str = "fc";
    const INIT: HeadInit = HeadInit::Uniform;
}

impl<
    L1,
    L2,
    L3,
    L4,
    const W: usize,
    const K: usize,
    const S: usize,
    const POOL: bool,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for Resnet<ResnetStem<W, K, S, POOL, E, D>, L1, L2, L3, L4, W1, W2, W3, C, HEIGHT, WIDTH>
where
    L1: ResnetStage<W, W1, E, D>,
    L2: ResnetStage<W1, W2, E, D>,
    L3: ResnetStage<W2, W3, E, D>,
    L4: ResnetStage<W3, C, E, D>,
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
        context.block_drop_paths(L1::BLOCKS + L2::BLOCKS + L3::BLOCKS + L4::BLOCKS)?;
        let (x, grid) = self.stem.apply(images, &mut context)?;
        context.keep_stem("stem", &Layout::patches(grid), &x);
        context.enter("layer1");
        let (x, grid) = self.layer1.run(x, grid, &mut context)?;
        context.enter("layer2");
        let (x, grid) = self.layer2.run(x, grid, &mut context)?;
        context.enter("layer3");
        let (x, grid) = self.layer3.run(x, grid, &mut context)?;
        context.enter("layer4");
        let (x, _) = self.layer4.run(x, grid, &mut context)?;
        Ok(device.mean_tokens(x, 0)?)
    }

    fn layout(&self, index: usize) -> Layout {
        let mut grid = ResnetStem::<W, K, S, POOL, E, D>::grid(Grid { rows: HEIGHT, cols: WIDTH });
        let mut blocks = 0;
        for (more, stride) in [
            (L1::BLOCKS, L1::STRIDE),
            (L2::BLOCKS, L2::STRIDE),
            (L3::BLOCKS, L3::STRIDE),
            (L4::BLOCKS, L4::STRIDE),
        ] {
            grid = strided(grid, stride);
            blocks += more;
            if index < blocks {
                break;
            }
        }
        Layout::patches(grid)
    }

    fn switches(&self) -> Switches<'_> {
        let Self { layer1, layer2, layer3, layer4, .. } = self;
        let stages = [layer1.switches(), layer2.switches(), layer3.switches(), layer4.switches()];
        stages.into_iter().zip(1..).flat_map(|(layers, i)| within(format_args!("layer{i}"), layers)).collect()
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        let Self { layer1, layer2, layer3, layer4, .. } = self;
        let stages =
            [layer1.switches_mut(), layer2.switches_mut(), layer3.switches_mut(), layer4.switches_mut()];
        stages.into_iter().zip(1..).flat_map(|(layers, i)| within(format_args!("layer{i}"), layers)).collect()
    }
}
