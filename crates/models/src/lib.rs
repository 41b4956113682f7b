//! Vision transformers and convolutional networks with compile-time shapes, and a registry that builds them by timm-style names.
//!
//! | | architecture |
//! |---|---|
//! | [`families::vit`] | ViT and DeiT (2010.11929, 2012.12877) |
//! | [`families::pooled_vit`] | ViT without class token, with fixed positions (as in 2404.01139) |
//! | [`families::convit`] | ConViT (2103.10697); with no gated layers it is the paper's own DeiT control |
//! | [`families::eit`] | EIT (2203.07116) |
//! | [`families::simple_vit`] | SimpleViT with positions in queries and keys (2401.12511) |
//! | [`families::prs`] | staged network whose layers leave convolution for attention (for 2210.01370) |
//! | [`Resnet`] | ResNet (1512.03385) |
//! | [`ConvMixer`] | ConvMixer (2201.09792) |
//!
//! All but the last two are a [`Transformer`] with other parts.
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

mod classifier;
mod convmixer;
mod entry;
mod error;
pub mod families;
mod initialise;
mod macs;
mod model;
mod registry;
mod resnet;
mod spec;
mod stage;
mod switch;
#[cfg(test)]
mod testing;
mod transformer;

pub use classifier::{Classifier, Head, HeadInit, Represented, Trunk};
pub use convmixer::{ConvMixer, ConvMixerBlock, ConvMixerStem};
pub use entry::{BuildOptions, Entry};
pub use error::{Error, Result};
pub use families::halve_linear_weights;
pub use inductive_nn::{BatchStatistics, BlockRecord, Context, Images, Module, Overlap, Record};
pub use initialise::{Initialised, LayerInitialised, initialise, initialise_filters, initialise_with};
pub use model::{Logits, Model, block_drop_paths};
pub use registry::{Builder, Built, Registry, Zoo, build, entries, find, find_switchable};
pub use resnet::{
    BasicBlock, BasicDownStage, BasicResnet, BasicStage, Bottleneck, BottleneckResnet, BottleneckStage,
    CifarResnet, CifarStem, Conv, Convolution, Identity, ImagenetStem, NoStage, Projection, ResidualBlock,
    Resnet, ResnetSpec, ResnetStage, ResnetStem, Shortcut, SwitchBottleneckResnet, SwitchBottleneckStage,
    SwitchCifarResnet, SwitchConv, SwitchDownStage, SwitchResnet,
};
pub use spec::{Attention, ConvMixerSpec, ConvitSpec, EitSpec, Family, ModelSpec, Pool, StagesSpec};
pub use stage::{Downsample, Stage};
pub use switch::Switchable;
pub use transformer::{ClassToken, Features, Joins, Position, Transformer};
