//! What a forward pass recorded, measured.
//!
//! | function | what it tells |
//! |---|---|
//! | [`nonlocality`] | how far a head looks, as the ConViT paper measures it |
//! | [`mean_attention_distance`] | how far a patch looks on average, the class token left out |
//! | [`head_diversity`] | how much that differs between the heads of a layer (our proxy) |
//! | [`mean_maps`] | the attention map of each head, averaged over the batch |
//! | [`target_mass`] | how much of the attention goes where its initial weights aim |
//! | [`relative_log_amplitude`] | how strong the frequencies of a token map are, compared with its mean |
//! | [`Spectra`] | the same of every operator of a model, batch by batch: of the stream, of the branch, and the change |
//! | [`high_frequency_share`] | how much of a token map lies in its high frequencies (our proxy) |
//! | [`mean_stable_rank`] | how many directions the tokens of a sample have |
//!
//! The first five take the [`AttentionRecord`](inductive_nn::AttentionRecord) of one layer, the others the tokens
//! that one layer gave, or the [`Point`](inductive_nn::Point)s of all; none sees a model. [`Mixing`] needs no layer at all: what frozen filters leave to be learned, as
//! linear algebra.

mod diagonal;
mod distance;
mod fourier;
mod maps;
mod mixing;
mod points;
mod rank;
mod spectrum;
mod target;

pub use distance::{head_diversity, mean_attention_distance, nonlocality};
pub use fourier::{HIGH_FREQUENCY_CUTOFF, high_frequency_share, relative_log_amplitude};
pub use maps::mean_maps;
pub use mixing::{Filters, Mixed, Mixing, NO_RESIDUAL};
pub use points::{Curve, PointSpectrum, Spectra, WHITE_NOISE};
pub use rank::{StableRank, mean_stable_rank, stable_rank};
pub use target::target_mass;
