//! Layers of vision transformers: modules whose parameters are visited by name ([`Module`]), token mixers, blocks and stems, and
//! what a forward pass records. Token mixers map tokens `[batch, tokens, C]` to tokens of the same shape:
//!
//! | layer | timm equivalent |
//! |---|---|
//! | [`Mhsa`]: multi-head self-attention | `vision_transformer.Attention`, `convit.MHSA` |
//! | [`Gpsa`]: gated positional self-attention | `convit.GPSA` |
//! | [`ConvAttention`]: attention beside a depthwise convolution (EIT) | none; the authors' `EIT_T` |
//! | [`PositionMixed`]: queries and keys of tokens mixed with positions (2401.12511) | none |
//! | [`ConvAsAttention`]: a convolution that can become attention with the same output (T-CNN, PRS) | none; `Conv2d` before |
//!
//! All implement [`TokenMixer`], which is what a transformer block is built over; on request a mixer tells what it
//! did ([`AttentionRecord`]); a model keeps what they leave behind as [`Point`]s. The first two are dfdx modules too: `forward` for inference, `forward_mut` for training.
//!
//! ```
//! use dfdx::prelude::*;
//! use inductive_nn::{Build, Gpsa, Layout, TokenMixer};
//! use inductive_ops::Grid;
//!
//! let dev = Cpu::seed_from_u64(0);
//! let layer = Gpsa::<32, 4, false, f32, Cpu>::new(&dev)?; // 32 channels, 4 heads, no bias in q, k, v
//! let tokens = dev.sample_normal::<Rank3<2, 12, 32>>().realize::<(usize, usize, Const<32>)>();
//! let (mixed, record) = layer.mix_recorded(tokens, &Layout::patches(Grid { rows: 3, cols: 4 }))?;
//! assert_eq!(mixed.shape().concrete(), [2, 12, 32]);
//! assert_eq!(record.unwrap().map.len(), 2 * 4 * 12 * 12);
//! # Ok::<(), inductive_nn::Error>(())
//! ```

// What `module!` names.
pub use dfdx::prelude::Dtype;
pub use inductive_ops::Backend;

mod batch_norm;
mod block;
mod context;
mod conv_as_attention;
mod decreasing;
mod error;
mod gpsa;
mod init;
mod linear;
mod mhsa;
mod mixer;
mod mlp;
mod module;
mod norm;
mod parameter;
mod point;
mod position_mixed;
mod record;
mod stem;

pub use batch_norm::{BatchNorm, BatchStatistics, LayerId, RunningAverages};
pub use block::{AnyBlock, Block, Blocks, Step, Taped, run_blocks};
pub use context::Context;
pub use conv_as_attention::{
    ConvAsAttention, Gate, GateForm, HeadPosition, Operator, Positions, Reparameterization, SHARP,
    SwitchLayer, SwitchMixer,
};
pub use decreasing::{ConvAttention, conv_channels};
pub use error::{Error, Result};
pub use gpsa::{Gpsa, LocalInit, PosProj, kernel_offsets};
pub use init::{Build, Fill, Normal, Uniform, he, normal, zeros};
pub use linear::{Linear, Packed};
pub use mhsa::Mhsa;
pub use mixer::{AttentionRecord, Layout, Projections, QkvLayers, TokenMixer, Tokens};
pub use mlp::Mlp;
pub use module::{Buffer, Layer, Module, ModuleExt, Path, VisitLayers, VisitLayersMut, is_in};
pub use norm::LayerNorm;
pub use parameter::{Parameter, ParameterMut, Visit, VisitMut};
pub use point::{FeatureMap, OperatorKind, Point};
pub use position_mixed::PositionMixed;
pub use record::{BlockRecord, Change, Record};
pub use stem::{Images, NormedPatches, Overlap, OverlappingPatches, PatchEmbed, Stem, plain_grid, size_of};
