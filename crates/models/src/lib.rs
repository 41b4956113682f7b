//! Vision transformers and convolutional networks with compile-time shapes, and a registry that builds them by timm-style names.
//!
//! | file | architecture |
//! |---|---|
//! | [`Vit`] | ViT and DeiT (2010.11929, 2012.12877) |
//! | [`PooledVit`] | ViT without class token, with fixed positions (as in 2404.01139) |
//! | [`Eit`] | EIT (2203.07116) |
//! | [`Resnet`] | ResNet (1512.03385) |
//! | [`SimpleVit`] | SimpleViT with positions in queries and keys (2401.12511) |
//! | [`ConvMixer`] | ConvMixer (2201.09792) |
//! | [`Prs`] | staged network whose layers leave convolution for attention (for 2210.01370) |
//! | [`Convit`] | ConViT (2103.10697); with no gated layers it is the paper's own DeiT control |
//!
//! ```
//! use dfdx::prelude::*;
//! use inductive_models::{BuildOptions, build};
//!
//! let dev = Cpu::seed_from_u64(0);
//! let model = build::<Cpu>(&dev, "convit_micro", &BuildOptions { classes: 10, ..Default::default() })?.model;
//! let images = dev.sample_normal::<Rank4<2, 3, 32, 32>>().realize::<(usize, usize, usize, usize)>();
//! let logits = model.forward(images, None)?;
//! assert_eq!(logits.shape().concrete(), [2, 10]);
//! # Ok::<(), inductive_models::Error>(())
//! ```

mod batch_norm;
mod block;
mod blocks;
mod classifier;
mod convit;
mod convmixer;
mod eit;
mod error;
mod initialise;
mod layers;
mod model;
mod points;
mod pooled_vit;
mod prs;
mod registry;
mod resnet;
mod simple_vit;
mod spec;
mod stem;
mod switch;
mod vit;

pub use batch_norm::{BatchNorm, BatchStatistics};
pub use block::{Block, Mlp};
pub use blocks::{Blocks, Chain, Last, Repeat, Run};
pub use classifier::{Classifier, HeadInit, HeadStyle, Trunk};
pub use convit::Convit;
pub use convmixer::{ConvMixer, ConvMixerBlock, ConvMixerStem};
pub use eit::{Eit, Represented, halve_linear_weights};
pub use error::{Error, Result};
pub use initialise::{Initialised, LayerInitialised, initialise, initialise_filters};
pub use layers::{LayerNorm, PatchEmbed};
pub use model::{BlockRecord, Context, Images, Logits, Model, Record};
pub use pooled_vit::PooledVit;
pub use prs::{Downsample, Prs};
pub use registry::{BuildOptions, Built, Entry, Zoo, build, entries, find, find_switchable};
pub use resnet::{
    BasicBlock, BasicDownStage, BasicResnet, BasicStage, Bottleneck, BottleneckStage, CifarResnet,
    CifarResnet4, CifarResnet20, CifarResnet32, CifarResnet44, CifarResnet56, CifarResnet110, CifarStem,
    Conv, Convolution, Identity, ImagenetStem, NoStage, Projection, ResidualBlock, Resnet, Resnet18,
    Resnet18Cifar, Resnet34, Resnet50, ResnetSpec, ResnetStage, ResnetStem, Shortcut, Stage,
    SwitchBottleneckStage, SwitchCifarResnet, SwitchCifarResnet4, SwitchConv, SwitchDownStage, SwitchResnet,
    SwitchResnet50,
};
pub use simple_vit::{NormedPatches, SimpleVit};
pub use spec::{ConvMixerSpec, EitSpec, ModelSpec, Overlap, Pool};
pub use stem::{OverlappingPatches, Stem};
pub use switch::{StagesSpec, Switchable};
pub use vit::Vit;
