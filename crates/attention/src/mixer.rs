//! What a transformer block is built over.

use dfdx::prelude::*;
use inductive_ops::{Backend, Branch, Grid, Readout, Result};

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

    /// What attention does to `tokens`: the maps that [`TokenMixer::mix`] applies to the values.
    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<AttentionRecord<E>>;

    /// The mixer in a pre-norm block, `tokens + scale_b mix(norm(tokens))`, for the tokens that `readout` names: the
    /// result is `[batch, tokens, C]` or `[batch, 1, C]`.
    ///
    /// The default is made of the parts; a mixer may compute all in one pass.
    fn mix_branch<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
        readout: Readout,
        branch: Branch<'_, C, E, D>,
    ) -> Result<Tokens<C, E, D, T>> {
        let device = tokens.device().clone();
        let (residual, tape) = tokens.split_tape();
        let normal = residual.clone().put_tape(tape);
        let normal = device.layer_norm(normal, branch.weight, branch.bias, branch.eps)?;
        let mixed = device.add_residual(self.mix(normal, layout)?, &residual, branch.scale)?;
        device.read_out(mixed, readout)
    }

    /// [`TokenMixer::mix`], and what attention did.
    fn mix_recorded<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
    ) -> Result<(Tokens<C, E, D, T>, AttentionRecord<E>)> {
        let (tokens, tape) = tokens.split_tape();
        let record = self.attention(&tokens, layout)?;
        Ok((self.mix(tokens.put_tape(tape), layout)?, record))
    }
}
