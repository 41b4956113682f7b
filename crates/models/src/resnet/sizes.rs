//! The shapes of ResNet that have names, as types; how many blocks a stage has is not part of them.

use super::{
    BasicDownStage, BasicStage, BottleneckStage, CifarStem, ImagenetStem, NoStage, Resnet,
    SwitchBottleneckStage, SwitchDownStage,
};

/// Four stages of basic blocks with `W1` to `W4` channels: `[2, 2, 2, 2]` and `[3, 4, 6, 3]` of them are timm's `resnet18` and
/// `resnet34` with the stem for ImageNet. Features `[batch, W4]`.
pub type BasicResnet<STEM, const W1: usize, const W2: usize, const W3: usize, const W4: usize, E, D> = Resnet<
    STEM,
    BasicStage<W1, E, D>,
    BasicDownStage<W1, W2, E, D>,
    BasicDownStage<W2, W3, E, D>,
    BasicDownStage<W3, W4, E, D>,
    W1,
    W2,
    W3,
    W4,
>;
/// Four stages of bottlenecks: `[3, 4, 6, 3]` of them are timm's `resnet50`. Features `[batch, 2048]`. The stride is in the 3x3
/// convolution, as in timm and torchvision, not in the 1x1 before it, as in the paper.
pub type BottleneckResnet<E, D> = Resnet<
    ImagenetStem<64, E, D>,
    BottleneckStage<64, 64, 256, 1, E, D>,
    BottleneckStage<256, 128, 512, 2, E, D>,
    BottleneckStage<512, 256, 1024, 2, E, D>,
    BottleneckStage<1024, 512, 2048, 2, E, D>,
    256,
    512,
    1024,
    2048,
>;
/// He et al.'s networks for CIFAR (section 4.2): three stages of `n` basic blocks with 16, 32 and 64 channels, `6 n + 2` layers.
/// Features `[batch, 64]`.
pub type CifarResnet<E, D> = Resnet<
    CifarStem<16, E, D>,
    BasicStage<16, E, D>,
    BasicDownStage<16, 32, E, D>,
    BasicDownStage<32, 64, E, D>,
    NoStage,
    16,
    32,
    64,
    64,
>;

/// [`BasicResnet`] in whose last two stages every 3x3 convolution can become attention: on the maps before them attention
/// would cost far more than all the rest.
pub type SwitchResnet<STEM, const W1: usize, const W2: usize, const W3: usize, const W4: usize, E, D> =
    Resnet<
        STEM,
        BasicStage<W1, E, D>,
        BasicDownStage<W1, W2, E, D>,
        SwitchDownStage<W2, W3, E, D>,
        SwitchDownStage<W3, W4, E, D>,
        W1,
        W2,
        W3,
        W4,
    >;
/// [`BottleneckResnet`] in whose last two stages every 3x3 convolution can become attention.
pub type SwitchBottleneckResnet<E, D> = Resnet<
    ImagenetStem<64, E, D>,
    BottleneckStage<64, 64, 256, 1, E, D>,
    BottleneckStage<256, 128, 512, 2, E, D>,
    SwitchBottleneckStage<512, 256, 1024, 2, E, D>,
    SwitchBottleneckStage<1024, 512, 2048, 2, E, D>,
    256,
    512,
    1024,
    2048,
>;
/// [`CifarResnet`] in whose last stage, on 8x8 patches, every 3x3 convolution can become attention.
pub type SwitchCifarResnet<E, D> = Resnet<
    CifarStem<16, E, D>,
    BasicStage<16, E, D>,
    BasicDownStage<16, 32, E, D>,
    SwitchDownStage<32, 64, E, D>,
    NoStage,
    16,
    32,
    64,
    64,
>;
