//! A stage of a network whose patches become fewer and wider: as a stem of the stages after it.

use dfdx::prelude::*;
use inductive_nn::{
    Blocks, Build, Change, Context, Error, Fill, Images, LayerNorm, Layout, Module, OperatorKind, Path,
    Result, Stem, Taped, Tokens, Visit, VisitLayers, VisitLayersMut, VisitMut, module, run_blocks,
};
use inductive_ops::{Backend, Grid, Readout, Window};

/// From one stage to the next: layer normalisation, and a 2x2 convolution with stride 2.
#[derive(Clone, Debug)]
pub struct Downsample<const I: usize, const O: usize, E: Dtype, D: Device<E>> {
    /// Before the convolution.
    pub norm: LayerNorm<I, E, D>,
    /// `proj.weight`, `[O, I, 2, 2]`
    pub weight: Tensor<Rank4<O, I, 2, 2>, E, D>,
    /// `proj.bias`, `[O]`
    pub bias: Tensor<Rank1<O>, E, D>,
}

module!([const I: usize, const O: usize] Downsample<I, O, E, D> {
    norm,
    weight: "proj.weight",
    bias: "proj.bias",
});

impl<const I: usize, const O: usize, E: Dtype, D: Backend<E>> Build<E, D> for Downsample<I, O, E, D> {
    fn new(device: &D) -> Result<Self> {
        let fill = Fill::fan_in(4 * I);
        Ok(Self {
            norm: Build::new(device)?,
            weight: fill.tensor(device, (Const, Const, Const, Const))?,
            bias: fill.tensor(device, (Const,))?,
        })
    }
}

impl<const I: usize, const O: usize, E: Dtype, D: Backend<E>> Downsample<I, O, E, D> {
    fn window() -> Window {
        Window::square(2, 2, 0)
    }

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid, half the rows and columns.
    ///
    /// # Errors
    /// A grid smaller than 2 x 2.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let device = x.device().clone();
        let x = self.norm.apply(x)?;
        Ok(device.conv2d(x, grid, &self.weight, Some(&self.bias), Self::window())?)
    }
}

/// Tokens of `STEM`, blocks of `I` channels, a [`Downsample`] to `O` channels on half the rows and columns: the stem of the
/// next stage. No class token.
///
/// State-dict names of stage 0: those of the stem, `stages.0.blocks`, `stages.1.downsample`.
pub struct Stage<STEM, const I: usize, const O: usize, E: Dtype, D: Device<E>> {
    /// Images to tokens.
    pub stem: STEM,
    /// The blocks.
    pub blocks: Blocks<I, E, D>,
    /// To the next stage.
    pub downsample: Downsample<I, O, E, D>,
    /// Which stage it is, from 0.
    pub number: usize,
}

impl<STEM, const I: usize, const O: usize, E: Dtype, D: Backend<E>> Stage<STEM, I, O, E, D> {
    fn names(&self) -> [String; 2] {
        [format!("stages.{}.blocks", self.number), format!("stages.{}.downsample", self.number + 1)]
    }
}

impl<STEM: Stem<I, E, D>, const I: usize, const O: usize, E: Dtype, D: Backend<E>> Module<E, D>
    for Stage<STEM, I, O, E, D>
{
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> Result<()> {
        let [blocks, downsample] = self.names();
        let parts: [(&str, &dyn Module<E, D>); 3] =
            [(STEM::PATH, &self.stem), (&blocks, &self.blocks), (&downsample, &self.downsample)];
        for (name, part) in parts {
            let before = at.enter(name);
            part.visit(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> Result<()> {
        let [blocks, downsample] = self.names();
        let parts: [(&str, &mut dyn Module<E, D>); 3] =
            [(STEM::PATH, &mut self.stem), (&blocks, &mut self.blocks), (&downsample, &mut self.downsample)];
        for (name, part) in parts {
            let before = at.enter(name);
            part.visit_mut(at, visit)?;
            at.leave(before);
        }
        Ok(())
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        let [blocks, _] = self.names();
        let parts: [(&str, &dyn Module<E, D>); 2] = [(STEM::PATH, &self.stem), (&blocks, &self.blocks)];
        for (name, part) in parts {
            let before = at.enter(name);
            part.layers(at, visit);
            at.leave(before);
        }
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        let [blocks, _] = self.names();
        let parts: [(&str, &mut dyn Module<E, D>); 2] =
            [(STEM::PATH, &mut self.stem), (&blocks, &mut self.blocks)];
        for (name, part) in parts {
            let before = at.enter(name);
            part.layers_mut(at, visit);
            at.leave(before);
        }
    }
}

impl<STEM: Stem<I, E, D>, const I: usize, const O: usize, E: Dtype, D: Backend<E>> Stem<O, E, D>
    for Stage<STEM, I, O, E, D>
{
    // Its parts have names of their own in the model.
    const PATH: &'static str = "";

    fn grid(image: (usize, usize)) -> Result<Grid> {
        let grid = STEM::grid(image)?;
        if !grid.rows.is_multiple_of(2) || !grid.cols.is_multiple_of(2) {
            return Err(Error::shape("Stage", "a grid of patches that pair up", grid));
        }
        Ok(Downsample::<I, O, E, D>::window().output(grid)?)
    }

    fn depth(&self) -> usize {
        self.stem.depth() + self.blocks.len()
    }

    fn grid_of_block(&self, image: (usize, usize), index: usize) -> Result<Grid> {
        match index < self.stem.depth() {
            true => self.stem.grid_of_block(image, index),
            false => STEM::grid(image),
        }
    }

    fn tokens<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let [blocks, downsample] = self.names();
        let (x, grid) = self.stem.tokens(images, context)?;
        let layout = Layout::patches(grid);
        if self.stem.depth() == 0 {
            context.keep_stem("patch_embed", &layout, &x);
        }
        context.enter(&blocks);
        let x = run_blocks(&self.blocks, x, &layout, Readout::All, context)?;
        let (x, grid) = self.downsample.apply(x, grid)?;
        if let Some(record) = &mut context.record {
            let layout = Layout::patches(grid);
            record.keep_point(&downsample, OperatorKind::Convolution, &layout, &x, Change::Replaced);
        }
        Ok((x, grid))
    }
}
