//! A stage of a ResNet: blocks of one width and one size of grid.

use dfdx::prelude::*;
use inductive_nn::{
    Change, Context, Layout, Module, OperatorKind, Path, Tokens, Visit, VisitLayers, VisitLayersMut, VisitMut,
};
use inductive_ops::{Backend, Grid};

use crate::{Error, Result};

use super::{
    block::{BasicBlock, Bottleneck, ResidualBlock},
    layers::{Identity, Projection, SwitchConv},
};

/// Part of a ResNet that takes `I` channels and gives `O`.
pub trait ResnetStage<const I: usize, const O: usize, E: Dtype, D: Backend<E>>: Module<E, D> + Sized {
    /// New, of so many blocks.
    ///
    /// # Errors
    /// A number of blocks that the stage cannot have; a device without memory for them.
    fn new(device: &D, blocks: usize) -> Result<Self>;

    /// Number of its blocks.
    fn depth(&self) -> usize;

    /// Stride of the first of them; the others have 1.
    const STRIDE: usize;

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid.
    fn run<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)>;
}

/// Blocks: one that changes width and grid, then those that do not.
#[derive(Clone, Debug)]
pub struct Stage<FIRST, REST> {
    /// Block 0.
    pub first: FIRST,
    /// The others.
    pub rest: Vec<REST>,
}

/// Basic blocks of `W` channels without a stride: a first stage.
pub type BasicStage<const W: usize, E, D> =
    Stage<BasicBlock<W, W, 1, Identity, E, D>, BasicBlock<W, W, 1, Identity, E, D>>;
/// Basic blocks of `O` channels on half the rows and columns: a later stage.
pub type BasicDownStage<const I: usize, const O: usize, E, D> =
    Stage<BasicBlock<I, O, 2, Projection<I, O, 2, E, D>, E, D>, BasicBlock<O, O, 1, Identity, E, D>>;
/// [`BasicDownStage`] whose 3x3 convolutions can become attention.
pub type SwitchDownStage<const I: usize, const O: usize, E, D> = Stage<
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
>;
/// [`BottleneckStage`] whose 3x3 convolutions can become attention.
pub type SwitchBottleneckStage<const I: usize, const MID: usize, const O: usize, const S: usize, E, D> =
    Stage<
        Bottleneck<I, MID, O, S, Projection<I, O, S, E, D>, E, D, SwitchConv<MID, MID, S, E, D>>,
        Bottleneck<O, MID, O, 1, Identity, E, D, SwitchConv<MID, MID, 1, E, D>>,
    >;
/// Bottlenecks, the first with stride `S`.
pub type BottleneckStage<const I: usize, const MID: usize, const O: usize, const S: usize, E, D> = Stage<
    Bottleneck<I, MID, O, S, Projection<I, O, S, E, D>, E, D>,
    Bottleneck<O, MID, O, 1, Identity, E, D>,
>;

impl<FIRST: Module<E, D>, REST: Module<E, D>, E: Dtype, D: Backend<E>> Module<E, D> for Stage<FIRST, REST> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> inductive_nn::Result<()> {
        for (index, block) in self.parts().enumerate() {
            let before = at.enter(&index.to_string());
            block.visit(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> inductive_nn::Result<()> {
        for (index, block) in self.parts_mut().enumerate() {
            let before = at.enter(&index.to_string());
            block.visit_mut(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        for (index, block) in Stage::<FIRST, REST>::parts::<E, D>(self).enumerate() {
            let before = at.enter(&index.to_string());
            block.layers(at, visit);
            at.leave(before);
        }
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        for (index, block) in Stage::<FIRST, REST>::parts_mut::<E, D>(self).enumerate() {
            let before = at.enter(&index.to_string());
            block.layers_mut(at, visit);
            at.leave(before);
        }
    }
}

impl<FIRST, REST> Stage<FIRST, REST> {
    /// Its blocks, in their order.
    fn parts<E: Dtype, D: Backend<E>>(&self) -> impl Iterator<Item = &dyn Module<E, D>>
    where
        FIRST: Module<E, D>,
        REST: Module<E, D>,
    {
        let rest = self.rest.iter().map(|block| block as &dyn Module<E, D>);
        std::iter::once(&self.first as &dyn Module<E, D>).chain(rest)
    }

    /// The same, to be changed.
    fn parts_mut<E: Dtype, D: Backend<E>>(&mut self) -> impl Iterator<Item = &mut dyn Module<E, D>>
    where
        FIRST: Module<E, D>,
        REST: Module<E, D>,
    {
        let rest = self.rest.iter_mut().map(|block| block as &mut dyn Module<E, D>);
        std::iter::once(&mut self.first as &mut dyn Module<E, D>).chain(rest)
    }
}

impl<const I: usize, const O: usize, FIRST, REST, E: Dtype, D: Backend<E>> ResnetStage<I, O, E, D>
    for Stage<FIRST, REST>
where
    FIRST: ResidualBlock<I, O, E, D>,
    REST: ResidualBlock<O, O, E, D>,
{
    const STRIDE: usize = FIRST::STRIDE;

    fn new(device: &D, blocks: usize) -> Result<Self> {
        if blocks == 0 {
            return Err(Error::parts("ResnetStage", "a stage of at least one block", blocks));
        }
        let first = FIRST::new(device)?;
        let rest = (1..blocks).map(|_| REST::new(device)).collect::<inductive_nn::Result<_>>()?;
        Ok(Self { first, rest })
    }

    fn depth(&self) -> usize {
        1 + self.rest.len()
    }

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
            record.keep_part("", kind, &Layout::patches(grid), x, change);
        }
        record.keep_block(x, &Layout::patches(grid), None);
    }
}

/// In place of a fourth stage, in networks of three.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStage;

impl<E: Dtype, D: Backend<E>> Module<E, D> for NoStage {
    fn visit(&self, _: &mut Path, _: &mut Visit<'_, E, D>) -> inductive_nn::Result<()> {
        Ok(())
    }

    fn visit_mut(&mut self, _: &mut Path, _: &mut VisitMut<'_, E, D>) -> inductive_nn::Result<()> {
        Ok(())
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>> ResnetStage<C, C, E, D> for NoStage {
    const STRIDE: usize = 1;

    fn new(_: &D, blocks: usize) -> Result<Self> {
        match blocks {
            0 => Ok(Self),
            _ => Err(Error::parts("NoStage", "no blocks", blocks)),
        }
    }

    fn depth(&self) -> usize {
        0
    }

    fn run<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        grid: Grid,
        _: &mut Context<'_, E>,
    ) -> Result<(Tokens<C, E, D, T>, Grid)> {
        Ok((x, grid))
    }
}
