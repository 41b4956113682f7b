//! The parts of residual blocks: a convolution without bias, and what may stand beside the branch.

use dfdx::prelude::*;
use inductive_nn::{
    BatchNorm, BatchStatistics, Build, ConvAsAttention, Fill, Module, OperatorKind, Path, Result, Tokens,
    Visit, VisitMut, module,
};
use inductive_ops::{Activation, Backend, Grid, Window};

/// A grid after a convolution or pooling with an odd kernel, half of it as padding, and this stride.
pub(super) fn strided(grid: Grid, stride: usize) -> Grid {
    Grid { rows: grid.rows.div_ceil(stride), cols: grid.cols.div_ceil(stride) }
}

/// A `K x K` convolution with stride `S` and padding `K / 2`, without bias.
///
/// timm equivalent: `nn.Conv2d(I, O, K, stride=S, padding=K // 2, bias=False)`, initialised by He's rule over the fan out,
/// N(0, 2 / (O K^2)).
#[derive(Clone, Debug)]
pub struct Conv<const I: usize, const O: usize, const K: usize, const S: usize, E: Dtype, D: Device<E>> {
    /// `[O, I, K, K]`
    pub weight: Tensor<Rank4<O, I, K, K>, E, D>,
}

module!([const I: usize, const O: usize, const K: usize, const S: usize] Conv<I, O, K, S, E, D> { weight });

impl<const I: usize, const O: usize, const K: usize, const S: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for Conv<I, O, K, S, E, D>
{
    fn new(device: &D) -> Result<Self> {
        Ok(Self { weight: Fill::he(O * K * K).tensor(device, (Const, Const, Const, Const))? })
    }
}

impl<const I: usize, const O: usize, const K: usize, const S: usize, E: Dtype, D: Backend<E>>
    Conv<I, O, K, S, E, D>
{
    /// Its window.
    pub fn window() -> Window {
        Window::square(K, S, K / 2)
    }

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        Ok(x.device().clone().conv2d(x, grid, &self.weight, None, Self::window())?)
    }
}

/// A convolution of a block, or what takes its place.
pub trait Convolution<const I: usize, const O: usize, E: Dtype, D: Backend<E>>:
    Module<E, D> + Build<E, D>
{
    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid.
    fn convolve<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)>;

    /// What it is at the moment.
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Convolution
    }
}

impl<const I: usize, const O: usize, const K: usize, const S: usize, E: Dtype, D: Backend<E>>
    Convolution<I, O, E, D> for Conv<I, O, K, S, E, D>
{
    fn convolve<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        self.apply(x, grid)
    }
}

/// A 3x3 convolution without bias, zeros around the grid, that can become attention with 9 heads: T-CNN's layer
/// (arXiv 2106.05795).
pub type SwitchConv<const I: usize, const O: usize, const S: usize, E, D> =
    ConvAsAttention<I, O, I, 3, 9, 144, S, true, false, E, D>;

impl<const I: usize, const O: usize, const S: usize, E: Dtype, D: Backend<E>> Convolution<I, O, E, D>
    for SwitchConv<I, O, S, E, D>
{
    fn convolve<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        self.apply(x, grid)
    }

    fn operator_kind(&self) -> OperatorKind {
        self.kind()
    }
}

/// What a block adds its branch to.
pub trait Shortcut<const I: usize, const O: usize, E: Dtype, D: Backend<E>>:
    Module<E, D> + Build<E, D>
{
    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]`.
    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        statistics: Option<&mut BatchStatistics<E>>,
    ) -> Result<Tokens<O, E, D, T>>;
}

/// The input as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl<E: Dtype, D: Backend<E>> Module<E, D> for Identity {
    fn visit(&self, _: &mut Path, _: &mut Visit<'_, E, D>) -> Result<()> {
        Ok(())
    }

    fn visit_mut(&mut self, _: &mut Path, _: &mut VisitMut<'_, E, D>) -> Result<()> {
        Ok(())
    }
}

impl<E: Dtype, D: Backend<E>> Build<E, D> for Identity {
    fn new(_: &D) -> Result<Self> {
        Ok(Self)
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>> Shortcut<C, C, E, D> for Identity {
    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        _: Grid,
        _: Option<&mut BatchStatistics<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        Ok(x)
    }
}

/// A convolution of single pixels with stride `S`, and batch normalisation: "option B" of He et al.
///
/// State-dict names `0.weight`, `1.weight`, ... as in timm's `downsample`.
#[derive(Clone, Debug)]
pub struct Projection<const I: usize, const O: usize, const S: usize, E: Dtype, D: Device<E>> {
    /// `0`
    pub conv: Conv<I, O, 1, S, E, D>,
    /// `1`
    pub norm: BatchNorm<O, E, D>,
}

module!([const I: usize, const O: usize, const S: usize] Projection<I, O, S, E, D> { conv: "0", norm: "1" });

impl<const I: usize, const O: usize, const S: usize, E: Dtype, D: Backend<E>> Build<E, D>
    for Projection<I, O, S, E, D>
{
    fn new(device: &D) -> Result<Self> {
        Ok(Self { conv: Build::new(device)?, norm: Build::new(device)? })
    }
}

impl<const I: usize, const O: usize, const S: usize, E: Dtype, D: Backend<E>> Shortcut<I, O, E, D>
    for Projection<I, O, S, E, D>
{
    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        statistics: Option<&mut BatchStatistics<E>>,
    ) -> Result<Tokens<O, E, D, T>> {
        let (x, _) = self.conv.apply(x, grid)?;
        self.norm.apply(x, None, Activation::None, statistics)
    }
}
