//! ViT (Dosovitskiy et al., arXiv 2010.11929) in the form of DeiT (Touvron et al., arXiv 2012.12877).

use dfdx::prelude::*;
use inductive_attention::{Layout, Mhsa, Normal, normal};
use inductive_ops::{Backend, Grid};

use crate::{
    Result,
    block::Block,
    classifier::{HeadStyle, Trunk},
    layers::{LayerNorm, PatchEmbed},
    model::{Context, Images},
};

/// The trunk of ViT and DeiT: the class token first, learned positions for all `TOKENS = ROWS * COLS + 1` tokens, `DEPTH`
/// blocks of [`Mhsa`]; the features are the class token after the final norm.
///
/// timm equivalent: `VisionTransformer(patch_size=P, embed_dim=C, num_heads=H, depth=DEPTH, qkv_bias=QKV_BIAS)`.
#[derive(Clone, Debug)]
pub struct Vit<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> {
    /// `[1, 1, C]`
    pub cls_token: Tensor<Rank3<1, 1, C>, E, D>,
    /// `[1, TOKENS, C]`
    pub pos_embed: Tensor<Rank3<1, TOKENS, C>, E, D>,
    /// Images to tokens.
    pub patch_embed: PatchEmbed<C, P, E, D>,
    /// `DEPTH` blocks.
    pub blocks: Vec<Block<Mhsa<C, H, QKV_BIAS, E, D>, C, HIDDEN, E, D>>,
    /// Before the head.
    pub norm: LayerNorm<C, E, D>,
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Vit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Vit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(TOKENS == ROWS * COLS + 1, "one position per patch and one for the class token") };
        let names: Vec<String> = (0..DEPTH).map(|i| format!("blocks.{i}")).collect();
        let blocks: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
            .collect();
        // timm: normal_(cls_token, std=1e-6)
        let cls = TensorOptions::reset_with(|t| t.try_fill_with_distr(Normal { std: 1e-6 }));
        visitor.visit_fields(
            (
                Self::tensor("cls_token", |s| &s.cls_token, |s| &mut s.cls_token, cls),
                Self::tensor(
                    "pos_embed",
                    |s| &s.pos_embed,
                    |s| &mut s.pos_embed,
                    TensorOptions::reset_with(normal),
                ),
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                blocks,
                Self::module("norm", |s| &s.norm, |s| &mut s.norm),
            ),
            |(cls_token, pos_embed, patch_embed, blocks, norm)| Vit {
                cls_token,
                pos_embed,
                patch_embed,
                blocks,
                norm,
            },
        )
    }
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Device<E>,
> HeadStyle for Vit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
{
}

impl<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const DEPTH: usize,
    const P: usize,
    const ROWS: usize,
    const COLS: usize,
    const TOKENS: usize,
    const QKV_BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> Trunk<C, E, D> for Vit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
{
    fn features<T: Tape<E, D>>(
        &self,
        images: Images<E, D, T>,
        mut context: Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        let device = images.device().clone();
        crate::model::check_image(&images, (ROWS * P, COLS * P))?;
        context.start_record();
        let drop_paths = context.block_drop_paths(DEPTH)?;
        let mut tokens = self.patch_embed.apply(images, context.image_gradient)?;
        tokens = device.prepend_token(tokens, &self.cls_token)?;
        tokens = device.add_position(tokens, &self.pos_embed)?;
        context.keep_stem("patch_embed", &self.layout(0), &tokens);
        for (i, (block, drop_path)) in self.blocks.iter().zip(drop_paths).enumerate() {
            tokens = block.apply(
                tokens,
                &self.layout(i),
                context.readout(i, DEPTH),
                drop_path,
                context.record.as_deref_mut(),
            )?;
        }
        Ok(self.norm.apply(device.select_token(tokens, 0)?)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::with_class_token(Grid { rows: ROWS, cols: COLS })
    }
}
