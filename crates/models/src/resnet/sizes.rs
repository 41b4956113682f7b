//! The shapes of ResNet that have names, as types; how many blocks a stage has is not part of them.
//!
//! Where 3x3 convolutions can become attention, it is in the last stages: on the maps before them attention would cost far more
//! than all the rest.

use super::{
    BasicDownStage, BasicStage, BottleneckStage, CifarStem, ImagenetStem, NoStage, Resnet,
    SwitchBottleneckStage, SwitchDownStage,
};

/// Four stages of basic blocks with `W1` to `W4` channels: `[2, 2, 2, 2]` and `[3, 4, 6, 3]` of them are timm's `resnet18` and
/// `resnet34` with the stem for ImageNet. Features `[batch, W4]`. The last two stages may be others than the usual.
pub type BasicResnet<
    STEM,
    const W1: usize,
    const W2: usize,
    const W3: usize,
    const W4: usize,
    E,
    D,
    L3 = BasicDownStage<W2, W3, E, D>,
    L4 = BasicDownStage<W3, W4, E, D>,
> = Resnet<STEM, BasicStage<W1, E, D>, BasicDownStage<W1, W2, E, D>, L3, L4, W1, W2, W3, W4>;
/// Four stages of bottlenecks: `[3, 4, 6, 3]` of them are timm's `resnet50`. Features `[batch, 2048]`. The stride is in the 3x3
/// convolution, as in timm and torchvision, not in the 1x1 before it, as in the paper. The last two stages may be others than the usual.
pub type BottleneckResnet<
    E,
    D,
    L3 = BottleneckStage<512, 256, 1024, 2, E, D>,
    L4 = BottleneckStage<1024, 512, 2048, 2, E, D>,
> = Resnet<
    ImagenetStem<64, E, D>,
    BottleneckStage<64, 64, 256, 1, E, D>,
    BottleneckStage<256, 128, 512, 2, E, D>,
    L3,
    L4,
    256,
    512,
    1024,
    2048,
>;
/// He et al.'s networks for CIFAR (section 4.2): three stages of `n` basic blocks with 16, 32 and 64 channels, `6 n + 2` layers.
/// Features `[batch, 64]`.
pub type CifarResnet<E, D, L3 = BasicDownStage<32, 64, E, D>> =
    BasicResnet<CifarStem<16, E, D>, 16, 32, 64, 64, E, D, L3, NoStage>;

/// [`BasicResnet`] in whose last two stages every 3x3 convolution can become attention.
pub type SwitchResnet<STEM, const W1: usize, const W2: usize, const W3: usize, const W4: usize, E, D> =
    BasicResnet<STEM, W1, W2, W3, W4, E, D, SwitchDownStage<W2, W3, E, D>, SwitchDownStage<W3, W4, E, D>>;
/// [`BottleneckResnet`] in whose last two stages every 3x3 convolution can become attention.
pub type SwitchBottleneckResnet<E, D> = BottleneckResnet<
    E,
    D,
    SwitchBottleneckStage<512, 256, 1024, 2, E, D>,
    SwitchBottleneckStage<1024, 512, 2048, 2, E, D>,
>;
/// [`CifarResnet`] in whose last stage, on 8x8 patches, every 3x3 convolution can become attention.
pub type SwitchCifarResnet<E, D> = CifarResnet<E, D, SwitchDownStage<32, 64, E, D>>;
