//! What a transformer block is built over.

use dfdx::prelude::*;
use inductive_ops::{Backend, Branch, Grid, Readout};

use crate::{Module, Result, point::OperatorKind};

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

/// How a layer of attention holds queries, keys and values: in linear layers below its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projections {
    /// Channels that are attended over.
    pub width: usize,
    /// Heads that share them.
    pub heads: usize,
    /// Those of queries, keys and values.
    pub layers: QkvLayers,
    /// The one after the heads.
    pub proj: &'static str,
}

/// Which linear layers make queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayers {
    /// One for all, in this order: timm's `qkv`.
    Together(&'static str),
    /// One for queries and keys, queries first, and one for values: timm's `qk` and `v` of ConViT.
    ValuesApart {
        /// Queries and keys.
        qk: &'static str,
        /// Values.
        v: &'static str,
    },
}

/// A layer that exchanges information between tokens.
pub trait TokenMixer<const C: usize, E: Dtype, D: Backend<E>>: Module<E, D> {
    /// Name of the mixer in the block; empty for one whose parts are named beside the block's others.
    const PATH: &'static str = "attn";
    /// Channels that go through a convolution instead of attention.
    const CONV_CHANNELS: usize = 0;

    /// What it is at the moment.
    fn operator_kind(&self) -> OperatorKind;

    /// tokens: `[batch, tokens, C]` as `layout` says; the result has the same shape.
    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>>;

    /// What attention does to `tokens`: the maps that [`TokenMixer::mix`] applies to the values; `None` for a mixer without
    /// such maps.
    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        let _ = (tokens, layout);
        Ok(None)
    }

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
        Ok(device.read_out(mixed, readout)?)
    }

    /// [`TokenMixer::mix`], and what attention did.
    fn mix_recorded<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        layout: &Layout,
    ) -> Result<(Tokens<C, E, D, T>, Option<AttentionRecord<E>>)> {
        let (tokens, tape) = tokens.split_tape();
        let record = self.attention(&tokens, layout)?;
        Ok((self.mix(tokens.put_tape(tape), layout)?, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Build, Gpsa, Mhsa, Path, Visit, VisitMut};

    /// A mixer without a [`TokenMixer::mix_branch`] of its own.
    struct Plain<M>(M);

    impl<M> Module<f32, Cpu> for Plain<M> {
        fn visit(&self, _: &mut Path, _: &mut Visit<'_, f32, Cpu>) -> Result<()> {
            Ok(())
        }

        fn visit_mut(&mut self, _: &mut Path, _: &mut VisitMut<'_, f32, Cpu>) -> Result<()> {
            Ok(())
        }
    }

    impl<M: TokenMixer<C, f32, Cpu>, const C: usize> TokenMixer<C, f32, Cpu> for Plain<M> {
        fn operator_kind(&self) -> OperatorKind {
            self.0.operator_kind()
        }

        fn mix<T: Tape<f32, Cpu>>(
            &self,
            tokens: Tokens<C, f32, Cpu, T>,
            layout: &Layout,
        ) -> Result<Tokens<C, f32, Cpu, T>> {
            self.0.mix(tokens, layout)
        }
    }

    fn agrees<M: TokenMixer<12, f32, Cpu>>(mixer: M, layout: Layout) {
        let dev = Cpu::seed_from_u64(1);
        let uniform = rand::distributions::Uniform::new(-1.0f32, 1.0);
        let tokens: Tokens<12, f32, Cpu> = dev.sample_like(&(3, layout.tokens(), Const), uniform);
        let weight: Tensor<Rank1<12>, f32, Cpu> = dev.sample(uniform);
        let branch = Branch { weight: &weight, bias: &weight, eps: 1e-6, scale: Some(&[1.5, 0.0, 1.0]) };
        let plain = Plain(mixer);
        for readout in [Readout::All, Readout::First] {
            let whole = plain.0.mix_branch(tokens.clone(), &layout, readout, branch).unwrap();
            let parts = plain.mix_branch(tokens.clone(), &layout, readout, branch).unwrap();
            assert_eq!(whole.shape(), parts.shape());
            for (a, b) in whole.as_vec().iter().zip(parts.as_vec()) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_branch_in_one_pass_agrees_with_its_parts() {
        let dev = Cpu::seed_from_u64(0);
        let grid = Grid { rows: 2, cols: 3 };
        agrees(Mhsa::<12, 3, true, f32, Cpu>::new(&dev).unwrap(), Layout::with_class_token(grid));
        agrees(Gpsa::<12, 3, true, f32, Cpu>::new(&dev).unwrap(), Layout::patches(grid));
    }
}
