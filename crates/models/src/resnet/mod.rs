//! ResNet (He et al., CVPR 2016, arXiv 1512.03385): the convolutional network that transformers are measured against.
//!
//! Types for ImageNet ([`Resnet18`], [`Resnet34`], [`Resnet50`]), for CIFAR with the paper's three narrow stages
//! ([`CifarResnet`]) or with the four of ImageNet ([`Resnet18Cifar`], [`CifarResnet4`]).

mod block;
mod layers;
mod spec;
mod stage;
#[cfg(test)]
mod tests;

use dfdx::prelude::*;
use inductive_attention::{Layout, Tokens};
use inductive_ops::{Activation, Backend, Grid, Window};

pub use block::{BasicBlock, Bottleneck, ResidualBlock};
pub use layers::{Conv, Identity, Projection, Shortcut};
pub use spec::ResnetSpec;
pub use stage::{BasicDownStage, BasicStage, BottleneckStage, NoStage, ResnetStage, Stage};

use crate::{
    Result,
    batch_norm::BatchNorm,
    classifier::{HeadInit, HeadStyle, Trunk},
    model::{Context, Images},
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

/// Four stages of `N1` to `N4` basic blocks with `W1` to `W4` channels, for square images of `SIDE` pixels.
pub type BasicResnet<
    STEM,
    const N1: usize,
    const N2: usize,
    const N3: usize,
    const N4: usize,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const W4: usize,
    const SIDE: usize,
    E,
    D,
> = Resnet<
    STEM,
    BasicStage<W1, N1, E, D>,
    BasicDownStage<W1, W2, N2, E, D>,
    BasicDownStage<W2, W3, N3, E, D>,
    BasicDownStage<W3, W4, N4, E, D>,
    W1,
    W2,
    W3,
    W4,
    SIDE,
    SIDE,
>;
/// timm's `resnet18` at 224 pixels: features `[batch, 512]`, 11.7 M parameters with 1000 classes.
pub type Resnet18<E, D> = BasicResnet<ImagenetStem<64, E, D>, 2, 2, 2, 2, 64, 128, 256, 512, 224, E, D>;
/// timm's `resnet34` at 224 pixels: features `[batch, 512]`, 21.8 M parameters with 1000 classes.
pub type Resnet34<E, D> = BasicResnet<ImagenetStem<64, E, D>, 3, 4, 6, 3, 64, 128, 256, 512, 224, E, D>;
/// timm's `resnet50` at 224 pixels: features `[batch, 2048]`, 25.6 M parameters with 1000 classes. The stride is in the 3x3
/// convolution, as in timm and torchvision, not in the 1x1 before it, as in the paper.
pub type Resnet50<E, D> = Resnet<
    ImagenetStem<64, E, D>,
    BottleneckStage<64, 64, 256, 1, 3, E, D>,
    BottleneckStage<256, 128, 512, 2, 4, E, D>,
    BottleneckStage<512, 256, 1024, 2, 6, E, D>,
    BottleneckStage<1024, 512, 2048, 2, 3, E, D>,
    256,
    512,
    1024,
    2048,
    224,
    224,
>;
/// Four stages of two basic blocks behind the CIFAR stem, at 32 pixels: ResNet-18 of base width `W1`, where `W2`, `W3` and `W4` are
/// 2, 4 and 8 times it. Features `[batch, W4]`.
pub type CifarResnet4<const W1: usize, const W2: usize, const W3: usize, const W4: usize, E, D> =
    BasicResnet<CifarStem<W1, E, D>, 2, 2, 2, 2, W1, W2, W3, W4, 32, E, D>;
/// ResNet-18 with the CIFAR stem at 32 pixels: features `[batch, 512]`, 11.2 M parameters with 10 classes.
pub type Resnet18Cifar<E, D> = CifarResnet4<64, 128, 256, 512, E, D>;

/// He et al.'s networks for CIFAR (section 4.2) at 32 pixels: three stages of `N` basic blocks with 16, 32 and 64 channels,
/// `6 N + 2` layers. Features `[batch, 64]`.
pub type CifarResnet<const N: usize, E, D> = Resnet<
    CifarStem<16, E, D>,
    BasicStage<16, N, E, D>,
    BasicDownStage<16, 32, N, E, D>,
    BasicDownStage<32, 64, N, E, D>,
    NoStage,
    16,
    32,
    64,
    64,
    32,
    32,
>;
/// 20 layers for CIFAR, 0.27 M parameters.
pub type CifarResnet20<E, D> = CifarResnet<3, E, D>;
/// 32 layers for CIFAR, 0.47 M parameters.
pub type CifarResnet32<E, D> = CifarResnet<5, E, D>;
/// 44 layers for CIFAR, 0.66 M parameters.
pub type CifarResnet44<E, D> = CifarResnet<7, E, D>;
/// 56 layers for CIFAR, 0.86 M parameters.
pub type CifarResnet56<E, D> = CifarResnet<9, E, D>;
/// 110 layers for CIFAR, 1.7 M parameters.
pub type CifarResnet110<E, D> = CifarResnet<18, E, D>;

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
        let (x, grid) = self.layer1.run(x, grid, &mut context)?;
        let (x, grid) = self.layer2.run(x, grid, &mut context)?;
        let (x, grid) = self.layer3.run(x, grid, &mut context)?;
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
}
