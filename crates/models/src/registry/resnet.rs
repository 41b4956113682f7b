//! The names of ResNets.

use dfdx::prelude::*;
use inductive_ops::Backend;

use super::{BuildOptions, Built, Entry, on_device, with_head};
use crate::{
    ModelSpec, ResnetSpec, Result,
    resnet::{
        CifarResnet, CifarResnet4, ImagenetStem, Resnet18, Resnet34, Resnet50, SwitchCifarResnet,
        SwitchCifarResnet4, SwitchResnet, SwitchResnet50,
    },
};

/// One table: name, type, channels of the features, side of the image, what it is.
macro_rules! zoo {
    ($($name:literal: $model:ty, $c:literal, $side:literal, $spec:expr;)*) => {
        pub(super) fn entries() -> Vec<Entry> {
            vec![$(Entry { spec: spec($name, $side, $spec), locals: vec![0] },)*]
        }

        pub(super) fn build<D: Backend<f32>>(
            device: &D,
            spec: ModelSpec,
            options: &BuildOptions,
        ) -> Result<Option<Built<D>>> {
            Ok(Some(match spec.name.as_str() {
                $($name => {
                    type M<D> = $model;
                    with_head::<_, $c, D>(device, on_device(M::<D>::try_build(device))?, spec, options, None)?
                })*
                _ => return Ok(None),
            }))
        }
    };
}

fn spec(name: &str, side: usize, resnet: ResnetSpec) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        family: "resnet".to_owned(),
        image: (side, side),
        patch: side / resnet.grid((side, side)).rows.max(1),
        embed_dim: resnet.features(),
        depth: resnet.blocks.iter().sum(),
        classes: 1000,
        resnet: Some(resnet),
        ..ModelSpec::default()
    }
}

/// Three stages of `blocks` basic blocks behind the CIFAR stem.
fn three(blocks: usize) -> ResnetSpec {
    ResnetSpec::basic(false, &[blocks; 3], &[16, 32, 64])
}

zoo! {
    "resnet18": Resnet18<f32, D>, 512, 224, ResnetSpec::basic(true, &[2, 2, 2, 2], &[64, 128, 256, 512]);
    "resnet34": Resnet34<f32, D>, 512, 224, ResnetSpec::basic(true, &[3, 4, 6, 3], &[64, 128, 256, 512]);
    "resnet50": Resnet50<f32, D>, 2048, 224, ResnetSpec::bottleneck(&[3, 4, 6, 3], &[64, 128, 256, 512]);
    // He et al.'s for CIFAR
    "resnet20_cifar": CifarResnet<3, f32, D>, 64, 32, three(3);
    "resnet32_cifar": CifarResnet<5, f32, D>, 64, 32, three(5);
    "resnet44_cifar": CifarResnet<7, f32, D>, 64, 32, three(7);
    "resnet56_cifar": CifarResnet<9, f32, D>, 64, 32, three(9);
    "resnet110_cifar": CifarResnet<18, f32, D>, 64, 32, three(18);
    // ResNet-18 for 32 pixels, and a narrow one: 5.65 times the parameters of `eit_micro` with 100 classes
    "resnet18_cifar": CifarResnet4<64, 128, 256, 512, f32, D>, 512, 32, ResnetSpec::basic(false, &[2; 4], &[64, 128, 256, 512]);
    "resnet_micro": CifarResnet4<28, 56, 112, 224, f32, D>, 224, 32, ResnetSpec::basic(false, &[2; 4], &[28, 56, 112, 224]);
    // the same with 3x3 convolutions in the last stages that can become attention
    "resnet18_switch": SwitchResnet<ImagenetStem<64, f32, D>, 2, 2, 2, 2, 64, 128, 256, 512, 224, f32, D>, 512, 224, ResnetSpec::basic(true, &[2, 2, 2, 2], &[64, 128, 256, 512]).switching(2);
    "resnet34_switch": SwitchResnet<ImagenetStem<64, f32, D>, 3, 4, 6, 3, 64, 128, 256, 512, 224, f32, D>, 512, 224, ResnetSpec::basic(true, &[3, 4, 6, 3], &[64, 128, 256, 512]).switching(2);
    "resnet50_switch": SwitchResnet50<f32, D>, 2048, 224, ResnetSpec::bottleneck(&[3, 4, 6, 3], &[64, 128, 256, 512]).switching(2);
    "resnet20_cifar_switch": SwitchCifarResnet<3, f32, D>, 64, 32, three(3).switching(1);
    "resnet18_cifar_switch": SwitchCifarResnet4<64, 128, 256, 512, f32, D>, 512, 32, ResnetSpec::basic(false, &[2; 4], &[64, 128, 256, 512]).switching(2);
    "resnet_micro_switch": SwitchCifarResnet4<28, 56, 112, 224, f32, D>, 224, 32, ResnetSpec::basic(false, &[2; 4], &[28, 56, 112, 224]).switching(2);
}
