//! The pre-norm transformer block, over any token mixer.

use dfdx::prelude::*;
use inductive_ops::{Backend, DropPath, Readout};

use crate::{
    Build, Change, Context, Layout, Mlp, Module, OperatorKind, Record, Result, TokenMixer, Tokens, module,
    norm::LayerNorm,
};

/// `x + dp(mixer(norm1(x)))`, then `x + dp(mlp(norm2(x)))`, with stochastic depth dp.
///
/// timm equivalent: `vision_transformer.Block`, `convit.Block`.
#[derive(Clone, Debug)]
pub struct Block<M, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> {
    /// Before the mixer.
    pub norm1: LayerNorm<C, E, D>,
    /// The token mixer, called [`TokenMixer::PATH`].
    pub attn: M,
    /// Before the MLP.
    pub norm2: LayerNorm<C, E, D>,
    /// Channel mixing.
    pub mlp: Mlp<C, HIDDEN, E, D>,
}

module!([M: TokenMixer<C, E, D>, const C: usize, const HIDDEN: usize] Block<M, C, HIDDEN, E, D> {
    norm1,
    attn: M::PATH,
    norm2,
    mlp,
});

impl<M: Build<E, D>, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for Block<M, C, HIDDEN, E, D>
{
    fn new(device: &D) -> Result<Self> {
        Self::over(device, M::new)
    }
}

impl<M, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Block<M, C, HIDDEN, E, D> {
    /// New, over the mixer that `mixer` makes: one that [`Build`] cannot.
    ///
    /// # Errors
    /// Those of `mixer`; a device without memory for it.
    pub fn over(device: &D, mixer: impl FnOnce(&D) -> Result<M>) -> Result<Self> {
        Ok(Self {
            norm1: Build::new(device)?,
            attn: mixer(device)?,
            norm2: Build::new(device)?,
            mlp: Build::new(device)?,
        })
    }
}

/// What a block is run with.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// How the tokens lie.
    pub layout: &'a Layout,
    /// Which tokens are needed after it.
    pub readout: Readout,
    /// Its stochastic depth.
    pub drop_path: DropPath,
}

/// A block of `C` channels, whatever is in it: what a model holds a list of.
pub trait AnyBlock<const C: usize, E: Dtype, D: Backend<E>>: Module<E, D> {
    /// tokens: `[batch, tokens, C]`; result: the tokens that `step.readout` names.
    ///
    /// # Errors
    /// Tokens that do not lie as the layout says.
    fn infer(
        &self,
        tokens: Tokens<C, E, D>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D>>;

    /// [`AnyBlock::infer`] on a tape, for gradients.
    ///
    /// # Errors
    /// Tokens that do not lie as the layout says.
    fn train(
        &self,
        tokens: Tokens<C, E, D, OwnedTape<E, D>>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, OwnedTape<E, D>>>;

    /// [`TokenMixer::CONV_CHANNELS`] of its mixer.
    fn conv_channels(&self) -> usize {
        0
    }
}

/// Blocks one after the other, of one width.
pub type Blocks<const C: usize, E, D> = Vec<Box<dyn AnyBlock<C, E, D>>>;

/// Runs blocks with the stochastic depth that `context` has for them. After the last block of the whole model only the tokens
/// that `readout` names are computed, unless `context` records all.
///
/// # Errors
/// Those of the blocks.
pub fn run_blocks<const C: usize, E: Dtype, D: Backend<E>, T: Taped<E, D>>(
    blocks: &[Box<dyn AnyBlock<C, E, D>>],
    mut tokens: Tokens<C, E, D, T>,
    layout: &Layout,
    readout: Readout,
    context: &mut Context<'_, E>,
) -> Result<Tokens<C, E, D, T>> {
    for block in blocks {
        let drop_path = context.next_block();
        let last = context.blocks_left() == 0 && context.record.is_none();
        let step = Step { layout, readout: if last { readout } else { Readout::All }, drop_path };
        tokens = T::run(&**block, tokens, step, context.record.as_deref_mut())?;
    }
    Ok(tokens)
}

/// A tape that a list of blocks can be run on: none, or dfdx's.
pub trait Taped<E: Dtype, D: Backend<E>>: Tape<E, D> {
    /// [`AnyBlock::infer`] or [`AnyBlock::train`].
    ///
    /// # Errors
    /// The block's.
    fn run<const C: usize>(
        block: &dyn AnyBlock<C, E, D>,
        tokens: Tokens<C, E, D, Self>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, Self>>;
}

impl<E: Dtype, D: Backend<E>> Taped<E, D> for NoneTape {
    fn run<const C: usize>(
        block: &dyn AnyBlock<C, E, D>,
        tokens: Tokens<C, E, D>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D>> {
        block.infer(tokens, step, record)
    }
}

impl<E: Dtype, D: Backend<E>> Taped<E, D> for OwnedTape<E, D> {
    fn run<const C: usize>(
        block: &dyn AnyBlock<C, E, D>,
        tokens: Tokens<C, E, D, Self>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, Self>> {
        block.train(tokens, step, record)
    }
}

impl<M: TokenMixer<C, E, D>, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> AnyBlock<C, E, D>
    for Block<M, C, HIDDEN, E, D>
{
    fn infer(
        &self,
        tokens: Tokens<C, E, D>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D>> {
        self.apply(tokens, step, record)
    }

    fn train(
        &self,
        tokens: Tokens<C, E, D, OwnedTape<E, D>>,
        step: Step<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, OwnedTape<E, D>>> {
        self.apply(tokens, step, record)
    }

    fn conv_channels(&self) -> usize {
        M::CONV_CHANNELS
    }
}

impl<M: TokenMixer<C, E, D>, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>>
    Block<M, C, HIDDEN, E, D>
{
    /// tokens: `[batch, tokens, C]` as `step.layout` says; the result has the tokens that `step.readout` names.
    ///
    /// # Errors
    /// Tokens that do not lie as the layout says.
    pub fn apply<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        Step { layout, readout, drop_path }: Step<'_>,
        mut record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let batch = tokens.shape().0;
        let scales = [0, 1].map(|sublayer| drop_path.fork(sublayer).scales(batch));
        let (tokens, tape) = tokens.split_tape();
        let attention = match &record {
            Some(record) if !record.skip_attention => {
                self.attn.attention(&self.norm1.apply(tokens.clone())?, layout)?
            }
            _ => None,
        };
        let tokens = tokens.put_tape(tape);
        let tokens =
            self.attn.mix_branch(tokens, layout, readout, self.norm1.branch(scales[0].as_deref()))?;
        let mut keep = |tokens: &Tokens<C, E, D, T>, part: &str, kind| {
            if let Some(record) = &mut record {
                record.keep_part(part, kind, layout, tokens, Change::Sum);
            }
        };
        let mixer = if M::PATH.is_empty() { "attn" } else { M::PATH };
        keep(&tokens, mixer, self.attn.operator_kind());
        let tokens = self.mlp.apply(tokens, Some(self.norm2.branch(scales[1].as_deref())))?;
        keep(&tokens, "mlp", OperatorKind::Mlp);
        if let Some(record) = record {
            record.keep_block(&tokens, layout, attention);
        }
        Ok(tokens)
    }
}
