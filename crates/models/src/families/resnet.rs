//! The names of ResNets.

use inductive_ops::Backend;

use super::with_head;
use crate::{
    Family, ModelSpec, ResnetSpec,
    entry::Entry,
    registry::Named,
    resnet::{
        BasicResnet, BottleneckResnet, CifarResnet, CifarStem, ImagenetStem, SwitchBottleneckResnet,
        SwitchCifarResnet, SwitchResnet,
    },
};

/// One table: name, type, channels of the features, side of the image, what it is.
macro_rules! zoo {
    ($($name:literal: $model:ty, $c:literal, $side:literal, $spec:expr;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$(Named::new(entry($name, $side, $spec), |device, spec, options| {
                type M<D> = $model;
                let trunk = M::<D>::new(device, blocks(&spec), spec.image)?;
                with_head::<_, $c, D>(device, trunk, spec, options)
            })),*]
        }
    };
}

/// Blocks of each stage; 0 for those that there are not.
fn blocks(spec: &ModelSpec) -> [usize; 4] {
    let mut blocks = [0; 4];
    let stages = spec.resnet().into_iter().flat_map(|resnet| &resnet.blocks);
    blocks.iter_mut().zip(stages).for_each(|(to, from)| *to = *from);
    blocks
}

fn entry(name: &str, side: usize, resnet: ResnetSpec) -> Entry {
    let patch = side / resnet.grid((side, side)).rows.max(1);
    let sizes = [resnet.features(), patch, side / patch, resnet.blocks.iter().sum()];
    let spec = super::spec(name, sizes, Family::Resnet(resnet));
    Entry::new(ModelSpec { image: (side, side), ..spec })
}

/// Three stages of `blocks` basic blocks behind the CIFAR stem.
fn three(blocks: usize) -> ResnetSpec {
    ResnetSpec::basic(false, &[blocks; 3], &[16, 32, 64])
}

/// Four stages of basic blocks of these widths for CIFAR.
type Cifar4<const W1: usize, const W2: usize, const W3: usize, const W4: usize, D> =
    BasicResnet<CifarStem<W1, f32, D>, W1, W2, W3, W4, f32, D>;
/// The same, switchable in the last two.
type SwitchCifar4<const W1: usize, const W2: usize, const W3: usize, const W4: usize, D> =
    SwitchResnet<CifarStem<W1, f32, D>, W1, W2, W3, W4, f32, D>;
/// Four stages of basic blocks for ImageNet.
type Imagenet<D> = BasicResnet<ImagenetStem<64, f32, D>, 64, 128, 256, 512, f32, D>;
/// The same, switchable in the last two.
type SwitchImagenet<D> = SwitchResnet<ImagenetStem<64, f32, D>, 64, 128, 256, 512, f32, D>;

zoo! {
    "resnet18": Imagenet<D>, 512, 224, ResnetSpec::basic(true, &[2, 2, 2, 2], &[64, 128, 256, 512]);
    "resnet34": Imagenet<D>, 512, 224, ResnetSpec::basic(true, &[3, 4, 6, 3], &[64, 128, 256, 512]);
    "resnet50": BottleneckResnet<f32, D>, 2048, 224, ResnetSpec::bottleneck(&[3, 4, 6, 3], &[64, 128, 256, 512]);
    // He et al.'s for CIFAR
    "resnet20_cifar": CifarResnet<f32, D>, 64, 32, three(3);
    "resnet32_cifar": CifarResnet<f32, D>, 64, 32, three(5);
    "resnet44_cifar": CifarResnet<f32, D>, 64, 32, three(7);
    "resnet56_cifar": CifarResnet<f32, D>, 64, 32, three(9);
    "resnet110_cifar": CifarResnet<f32, D>, 64, 32, three(18);
    // ResNet-18 for 32 pixels, and a narrow one: 5.65 times the parameters of `eit_micro` with 100 classes
    "resnet18_cifar": Cifar4<64, 128, 256, 512, D>, 512, 32, ResnetSpec::basic(false, &[2; 4], &[64, 128, 256, 512]);
    "resnet_micro": Cifar4<28, 56, 112, 224, D>, 224, 32, ResnetSpec::basic(false, &[2; 4], &[28, 56, 112, 224]);
    // the same with 3x3 convolutions in the last stages that can become attention
    "resnet18_switch": SwitchImagenet<D>, 512, 224, ResnetSpec::basic(true, &[2, 2, 2, 2], &[64, 128, 256, 512]).switching(2);
    "resnet34_switch": SwitchImagenet<D>, 512, 224, ResnetSpec::basic(true, &[3, 4, 6, 3], &[64, 128, 256, 512]).switching(2);
    "resnet50_switch": SwitchBottleneckResnet<f32, D>, 2048, 224, ResnetSpec::bottleneck(&[3, 4, 6, 3], &[64, 128, 256, 512]).switching(2);
    "resnet20_cifar_switch": SwitchCifarResnet<f32, D>, 64, 32, three(3).switching(1);
    "resnet18_cifar_switch": SwitchCifar4<64, 128, 256, 512, D>, 512, 32, ResnetSpec::basic(false, &[2; 4], &[64, 128, 256, 512]).switching(2);
    "resnet_micro_switch": SwitchCifar4<28, 56, 112, 224, D>, 224, 32, ResnetSpec::basic(false, &[2; 4], &[28, 56, 112, 224]).switching(2);
}
