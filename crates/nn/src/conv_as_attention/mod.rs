//! A convolution that can become attention with the same output, and go on from there (Cordonnier et al., ICLR 2020;
//! T-CNN, arXiv 2106.05795; PRS, arXiv 2210.01370).

mod compute;
mod layer;
mod reparameterization;
#[cfg(test)]
mod tests;

pub use layer::{ConvAsAttention, SwitchMixer};
pub use reparameterization::{Gate, GateForm, HeadPosition, Operator, Positions, Reparameterization, SHARP};

use crate::Result;

/// A layer that can leave convolution for attention, whatever its shapes.
pub trait SwitchLayer {
    /// What the layer computes.
    ///
    /// # Errors
    /// A buffer `operator` that holds none of the known codes; so for the methods below.
    fn operator(&self) -> Result<Operator>;

    /// Makes the layer attention. `layer`: its number in the model, by which [`Positions::Scattered`] differ.
    ///
    /// # Errors
    /// As [`Reparameterization::check`]; the layer is then as before.
    fn reparameterize(&mut self, how: &Reparameterization, layer: usize) -> Result<()>;

    /// Name of the buffer that holds the code of [`SwitchLayer::operator`].
    fn operator_name(&self) -> &'static str {
        "operator"
    }

    /// Names of the layer's parameters that are shares now: after each update they are put back to `[0, 1]`.
    ///
    /// # Errors
    /// As [`SwitchLayer::operator`].
    fn shares(&self) -> Result<&'static [&'static str]>;

    /// Names of the layer's parameters that have no effect now: queries, keys, gate and positions of a convolution.
    fn idle(&self) -> Result<&'static [&'static str]>;

    /// The share of position in each head's attention; 1 for a convolution.
    fn gates(&self) -> Result<Vec<f64>>;

    /// Places of its kernel: so many heads it has as attention.
    fn places(&self) -> usize;

    /// Where each head looks by position; empty for a convolution.
    fn heads(&self) -> Result<Vec<HeadPosition>>;
}
