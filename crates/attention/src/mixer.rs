//! What a transformer block is built over.

use dfdx::prelude::*;
use inductive_ops::{Backend, Grid, Result};

/// `[batch, tokens, C]`
pub type Tokens<const C: usize, E, D, T = NoneTape> = Tensor<(usize, usize, Const<C>), E, D, T>;

/// How the tokens of a sample lie on the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The patches, row by row.
    pub grid: Grid,
    /// Tokens in front of the patches: 1 with a class token, else 0.
    pub prefix: usize,
}

impl Layout {
    /// Patches alone.
    pub fn patches(grid: Grid) -> Self {
        Self { grid, prefix: 0 }
    }

    /// A class token in front of the patches.
    pub fn with_class_token(grid: Grid) -> Self {
        Self { grid, prefix: 1 }
    }

    /// Tokens per sample.
    pub fn tokens(&self) -> usize {
        self.prefix + self.grid.tokens()
    }
}

/// What an attention layer did.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionRecord<E> {
    /// Attention probabilities: `[batch, heads, tokens, tokens]`, row-major, rows (queries) sum to 1.
    pub map: Vec<E>,
    /// Samples.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// How the tokens lie on the image.
    pub layout: Layout,
    /// `sigma(gating_param)` of each head, the share of position in attention; `None` where there is no gate.
    pub gates: Option<Vec<f64>>,
}

/// A layer that exchanges information between tokens.
pub trait TokenMixer<const C: usize, E: Dtype, D: Backend<E>> {
    /// tokens: `[batch, tokens, C]` as `layout` says; the result has the same shape.
    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>>;

    /// As [`TokenMixer::mix`], and what attention did. Slower: the maps are computed a second time and copied.
    fn mix_recorded<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
    ) -> Result<(Tokens<C, E, D, T>, AttentionRecord<E>)>;
}
