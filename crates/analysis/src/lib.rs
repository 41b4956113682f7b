//! What a forward pass recorded, measured.
//!
//! | function | what it tells |
//! |---|---|
//! | [`nonlocality`] | how far a head looks, as the ConViT paper measures it |
//! | [`mean_attention_distance`] | how far a patch looks on average, the class token left out |
//!
//! Both take the [`AttentionRecord`](inductive_attention::AttentionRecord) of one layer and see no model.

mod distance;

pub use distance::{mean_attention_distance, nonlocality};
