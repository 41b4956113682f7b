//! The sizes of ResNet that have names, as types.

use super::{
    BasicDownStage, BasicStage, BottleneckStage, CifarStem, ImagenetStem, NoStage, Resnet,
    SwitchBottleneckStage, SwitchDownStage,
};

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

/// [`BasicResnet`] in whose last two stages every 3x3 convolution can become attention: on the maps before them attention
/// would cost far more than all the rest.
pub type SwitchResnet<
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
    SwitchDownStage<W2, W3, N3, E, D>,
    SwitchDownStage<W3, W4, N4, E, D>,
    W1,
    W2,
    W3,
    W4,
    SIDE,
    SIDE,
>;
/// [`Resnet50`] in whose last two stages every 3x3 convolution can become attention.
pub type SwitchResnet50<E, D> = Resnet<
    ImagenetStem<64, E, D>,
    BottleneckStage<64, 64, 256, 1, 3, E, D>,
    BottleneckStage<256, 128, 512, 2, 4, E, D>,
    SwitchBottleneckStage<512, 256, 1024, 2, 6, E, D>,
    SwitchBottleneckStage<1024, 512, 2048, 2, 3, E, D>,
    256,
    512,
    1024,
    2048,
    224,
    224,
>;
/// [`CifarResnet4`] in whose last two stages, on 8x8 and 4x4 patches, every 3x3 convolution can become attention.
pub type SwitchCifarResnet4<const W1: usize, const W2: usize, const W3: usize, const W4: usize, E, D> =
    SwitchResnet<CifarStem<W1, E, D>, 2, 2, 2, 2, W1, W2, W3, W4, 32, E, D>;
/// [`CifarResnet`] in whose last stage, on 8x8 patches, every 3x3 convolution can become attention.
pub type SwitchCifarResnet<const N: usize, E, D> = Resnet<
    CifarStem<16, E, D>,
    BasicStage<16, N, E, D>,
    BasicDownStage<16, 32, N, E, D>,
    SwitchDownStage<32, 64, N, E, D>,
    NoStage,
    16,
    32,
    64,
    64,
    32,
    32,
>;
