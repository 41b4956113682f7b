//! Differentiable operations on [dfdx] tensors for vision transformers.
//!
//! Every operation exists twice. Its *composition* of dfdx operations is the definition: generic over device and
//! element type, it serves CUDA, `f64` and the tests. Its *kernel* is what runs on the CPU in `f32`: fused, parallel,
//! vectorised for the machine at hand. [`Backend`] is the trait that chooses: its default methods are the
//! compositions, and `Cpu` replaces them for `f32`.
//!
//! One folder (or file) per operation: documentation, shape rule, composition, kernel, tests. [`custom`] is for operations of one's own.
//!
//! ```
//! use dfdx::prelude::*;
//! use inductive_ops::Backend;
//!
//! let dev = Cpu::default();
//! let x: Tensor<(usize, Const<3>), f32, _> = dev.zeros_like(&(2, Const));
//! let weight: Tensor<Rank2<5, 3>, f32, _> = dev.ones();
//! let bias: Tensor<Rank1<5>, f32, _> = dev.ones();
//! let y = dev.linear(x, &weight, Some(&bias), (2, Const::<5>))?;
//! assert_eq!(y.as_vec(), vec![1.0; 10]);
//! # Ok::<(), inductive_ops::Error>(())
//! ```
// The one crate of the workspace that may: kernels read tensors and write strided blocks through raw pointers.
#![allow(unsafe_code)]

mod backend;
mod broadcast;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod erase;
mod error;
mod maps;
mod matmul;
mod simd;
mod tape;
mod taped;

mod adamw;
mod attention;
mod batch_norm;
mod branch;
mod channels;
mod conv2d;
mod conv_as_attention;
mod cross_entropy;
pub mod custom;
mod depthwise_conv2d;
mod gated_attention;
mod gelu;
mod layer_norm;
mod linear;
mod max_pool2d;
pub mod memory;
mod mlp;
mod patch_embed;
mod relu;
pub mod replay;
mod replicate_pad;
mod residual;
pub mod roof;
mod shards;
pub mod slices;
mod softmax;
mod tokens;
mod window;

#[cfg(test)]
mod testing;

pub use adamw::{AdamWStep, Moments, Updates};
pub use attention::{AttentionDims, Readout, SelfAttentionWeights};
pub use backend::Backend;
pub use batch_norm::{Activation, Affine, ChannelStatistics};
pub use branch::Branch;
pub use conv_as_attention::{Border, ContentWeights, ConvAsAttentionWeights};
pub use erase::{Erase, erased, typed, with_erased};
pub use error::{Error, Result};
pub use gated_attention::{GatedSelfAttentionWeights, Grid, PositionalGate, relative_positions};
pub use mlp::MlpWeights;
pub use residual::DropPath;
pub use window::Window;

/// Sets the number of threads that kernels use; 0: one per core. To be called once, before the first operation.
///
/// Results do not depend on it.
pub fn set_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| Error::Argument { op: "set_threads", what: error.to_string() })
}
