//! A self-attention layer as its CPU kernels see it: sizes, weights as slices, what is kept between the passes.

use super::{
    AttentionDims, Readout,
    heads::{Gate, Heads},
};
use crate::{branch::Slices, tape::buffer};

/// Rows (tokens of several images) that go through together.
const ROWS: usize = 256;

/// A linear map to some of the columns of q, k and v.
#[derive(Clone, Copy)]
pub(crate) struct Projection<'a> {
    /// Its first column among those of q, k and v.
    pub(crate) first: usize,
    /// `[columns, width]`
    pub(crate) weight: &'a [f32],
    /// `[columns]`
    pub(crate) bias: Option<&'a [f32]>,
    /// The tokens that need it.
    pub(crate) tokens: Readout,
}

/// A layer with its weights.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) dims: AttentionDims,
    /// Tokens whose result is wanted.
    pub(crate) readout: Readout,
    pub(crate) projections: &'a [Projection<'a>],
    /// The output projection, `[width, width]` and `[width]`.
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) gate: Option<Gate<'a>>,
    pub(crate) branch: Option<Slices<'a>>,
}

/// What the forward pass keeps for the backward pass.
pub(crate) struct Kept {
    /// `[batch, tokens, 3, width]`
    pub(super) qkv: Vec<f32>,
    /// The heads' result before the output projection, `[batch, queries, width]`.
    pub(super) mixed: Vec<f32>,
    /// Of each row's normalisation; unused without a branch.
    pub(super) statistics: Vec<[f32; 2]>,
}

impl Kept {
    pub(crate) fn new(layer: &Layer<'_>) -> Self {
        let (rows, width) = (layer.dims.batch * layer.dims.tokens, layer.dims.width());
        let queries = layer.dims.batch * layer.queries();
        let statistics = vec![[0.0; 2]; if layer.branch.is_some() { rows } else { 0 }];
        Self { qkv: buffer(rows * 3 * width), mixed: buffer(queries * width), statistics }
    }
}

impl<'a> Layer<'a> {
    /// Tokens of an image whose result is wanted.
    pub(crate) fn queries(&self) -> usize {
        match self.readout {
            Readout::All => self.dims.tokens,
            Readout::First => 1,
        }
    }

    pub(super) fn heads(&self) -> Heads<'a> {
        Heads { dims: self.dims, queries: self.queries(), gate: self.gate }
    }

    /// Images that go through together.
    pub(super) fn group(&self) -> usize {
        (ROWS / self.dims.tokens).clamp(1, self.dims.batch)
    }

    /// The rows of `x` (of `width` numbers) that `tokens` names, for `images` images: their number and stride.
    pub(super) fn rows(&self, tokens: Readout, images: usize, width: usize) -> (usize, usize) {
        match tokens {
            Readout::All => (images * self.dims.tokens, width),
            Readout::First => (images, self.dims.tokens * width),
        }
    }
}
