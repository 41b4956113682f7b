//! A staged network whose layers begin as convolutions and can become attention one by one: what progressive
//! reparameterization scheduling (PRS, arXiv 2210.01370) needs.

use dfdx::prelude::*;
use inductive_attention::{Layout, OperatorKind, SwitchLayer, SwitchMixer, Tokens, Uniform};
use inductive_ops::{Backend, Grid, Readout, Window};

use crate::{
    Result,
    block::Block,
    blocks::Repeat,
    classifier::{HeadStyle, Trunk},
    layers::{LayerNorm, PatchEmbed},
    model::{Context, Images},
    points::Change,
    switch::{Switches, SwitchesMut},
};

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

impl<const I: usize, const O: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Downsample<I, O, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Downsample<I, O, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight = TensorOptions::reset_with(|t| t.try_fill_with_distr(Uniform { bound: bound_of(I) }));
        let bias = TensorOptions::reset_with(|t| t.try_fill_with_distr(Uniform { bound: bound_of(I) }));
        visitor.visit_fields(
            (
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
                Self::tensor("proj.weight", |s| &s.weight, |s| &mut s.weight, weight),
                Self::tensor("proj.bias", |s| &s.bias, |s| &mut s.bias, bias),
            ),
            |(norm, weight, bias)| Downsample { norm, weight, bias },
        )
    }
}

/// The bound of PyTorch's initialisation of a 2x2 convolution of `inner` channels.
fn bound_of(inner: usize) -> f64 {
    ((4 * inner) as f64).powf(-0.5)
}

impl<const I: usize, const O: usize, E: Dtype, D: Backend<E>> Downsample<I, O, E, D> {
    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid, half the rows and columns.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> inductive_ops::Result<(Tokens<O, E, D, T>, Grid)> {
        let device = x.device().clone();
        let x = self.norm.apply(x)?;
        device.conv2d(x, grid, &self.weight, Some(&self.bias), Window::square(2, 2, 0))
    }
}

/// The trunk: patches of `P x P` pixels of a square image of `SIDE` pixels; `N1` pre-norm blocks of `C1` channels, a
/// [`Downsample`], `N2` blocks of `C2` channels; the features are the mean of the tokens, normalised.
///
/// A block is `x + mixer(norm(x))`, `x + mlp(norm(x))`, and the mixer a [`SwitchMixer`]: a 3x3 convolution that can become
/// attention with 9 heads. There is no position embedding: convolution and attention both tell positions by their offsets.
///
/// The paper's own architecture was not available to us: this is ours. State-dict names `patch_embed.proj`,
/// `stages.0.blocks.0.norm1`, `stages.0.blocks.0.mixer`, `stages.1.downsample.proj`, `norm`, `head`.
#[derive(Clone, Debug)]
pub struct Prs<
    const C1: usize,
    const HIDDEN1: usize,
    const N1: usize,
    const C2: usize,
    const HIDDEN2: usize,
    const N2: usize,
    const P: usize,
    const SIDE: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// Images to tokens.
    pub patch_embed: PatchEmbed<C1, P, E, D>,
    /// `stages.0.blocks`
    pub first: Repeat<N1, Block<SwitchMixer<C1, E, D>, C1, HIDDEN1, E, D>>,
    /// `stages.1.downsample`
    pub downsample: Downsample<C1, C2, E, D>,
    /// `stages.1.blocks`
    pub second: Repeat<N2, Block<SwitchMixer<C2, E, D>, C2, HIDDEN2, E, D>>,
    /// After the mean.
    pub norm: LayerNorm<C2, E, D>,
}

impl<
    const C1: usize,
    const HIDDEN1: usize,
    const N1: usize,
    const C2: usize,
    const HIDDEN2: usize,
    const N2: usize,
    const P: usize,
    const SIDE: usize,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Prs<C1, HIDDEN1, N1, C2, HIDDEN2, N2, P, SIDE, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Prs<C1, HIDDEN1, N1, C2, HIDDEN2, N2, P, SIDE, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(SIDE.is_multiple_of(2 * P), "patches cover the image, and pair up") };
        visitor.visit_fields(
            (
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                Self::module("stages.0.blocks", |s| &s.first, |s| &mut s.first),
                Self::module("stages.1.downsample", |s| &s.downsample, |s| &mut s.downsample),
                Self::module("stages.1.blocks", |s| &s.second, |s| &mut s.second),
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
            ),
            |(patch_embed, first, downsample, second, norm)| Prs {
                patch_embed,
                first,
                downsample,
                second,
                norm,
            },
        )
    }
}

impl<
    const C1: usize,
    const HIDDEN1: usize,
    const N1: usize,
    const C2: usize,
    const HIDDEN2: usize,
    const N2: usize,
    const P: usize,
    const SIDE: usize,
    E: Dtype,
    D: Device<E>,
> HeadStyle for Prs<C1, HIDDEN1, N1, C2, HIDDEN2, N2, P, SIDE, E, D>
{
}

/// Name of the mixer of block `index` of stage `stage`.
fn mixer(stage: usize, index: usize) -> String {
    format!("stages.{stage}.blocks.{index}.mixer")
}

impl<
    const C1: usize,
    const HIDDEN1: usize,
    const N1: usize,
    const C2: usize,
    const HIDDEN2: usize,
    const N2: usize,
    const P: usize,
    const SIDE: usize,
    E: Dtype,
    D: Backend<E>,
> Trunk<C2, E, D> for Prs<C1, HIDDEN1, N1, C2, HIDDEN2, N2, P, SIDE, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C2>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (SIDE, SIDE))?;
        context.start_record();
        let drop_paths = context.block_drop_paths(N1 + N2)?;
        let (early, late) = drop_paths.split_at(N1);
        let mut x = self.patch_embed.apply(images, context.image_gradient)?;
        let layout = self.layout(0);
        context.keep_stem("patch_embed", &layout, &x);
        context.enter("stages.0.blocks");
        for (block, drop_path) in self.first.blocks.iter().zip(early) {
            x = block.apply(x, &layout, Readout::All, *drop_path, context.record.as_deref_mut())?;
        }
        let (mut x, grid) = self.downsample.apply(x, layout.grid)?;
        let layout = Layout::patches(grid);
        if let Some(record) = &mut context.record {
            let name = |_: &_| "stages.1.downsample".to_owned();
            record.keep_point(name, OperatorKind::Convolution, &layout, &x, Change::Replaced);
        }
        context.enter("stages.1.blocks");
        for (block, drop_path) in self.second.blocks.iter().zip(late) {
            x = block.apply(x, &layout, Readout::All, *drop_path, context.record.as_deref_mut())?;
        }
        Ok(self.norm.apply(device.mean_tokens(x, 0)?)?)
    }

    fn layout(&self, index: usize) -> Layout {
        let side = SIDE / P;
        Layout::patches(Grid::square(if index < N1 { side } else { side / 2 }))
    }

    fn switches(&self) -> Switches<'_> {
        let first = self.first.blocks.iter().map(|block| &block.attn as &dyn SwitchLayer);
        let second = self.second.blocks.iter().map(|block| &block.attn as &dyn SwitchLayer);
        let early = first.enumerate().map(|(i, layer)| (mixer(0, i), layer));
        early.chain(second.enumerate().map(|(i, layer)| (mixer(1, i), layer))).collect()
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        let first = self.first.blocks.iter_mut().map(|block| &mut block.attn as &mut dyn SwitchLayer);
        let second = self.second.blocks.iter_mut().map(|block| &mut block.attn as &mut dyn SwitchLayer);
        let early = first.enumerate().map(|(i, layer)| (mixer(0, i), layer));
        early.chain(second.enumerate().map(|(i, layer)| (mixer(1, i), layer))).collect()
    }
}
