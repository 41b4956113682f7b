//! What a forward pass recorded, measured.
//!
//! | function | what it tells |
//! |---|---|
//! | [`nonlocality`] | how far a head looks, as the ConViT paper measures it |
//! | [`mean_attention_distance`] | how far a patch looks on average, the class token left out |
//! | [`head_diversity`] | how much that differs between the heads of a layer (our proxy) |
//! | [`relative_log_amplitude`] | how strong the frequencies of a token map are, compared with its mean |
//! | [`high_frequency_share`] | how much of a token map lies in its high frequencies (our proxy) |
//! | [`mean_stable_rank`] | how many directions the tokens of a sample have |
//!
//! The first three take the [`AttentionRecord`](inductive_attention::AttentionRecord) of one layer, the others the tokens
//! that one layer gave; none sees a model. [`Mixing`] needs no layer at all: what frozen filters leave to be learned, as
//! linear algebra.

mod distance;
mod fourier;
mod mixing;
mod rank;
mod spectrum;

pub use distance::{head_diversity, mean_attention_distance, nonlocality};
pub use fourier::{HIGH_FREQUENCY_CUTOFF, high_frequency_share, relative_log_amplitude};
pub use mixing::{Filters, Mixed, Mixing, NO_RESIDUAL};
pub use rank::{StableRank, mean_stable_rank, stable_rank};
