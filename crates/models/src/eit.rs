//! EIT (Xia et al., arXiv 2203.07116): overlapping patches by convolution and pooling, and a convolution beside attention
//! that has fewer channels in every layer.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, Normal, Tokens, normal};
use inductive_ops::{Backend, Error, Grid, Window};

use crate::{
    Result,
    blocks::{Blocks, Run},
    classifier::{HeadInit, HeadStyle, Trunk},
    layers::{LayerNorm, PatchEmbed},
    model::{Context, Images},
};

/// Images to tokens.
pub trait Stem<const C: usize, E: Dtype, D: Backend<E>>: TensorCollection<E, D> {
    /// images: `[batch, 3, height, width]`; result: `[batch, tokens, C]`, row by row, and the grid of the tokens.
    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)>;
}

/// EIT's patches projection: a `K x K` convolution with stride `S` and padding `K / 2`, then max pooling over `P x P`.
///
/// The grid is what comes out: 19 x 19 for 16/4/3 at 224 pixels. State-dict names `eit_p.conv.weight`, `eit_p.conv.bias`.
#[derive(Clone, Debug)]
pub struct OverlappingPatches<
    const C: usize,
    const K: usize,
    const S: usize,
    const P: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// `[C, 3, K, K]`
    pub weight: Tensor<Rank4<C, 3, K, K>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for OverlappingPatches<C, K, S, P, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = OverlappingPatches<C, K, S, P, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        // He's rule over the fan out.
        let he = TensorOptions::reset_with(|t| {
            t.try_fill_with_distr(Normal { std: (2.0 / (C * K * K) as f64).sqrt() })
        });
        visitor.visit_fields(
            (
                Self::tensor("eit_p.conv.weight", |s| &s.weight, |s| &mut s.weight, he),
                Self::tensor(
                    "eit_p.conv.bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_to_zeros(),
                ),
            ),
            |(weight, bias)| OverlappingPatches { weight, bias },
        )
    }
}

impl<const C: usize, const K: usize, const S: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D>
    for OverlappingPatches<C, K, S, P, E, D>
{
    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)> {
        let device = images.device().clone();
        let window = Window::square(K, S, K / 2);
        let (map, grid) =
            device.conv2d_images(images, &self.weight, Some(&self.bias), window, image_gradient)?;
        device.max_pool2d(map, grid, Window::square(P, P, 0))
    }
}

impl<const C: usize, const P: usize, E: Dtype, D: Backend<E>> Stem<C, E, D> for PatchEmbed<C, P, E, D> {
    fn tokens<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        image_gradient: bool,
    ) -> inductive_ops::Result<(Tokens<C, E, D, T>, Grid)> {
        let (_, _, height, width) = *images.shape();
        let grid = Grid { rows: height / P.max(1), cols: width / P.max(1) };
        Ok((self.apply(images, image_gradient)?, grid))
    }
}

/// The trunk of EIT: tokens from `STEM`, the class token, with `POS` a learned position embedding, `BLOCKS`; the features
/// are the class token after the final norm.
///
/// For images of `HEIGHT x WIDTH` pixels, `TOKENS` with the class token. The authors' EIT has no position embedding.
#[derive(Clone, Debug)]
pub struct Eit<
    STEM,
    BLOCKS,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const POS: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// `[1, 1, C]`
    pub cls_token: Tensor<Rank3<1, 1, C>, E, D>,
    /// `[1, TOKENS, C]`, present if `POS`.
    pub pos_embed: Option<Tensor<Rank3<1, TOKENS, C>, E, D>>,
    /// Images to tokens.
    pub patch_embed: STEM,
    /// The blocks, of types that differ in their channels.
    pub blocks: BLOCKS,
    /// Before the head.
    pub norm: LayerNorm<C, E, D>,
}

impl<
    STEM: TensorCollection<E, D>,
    BLOCKS: TensorCollection<E, D>,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const POS: bool,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Eit<STEM, BLOCKS, C, HEIGHT, WIDTH, ROWS, COLS, TOKENS, POS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> =
        Eit<STEM::To<E2, D2>, BLOCKS::To<E2, D2>, C, HEIGHT, WIDTH, ROWS, COLS, TOKENS, POS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(TOKENS == ROWS * COLS + 1, "one token per patch and the class token") };
        let position = POS.then(|| {
            Self::tensor(
                "pos_embed",
                |s| s.pos_embed.as_ref().expect("POS is true"),
                |s| s.pos_embed.as_mut().expect("POS is true"),
                TensorOptions::reset_with(normal),
            )
        });
        visitor.visit_fields(
            (
                Self::tensor(
                    "cls_token",
                    |s| &s.cls_token,
                    |s| &mut s.cls_token,
                    TensorOptions::reset_with(normal),
                ),
                position.into_iter().collect::<Vec<_>>(),
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                Self::module("blocks", |s| &s.blocks, |s| &mut s.blocks),
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
            ),
            |(cls_token, pos_embed, patch_embed, blocks, norm)| Eit {
                cls_token,
                pos_embed: pos_embed.into_iter().next(),
                patch_embed,
                blocks,
                norm,
            },
        )
    }
}

impl<
    STEM,
    BLOCKS,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const POS: bool,
    E: Dtype,
    D: Device<E>,
> HeadStyle for Eit<STEM, BLOCKS, C, HEIGHT, WIDTH, ROWS, COLS, TOKENS, POS, E, D>
{
}

impl<
    STEM: Stem<C, E, D>,
    BLOCKS: Blocks<C, E, D>,
    const C: usize,
    const HEIGHT: usize,
    const WIDTH: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const POS: bool,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for Eit<STEM, BLOCKS, C, HEIGHT, WIDTH, ROWS, COLS, TOKENS, POS, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (HEIGHT, WIDTH))?;
        context.start_record();
        let drop_paths = context.block_drop_paths(BLOCKS::DEPTH)?;
        let (tokens, grid) = self.patch_embed.tokens(images, context.image_gradient)?;
        let layout = self.layout(0);
        if grid != layout.grid {
            return Err(Error::shape("Eit", format!("a {} grid of patches", layout.grid), grid).into());
        }
        let mut tokens = device.prepend_token(tokens, &self.cls_token)?;
        if let Some(position) = &self.pos_embed {
            tokens = device.add_position(tokens, position)?;
        }
        let run = Run { layout: &layout, drop_paths: &drop_paths };
        let tokens = self.blocks.run(tokens, run, context.record)?;
        Ok(self.norm.apply(device.select_token(tokens, 0)?)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::with_class_token(Grid { rows: ROWS, cols: COLS })
    }
}

/// A trunk with EIT's representation layer on top, `tanh(W x + b)`: features of width `R`.
#[derive(Clone, Debug)]
pub struct Represented<M, const C: usize, const R: usize, E: Dtype, D: Device<E>> {
    /// The trunk below.
    pub trunk: M,
    /// `pre_logits.fc`
    pub fc: Linear<C, R, true, E, D>,
}

impl<M: TensorCollection<E, D>, const C: usize, const R: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Represented<M, C, R, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Represented<M::To<E2, D2>, C, R, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("", |s| &s.trunk, |s| &mut s.trunk),
                Self::module("pre_logits.fc", |s| &s.fc, |s| &mut s.fc),
            ),
            |(trunk, fc)| Represented { trunk, fc },
        )
    }
}

impl<M: HeadStyle, const C: usize, const R: usize, E: Dtype, D: Device<E>> HeadStyle
    for Represented<M, C, R, E, D>
{
    const NAME: &'static str = M::NAME;
    const INIT: HeadInit = M::INIT;
}

impl<M: Trunk<C, E, D>, const C: usize, const R: usize, E: Dtype, D: Backend<E>> Trunk<R, E, D>
    for Represented<M, C, R, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<R>), E, D, T>> {
        let features = self.fc.apply_flat(self.trunk.features(images, context)?)?;
        Ok(features.try_tanh().map_err(|e| Error::device("pre_logits", e))?)
    }

    fn gates(&self) -> Vec<Vec<f64>> {
        self.trunk.gates()
    }

    fn layout(&self, index: usize) -> Layout {
        self.trunk.layout(index)
    }
}
