//! ViT without class token: the mean of all tokens is what the head sees, positions are sines and cosines.

use dfdx::prelude::*;
use inductive_attention::{Layout, Mhsa};
use inductive_init::SinCos;
use inductive_ops::{Backend, Grid, Readout};

use crate::{
    Result,
    block::Block,
    blocks::Repeat,
    classifier::{HeadStyle, Trunk},
    layers::{LayerNorm, PatchEmbed},
    model::{Context, Images},
};

/// The trunk of arXiv 2404.01139: fixed positions for `TOKENS = ROWS * COLS` patches, `DEPTH` blocks of [`Mhsa`]; the features
/// are the mean of the tokens, normalised.
///
/// The position embedding is [`SinCos::Timm`]'s: it is saved, not trained.
/// timm equivalent: `VisionTransformer(patch_size=P, embed_dim=C, num_heads=H, depth=DEPTH, qkv_bias=QKV_BIAS,
/// class_token=False, global_pool="avg")`, where the position embedding is a parameter.
#[derive(Clone, Debug)]
pub struct PooledVit<
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
    /// `[1, TOKENS, C]`, not trainable.
    pub pos_embed: Tensor<Rank3<1, TOKENS, C>, E, D>,
    /// Images to tokens.
    pub patch_embed: PatchEmbed<C, P, E, D>,
    /// The blocks.
    pub blocks: Repeat<DEPTH, Block<Mhsa<C, H, QKV_BIAS, E, D>, C, HIDDEN, E, D>>,
    /// After the mean.
    pub fc_norm: LayerNorm<C, E, D>,
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
> TensorCollection<E, D> for PooledVit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> =
        PooledVit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { assert!(TOKENS == ROWS * COLS, "one position per patch") };
        const { assert!(C.is_multiple_of(4), "sines and cosines of two coordinates") };
        let position = TensorOptions::detached(|t: &mut Tensor<_, E, D>| {
            let embedding = SinCos::Timm.embedding(Grid { rows: ROWS, cols: COLS }, C);
            // Asserted above: the width is right, and a grid without patches leaves nothing to fill.
            let values =
                embedding.map(|e| e.values().iter().map(|v| E::from_f64(*v).unwrap_or_default()).collect());
            t.copy_from(&values.unwrap_or_else(|_| vec![E::default(); TOKENS * C]));
            Ok(())
        });
        visitor.visit_fields(
            (
                Self::tensor("pos_embed", |s| &s.pos_embed, |s| &mut s.pos_embed, position),
                Self::module("patch_embed", |s| &s.patch_embed, |s| &mut s.patch_embed),
                Self::module("blocks", |s| &s.blocks, |s| &mut s.blocks),
                Self::module("fc_norm", |s| &s.fc_norm, |s| &mut s.fc_norm),
            ),
            |(pos_embed, patch_embed, blocks, fc_norm)| PooledVit { pos_embed, patch_embed, blocks, fc_norm },
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
> HeadStyle for PooledVit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
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
> Trunk<C, E, D> for PooledVit<C, H, HIDDEN, DEPTH, P, ROWS, COLS, TOKENS, QKV_BIAS, E, D>
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
        tokens = device.add_position(tokens, &self.pos_embed)?;
        context.keep_stem("patch_embed", &self.layout(0), &tokens);
        for (block, drop_path) in self.blocks.blocks.iter().zip(drop_paths) {
            // All tokens are used after the last block too.
            let record = context.record.as_deref_mut();
            tokens = block.apply(tokens, &self.layout(0), Readout::All, drop_path, record)?;
        }
        Ok(self.fc_norm.apply(device.mean_tokens(tokens, 0)?)?)
    }

    fn layout(&self, _: usize) -> Layout {
        Layout::patches(Grid { rows: ROWS, cols: COLS })
    }
}
