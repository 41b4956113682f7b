//! ResNet (He et al., CVPR 2016, arXiv 1512.03385): the convolutional network that transformers are measured against.
//!
//! Types for four stages ([`BasicResnet`], [`BottleneckResnet`]), behind the stem for ImageNet or that for CIFAR, and for CIFAR
//! with the paper's three narrow stages ([`CifarResnet`]).

mod block;
mod layers;
mod sizes;
mod spec;
mod stage;
#[cfg(test)]
mod tests;

use dfdx::prelude::*;
use inductive_nn::{BatchNorm, Build, Context, Images, Layout, Module, Taped, Tokens, module};
use inductive_ops::{Activation, Backend, Grid, Window};

pub use block::{BasicBlock, Bottleneck, ResidualBlock};
pub use layers::{Conv, Convolution, Identity, Projection, Shortcut, SwitchConv};
pub use sizes::{
    BasicResnet, BottleneckResnet, CifarResnet, SwitchBottleneckResnet, SwitchCifarResnet, SwitchResnet,
};
pub use spec::ResnetSpec;
pub use stage::{
    BasicDownStage, BasicStage, BottleneckStage, NoStage, ResnetStage, SwitchBottleneckStage, SwitchDownStage,
};

use crate::{
    Result,
    classifier::{HeadInit, Trunk},
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

module!(
    [const C: usize, const K: usize, const S: usize, const POOL: bool]
    ResnetStem<C, K, S, POOL, E, D> { conv1, bn1 }
);

impl<const C: usize, const K: usize, const S: usize, const POOL: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for ResnetStem<C, K, S, POOL, E, D>
{
    fn new(device: &D) -> inductive_nn::Result<Self> {
        Ok(Self { conv1: Build::new(device)?, bn1: Build::new(device)? })
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
    ) -> inductive_nn::Result<(Tokens<C, E, D, T>, Grid)> {
        let device = images.device().clone();
        let window = Conv::<3, C, K, S, E, D>::window();
        let (x, grid) =
            device.conv2d_images(images, &self.conv1.weight, None, window, context.image_gradient)?;
        let statistics = context.batch_statistics.as_deref_mut();
        let x = self.bn1.apply(x, None, Activation::Relu, statistics)?;
        if POOL { Ok(device.max_pool2d(x, grid, Window::square(3, 2, 1))?) } else { Ok((x, grid)) }
    }
}

/// The trunk of a ResNet: a [`ResnetStem`], stages that give `W1`, `W2`, `W3` and `C`
/// channels; the features are the mean over the last grid.
///
/// Where a block changes width or grid, its shortcut is a [`Projection`] ("option B"), also for CIFAR, where the paper pads
/// with zeros ("option A"): 1 % more parameters. Stochastic depth is not part of the architecture: the rate of a
/// [`Context`] has no effect, and recipes give 0. Weights begin as timm's: He's rule over the fan out, the last batch
/// normalisation of a block at 0, the head `fc` uniform as PyTorch's `Linear`.
///
/// timm equivalent: `timm.models.resnet.ResNet(block, layers)`.
#[derive(Clone, Debug)]
pub struct Resnet<STEM, L1, L2, L3, L4, const W1: usize, const W2: usize, const W3: usize, const C: usize> {
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
    image: (usize, usize),
}

module!(
    [STEM: Module<E, D>, L1: Module<E, D>, L2: Module<E, D>, L3: Module<E, D>, L4: Module<E, D>,
     const W1: usize, const W2: usize, const W3: usize, const C: usize]
    Resnet<STEM, L1, L2, L3, L4, W1, W2, W3, C> { stem: "", layer1, layer2, layer3, layer4 }
);

impl<STEM, L1, L2, L3, L4, const W1: usize, const W2: usize, const W3: usize, const C: usize>
    Resnet<STEM, L1, L2, L3, L4, W1, W2, W3, C>
{
    /// New, with so many blocks in each stage, for images of `(height, width)` pixels.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn new<const W: usize, E: Dtype, D: Backend<E>>(
        device: &D,
        blocks: [usize; 4],
        image: (usize, usize),
    ) -> Result<Self>
    where
        STEM: Build<E, D>,
        L1: ResnetStage<W, W1, E, D>,
        L2: ResnetStage<W1, W2, E, D>,
        L3: ResnetStage<W2, W3, E, D>,
        L4: ResnetStage<W3, C, E, D>,
    {
        Ok(Self {
            stem: STEM::new(device)?,
            layer1: L1::new(device, blocks[0])?,
            layer2: L2::new(device, blocks[1])?,
            layer3: L3::new(device, blocks[2])?,
            layer4: L4::new(device, blocks[3])?,
            image,
        })
    }
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
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for Resnet<ResnetStem<W, K, S, POOL, E, D>, L1, L2, L3, L4, W1, W2, W3, C>
where
    L1: ResnetStage<W, W1, E, D>,
    L2: ResnetStage<W1, W2, E, D>,
    L3: ResnetStage<W2, W3, E, D>,
    L4: ResnetStage<W3, C, E, D>,
{
    const HEAD: &'static str = "fc";
    const HEAD_INIT: HeadInit = HeadInit::Uniform;

    fn image(&self) -> (usize, usize) {
        self.image
    }

    fn depth(&self) -> usize {
        self.depths::<W, E, D>().iter().sum()
    }

    fn pass<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        let (x, grid) = self.stem.apply(images, context)?;
        context.keep_stem("stem", &Layout::patches(grid), &x);
        context.enter("layer1");
        let (x, grid) = self.layer1.run(x, grid, context)?;
        context.enter("layer2");
        let (x, grid) = self.layer2.run(x, grid, context)?;
        context.enter("layer3");
        let (x, grid) = self.layer3.run(x, grid, context)?;
        context.enter("layer4");
        let (x, _) = self.layer4.run(x, grid, context)?;
        Ok(device.mean_tokens(x, 0)?)
    }

    fn layout(&self, index: usize) -> Layout {
        let (rows, cols) = self.image;
        let mut grid = ResnetStem::<W, K, S, POOL, E, D>::grid(Grid { rows, cols });
        let strides = [L1::STRIDE, L2::STRIDE, L3::STRIDE, L4::STRIDE];
        let mut blocks = 0;
        for (more, stride) in self.depths::<W, E, D>().into_iter().zip(strides) {
            grid = strided(grid, stride);
            blocks += more;
            if index < blocks {
                break;
            }
        }
        Layout::patches(grid)
    }
}

impl<STEM, L1, L2, L3, L4, const W1: usize, const W2: usize, const W3: usize, const C: usize>
    Resnet<STEM, L1, L2, L3, L4, W1, W2, W3, C>
{
    /// Blocks of each stage.
    fn depths<const W: usize, E: Dtype, D: Backend<E>>(&self) -> [usize; 4]
    where
        L1: ResnetStage<W, W1, E, D>,
        L2: ResnetStage<W1, W2, E, D>,
        L3: ResnetStage<W2, W3, E, D>,
        L4: ResnetStage<W3, C, E, D>,
    {
        [self.layer1.depth(), self.layer2.depth(), self.layer3.depth(), self.layer4.depth()]
    }
}
