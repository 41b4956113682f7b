//! Initial weights of attention layers and depthwise filters: impulses (structured initialization), mimetic weights, and the controls.
//!
//! | start reading at | what it is |
//! |---|---|
//! | [`Strategy`] | which weights, as data; [`Strategy::named`] has the published ones |
//! | [`StrategyInitializer`] | from a strategy, dimensions and a position embedding to the weights of each layer |
//! | [`Initializer`], [`add_initializer`] | initial weights of one's own |
//! | [`Target`], [`Offsets`] | attention maps to aim at |
//! | [`SinCos`], [`PseudoInput`], [`Basis`] | what attention is solved on |
//! | [`ClosedForm`], [`Gradient`] | the two solvers of arXiv 2505.19985 and 2404.01139 |
//! | [`mimetic_query_key`], [`mimetic_value_proj`] | arXiv 2305.09828 |
//! | [`Quality`] | how near the attention comes |
//! | [`Filters`] | depthwise filters of a ConvMixer |
//!
//! All of it works on plain row-major matrices; nothing here knows a tensor, a layer or a model.
//!
//! ```
//! use inductive_init::{Dims, StrategyInitializer, SinCos, Solver, Strategy, Gradient};
//! use inductive_ops::Grid;
//!
//! let dims = Dims { width: 48, heads: 3, grid: Grid::square(4), class_token: false };
//! let position = SinCos::Timm.embedding(dims.grid, dims.width)?.to_f32();
//! let mut strategy = Strategy::impulse_gradient(3);
//! strategy.impulse_mut().unwrap().solver = Solver::Gradient(Gradient { steps: 200, lr: 1e-2, ..Default::default() });
//! let layer = StrategyInitializer::new(strategy, dims, &position, 0)?.layer(0)?;
//! assert_eq!(layer.qkv().weight.len(), 3 * 48 * 48);
//! assert!(layer.quality.unwrap().mass() > 0.5);
//! # Ok::<(), inductive_init::Error>(())
//! ```

mod basis;
mod error;
mod filters;
mod impulse;
mod initializer;
mod matrix;
mod mimetic;
mod own;
mod position;
mod quality;
mod query_key;
mod random;
mod strategy;
mod target;

pub use basis::Basis;
pub use error::{Error, Result};
pub use filters::{Amplitude, FilterInit, FilterShape, Filters};
pub use impulse::{ClosedForm, Gradient, Progress};
pub use initializer::{AttentionInit, Dims, LinearInit, StrategyInitializer};
pub use matrix::{Matrix, Svd};
pub use mimetic::{Mixture, Storage, mimetic_noise, mimetic_query_key, mimetic_value_proj};
pub use own::{Initializer, MakeInitializer, add_initializer, initializer_names, named_initializer};
pub use position::{LEARNED_STD, PseudoInput, SinCos, layer_norm, learned};
pub use quality::{HeadQuality, Quality};
pub use query_key::QueryKey;
pub use strategy::{GatedValue, Impulse, Linear, QueryKeyChoice, Solver, Strategy, ValueProjChoice};
pub use target::{Offset, Offsets, Target};
