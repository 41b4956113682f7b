//! Token mixers for vision transformers: layers that map tokens `[batch, tokens, C]` to tokens of the same shape.
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
//! use inductive_attention::{Gpsa, Layout, TokenMixer};
//! use inductive_ops::Grid;
//!
//! let dev = Cpu::seed_from_u64(0);
//! let layer = Gpsa::<32, 4, false, f32, Cpu>::build(&dev); // 32 channels, 4 heads, no bias in q, k, v
//! let tokens = dev.sample_normal::<Rank3<2, 12, 32>>().realize::<(usize, usize, Const<32>)>();
//! let (mixed, record) = layer.mix_recorded(tokens, &Layout::patches(Grid { rows: 3, cols: 4 }))?;
//! assert_eq!(mixed.shape().concrete(), [2, 12, 32]);
//! assert_eq!(record.map.len(), 2 * 4 * 12 * 12);
//! # Ok::<(), inductive_ops::Error>(())
//! ```

mod conv_as_attention;
mod decreasing;
mod gpsa;
mod init;
mod linear;
mod mhsa;
mod mixer;
mod point;
mod position_mixed;

pub use conv_as_attention::{
    ConvAsAttention, Gate, GateForm, HeadPosition, Operator, Positions, Reparameterization, SHARP,
    SwitchLayer, SwitchMixer,
};
pub use decreasing::{ConvAttention, conv_channels};
pub use gpsa::{Gpsa, LocalInit, PosProj, kernel_offsets};
pub use init::{Normal, Uniform, he, normal, zeros};
pub use linear::{Linear, Packed};
pub use mhsa::Mhsa;
pub use mixer::{AttentionRecord, Layout, MixerPath, TokenMixer, Tokens};
pub use point::{FeatureMap, OperatorKind, Point};
pub use position_mixed::PositionMixed;
