//! A stage of a ResNet: blocks of one width and one size of grid.

use dfdx::prelude::*;
use inductive_attention::{Layout, OperatorKind, Tokens};
use inductive_ops::{Backend, Grid};

use super::{
    block::{BasicBlock, Bottleneck, ResidualBlock},
    layers::{Identity, Projection, SwitchConv},
};
use crate::{
    Result,
    model::{BlockRecord, Context, Record},
    points::Change,
    switch::{Switches, SwitchesMut, within},
};

/// Part of a ResNet that takes `I` channels and gives `O`.
pub trait ResnetStage<const I: usize, const O: usize, E: Dtype, D: Backend<E>>:
    TensorCollection<E, D>
{
    /// Number of its blocks.
    const BLOCKS: usize;
    /// Stride of the first of them; the others have 1.
    const STRIDE: usize;

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid.
    fn run<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)>;

    /// Its layers that can leave convolution, by their names in the stage.
    fn switches(&self) -> Switches<'_>;

    /// The same, to be changed.
    fn switches_mut(&mut self) -> SwitchesMut<'_>;
}

/// `N` blocks: one that changes width and grid, then `N - 1` that do not.
#[derive(Clone, Debug)]
pub struct Stage<FIRST, REST, const N: usize> {
    /// Block 0.
    pub first: FIRST,
    /// Blocks `1..N`.
    pub rest: Vec<REST>,
}

/// `N` basic blocks of `W` channels without a stride: a first stage.
pub type BasicStage<const W: usize, const N: usize, E, D> =
    Stage<BasicBlock<W, W, 1, Identity, E, D>, BasicBlock<W, W, 1, Identity, E, D>, N>;
/// `N` basic blocks of `O` channels on half the rows and columns: a later stage.
pub type BasicDownStage<const I: usize, const O: usize, const N: usize, E, D> =
    Stage<BasicBlock<I, O, 2, Projection<I, O, 2, E, D>, E, D>, BasicBlock<O, O, 1, Identity, E, D>, N>;
/// [`BasicDownStage`] whose 3x3 convolutions can become attention.
pub type SwitchDownStage<const I: usize, const O: usize, const N: usize, E, D> = Stage<
    BasicBlock<
        I,
        O,
        2,
        Projection<I, O, 2, E, D>,
        E,
        D,
        SwitchConv<I, O, 2, E, D>,
        SwitchConv<O, O, 1, E, D>,
    >,
    BasicBlock<O, O, 1, Identity, E, D, SwitchConv<O, O, 1, E, D>, SwitchConv<O, O, 1, E, D>>,
    N,
>;
/// [`BottleneckStage`] whose 3x3 convolutions can become attention.
pub type SwitchBottleneckStage<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    const N: usize,
    E,
    D,
> = Stage<
    Bottleneck<I, MID, O, S, Projection<I, O, S, E, D>, E, D, SwitchConv<MID, MID, S, E, D>>,
    Bottleneck<O, MID, O, 1, Identity, E, D, SwitchConv<MID, MID, 1, E, D>>,
    N,
>;
/// `N` bottlenecks, the first with stride `S`.
pub type BottleneckStage<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    const N: usize,
    E,
    D,
> = Stage<
    Bottleneck<I, MID, O, S, Projection<I, O, S, E, D>, E, D>,
    Bottleneck<O, MID, O, 1, Identity, E, D>,
    N,
>;

impl<FIRST: TensorCollection<E, D>, REST: TensorCollection<E, D>, const N: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Stage<FIRST, REST, N>
{
    type To<E2: Dtype, D2: Device<E2>> = Stage<FIRST::To<E2, D2>, REST::To<E2, D2>, N>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(N > 0, "a stage has at least one block") };
        let names: Vec<String> = (1..N).map(|i| i.to_string()).collect();
        let rest: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.rest[i], move |s| &mut s.rest[i]))
            .collect();
        visitor.visit_fields((Self::module("0", |s| &s.first, |s| &mut s.first), rest), |(first, rest)| {
            Stage { first, rest }
        })
    }
}

impl<const I: usize, const O: usize, FIRST, REST, const N: usize, E: Dtype, D: Backend<E>>
    ResnetStage<I, O, E, D> for Stage<FIRST, REST, N>
where
    FIRST: ResidualBlock<I, O, E, D>,
    REST: ResidualBlock<O, O, E, D>,
{
    const BLOCKS: usize = N;
    const STRIDE: usize = FIRST::STRIDE;

    fn run<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let mut branch = context.record.as_ref().filter(|record| record.keeps_points()).map(|_| Vec::new());
        let statistics = context.batch_statistics.as_deref_mut();
        let (mut x, mut grid) = self.first.apply(x, grid, statistics, branch.as_mut())?;
        keep(&x, grid, self.first.operator_kind(), &mut branch, context);
        for block in &self.rest {
            let statistics = context.batch_statistics.as_deref_mut();
            (x, grid) = block.apply(x, grid, statistics, branch.as_mut())?;
            keep(&x, grid, block.operator_kind(), &mut branch, context);
        }
        Ok((x, grid))
    }

    fn switches(&self) -> Switches<'_> {
        let blocks = self.rest.iter().zip(1..).map(|(block, i)| within(i, block.switches()));
        [within(0, self.first.switches())].into_iter().chain(blocks).flatten().collect()
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        let blocks = self.rest.iter_mut().zip(1..).map(|(block, i)| within(i, block.switches_mut()));
        [within(0, self.first.switches_mut())].into_iter().chain(blocks).flatten().collect()
    }
}

/// Records the output of a block, and its branch if points are kept.
fn keep<const C: usize, E: Dtype, D: Backend<E>, T>(
    x: &Tokens<C, E, D, T>,
    grid: Grid,
    kind: OperatorKind,
    branch: &mut Option<Vec<E>>,
    context: &mut Context<'_, E>,
) {
    if let Some(record) = &mut context.record {
        if let Some(branch) = branch {
            let change = Change::Branch(std::mem::take(branch));
            record.keep_point(Record::block_name, kind, &Layout::patches(grid), x, change);
        }
        let output = if record.keep_outputs { x.as_vec() } else { Vec::new() };
        record.blocks.push(BlockRecord { output, layout: Layout::patches(grid), attention: None });
    }
}

/// In place of a fourth stage, in networks of three.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStage;

impl<E: Dtype, D: Device<E>> TensorCollection<E, D> for NoStage {
    type To<E2: Dtype, D2: Device<E2>> = Self;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self>, V::Err> {
        visitor.visit_fields((), |()| Self)
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>> ResnetStage<C, C, E, D> for NoStage {
    const BLOCKS: usize = 0;
    const STRIDE: usize = 1;

    fn run<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        grid: Grid,
        _: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        Ok((x, grid))
    }

    fn switches(&self) -> Switches<'_> {
        Vec::new()
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        Vec::new()
    }
}
