//! ConViT (d'Ascoli et al., ICML 2021, arXiv 2103.10697): gated positional self-attention in the first layers, a class
//! token and plain self-attention in the last.

use dfdx::prelude::*;
use inductive_attention::{Gpsa, Layout, LocalInit, Mhsa, normal};
use inductive_ops::{Backend, Grid, Readout};

use crate::{
    Result,
    block::Block,
    classifier::{HeadStyle, Trunk},
    layers::{LayerNorm, PatchEmbed},
    model::{Context, Images},
};

/// The trunk of ConViT: `LOCAL` blocks of [`Gpsa`] on the patches, then the class token joins, then `GLOBAL` blocks of
/// [`Mhsa`]; the features are the class token after the final norm.
///
/// The position embedding goes to the patches only. `LOCAL = 0` is the paper's DeiT control ("local_up_to_layer" 0: the
/// class token is there from the start; without the query bias and class position of the real DeiT, [`crate::Vit`]).
/// timm equivalent: `timm.models.convit.ConVit(embed_dim=C / H, num_heads=H, depth=LOCAL + GLOBAL,
/// local_up_to_layer=LOCAL)`; there `embed_dim` is the width of a head.
#[derive(Clone, Debug)]
pub struct Convit<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// `[1, 1, C]`
    pub cls_token: Tensor<Rank3<1, 1, C>, E, D>,
    /// `[1, ROWS, COLS, C]`; a checkpoint holds `[1, ROWS * COLS, C]`.
    pub pos_embed: Tensor<Rank4<1, ROWS, COLS, C>, E, D>,
    /// Images to tokens.
    pub patch_embed: PatchEmbed<C, P, E, D>,
    /// Blocks `0..LOCAL`.
    pub local: Vec<Block<Gpsa<C, H, QKV_BIAS, E, D>, C, HIDDEN, E, D>>,
    /// Blocks `LOCAL..LOCAL + GLOBAL`.
    pub global: Vec<Block<Mhsa<C, H, QKV_BIAS, E, D>, C, HIDDEN, E, D>>,
    /// Before the head.
    pub norm: LayerNorm<C, E, D>,
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Convit<C, H, HIDDEN, LOCAL, GLOBAL, P, ROWS, COLS, QKV_BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Convit<C, H, HIDDEN, LOCAL, GLOBAL, P, ROWS, COLS, QKV_BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(GLOBAL > 0, "without a layer of plain self-attention the class token would never join") };
        let names: Vec<String> = (0..LOCAL + GLOBAL).map(|i| format!("blocks.{i}")).collect();
        let (local, global) = names.split_at(LOCAL);
        let local: Vec<_> = local
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.local[i], move |s| &mut s.local[i]))
            .collect();
        let global: Vec<_> = global
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.global[i], move |s| &mut s.global[i]))
            .collect();
        visitor.visit_fields(
            (
                Self::tensor(
                    "cls_token",
                    |s| &s.cls_token,
                    |s| &mut s.cls_token,
                    TensorOptions::reset_with(normal),
                ),
                Self::tensor(
                    "pos_embed",
                    |s| &s.pos_embed,
                    |s| &mut s.pos_embed,
                    TensorOptions::reset_with(normal),
                ),
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                local,
                global,
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
            ),
            |(cls_token, pos_embed, patch_embed, local, global, norm)| Convit {
                cls_token,
                pos_embed,
                patch_embed,
                local,
                global,
                norm,
            },
        )
    }
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> Convit<C, H, HIDDEN, LOCAL, GLOBAL, P, ROWS, COLS, QKV_BIAS, E, D>
{
    const GRID: Grid = Grid { rows: ROWS, cols: COLS };

    /// Makes every gated layer a soft convolution; see [`Gpsa::local_init`]. `None` without gated layers.
    pub fn local_init(&mut self, strength: f64) -> Result<Option<LocalInit>> {
        let mut plan = None;
        for block in &mut self.local {
            plan = Some(block.attn.local_init(strength)?);
        }
        Ok(plan)
    }
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> HeadStyle for Convit<C, H, HIDDEN, LOCAL, GLOBAL, P, ROWS, COLS, QKV_BIAS, E, D>
{
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for Convit<C, H, HIDDEN, LOCAL, GLOBAL, P, ROWS, COLS, QKV_BIAS, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (ROWS * P, COLS * P))?;
        context.start_record();
        let drop_paths = context.block_drop_paths(LOCAL + GLOBAL)?;
        let (local, global) = drop_paths.split_at(LOCAL);
        let mut tokens = self.patch_embed.apply(images, context.image_gradient)?;
        tokens = device.add_position(tokens, &self.pos_embed)?;
        context.keep_stem("patch_embed", &Layout::patches(Self::GRID), &tokens);
        for (i, (block, drop_path)) in self.local.iter().zip(local).enumerate() {
            tokens = block.apply(
                tokens,
                &self.layout(i),
                Readout::All,
                *drop_path,
                context.record.as_deref_mut(),
            )?;
        }
        tokens = device.prepend_token(tokens, &self.cls_token)?;
        for (i, (block, drop_path)) in self.global.iter().zip(global).enumerate() {
            let readout = context.readout(i, GLOBAL);
            let record = context.record.as_deref_mut();
            tokens = block.apply(tokens, &self.layout(LOCAL + i), readout, *drop_path, record)?;
        }
        Ok(self.norm.apply(device.select_token(tokens, 0)?)?)
    }

    fn gates(&self) -> Vec<Vec<f64>> {
        self.local.iter().map(|block| block.attn.gates()).collect()
    }

    fn layout(&self, index: usize) -> Layout {
        if index < LOCAL { Layout::patches(Self::GRID) } else { Layout::with_class_token(Self::GRID) }
    }
}
