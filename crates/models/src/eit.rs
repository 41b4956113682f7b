//! EIT (Xia et al., arXiv 2203.07116): overlapping patches by convolution and pooling, and a convolution beside attention
//! that has fewer channels in every layer.

use dfdx::prelude::*;
use inductive_attention::{Layout, Linear, normal};
use inductive_ops::{Backend, Error, Grid, Parameters};

use crate::{
    EitSpec, ModelSpec, Pool, Result,
    blocks::{Blocks, Run},
    classifier::{HeadInit, HeadStyle, Trunk},
    layers::LayerNorm,
    model::{Context, Images},
    stem::Stem,
};

/// The trunk of EIT: tokens from `STEM`, the class token, with `POS` a learned position embedding, `BLOCKS`; the features
/// are the class token after the final norm.
///
/// For images of `HEIGHT x WIDTH` pixels, `TOKENS` with the class token. The authors' EIT has no position embedding.
///
/// dfdx's `build` gives linear layers timm's initial weights. The authors' are had by [`Stem::initialise`] on `patch_embed`
/// and, when the head is on, [`halve_linear_weights`]; models built by name have them.
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
        const { assert!(BLOCKS::FIRST == 0, "blocks are numbered from 0") };
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
        context.keep_stem("patch_embed", &layout, &tokens);
        let run = Run { layout: &layout, drop_paths: &drop_paths };
        let tokens = self.blocks.run(tokens, run, context.record)?;
        Ok(self.norm.apply(device.select_token(tokens, 0)?)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::with_class_token(Grid { rows: ROWS, cols: COLS })
    }
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
> Eit<STEM, BLOCKS, C, HEIGHT, WIDTH, ROWS, COLS, TOKENS, POS, E, D>
{
    /// What the type says of itself, with 1000 classes; `heads` in every layer of attention.
    pub fn spec(name: &str, heads: usize) -> ModelSpec {
        ModelSpec {
            name: name.to_owned(),
            family: "eit".to_owned(),
            image: (HEIGHT, WIDTH),
            patch: STEM::STRIDE,
            embed_dim: C,
            heads,
            depth: BLOCKS::DEPTH,
            local_up_to_layer: 0,
            mlp_ratio: 4.0,
            qkv_bias: true,
            pool: Pool::Token,
            classes: 1000,
            resnet: None,
            convmixer: None,
            stages: None,
            eit: Some(EitSpec {
                overlap: STEM::OVERLAP,
                conv_channels: BLOCKS::conv_channels(),
                position_embedding: POS,
                representation: None,
            }),
        }
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

/// Halves every linear layer's weights: from timm's initialisation, N(0, 0.02^2), which all models here are built with,
/// to that of EIT, N(0, 0.01^2). For a model with its head.
///
/// # Errors
/// A device that cannot copy.
pub fn halve_linear_weights<E: Dtype, D: Backend<E>, M: Parameters<E, D> + ?Sized>(
    model: &mut M,
) -> inductive_ops::Result<()> {
    let half = E::from_f64(0.5).unwrap_or_default();
    model.for_each_parameter_mut(&mut |p| match p.shape().len() {
        // Linear weights alone are matrices: convolutions have four axes, tokens and positions three.
        2 => p.copy_from(&p.to_vec().into_iter().map(|w| w * half).collect::<Vec<_>>()),
        _ => Ok(()),
    })
}
