//! ViT (Dosovitskiy et al., arXiv 2010.11929) in the form of DeiT (Touvron et al., arXiv 2012.12877).

use dfdx::prelude::*;
use inductive_nn::{Block, Build, Fill, Mhsa, PatchEmbed, Stem};
use inductive_ops::Backend;

use super::repeated;
use crate::{
    Attention, Family, ModelSpec, Pool, Result,
    entry::Entry,
    transformer::{Features, Joins, Position, Transformer},
};

/// The trunk of ViT and DeiT: the class token first, learned positions for all tokens, blocks of [`Mhsa`]; the features are the
/// class token after the final norm. `C` channels, `H` heads, patches of `P x P` pixels.
///
/// timm equivalent: `VisionTransformer(patch_size=P, embed_dim=C, num_heads=H, depth=.., qkv_bias=True)`.
///
/// # Errors
/// An image that patches do not cover; a device without memory for it.
pub fn vit<const C: usize, const H: usize, const HIDDEN: usize, const P: usize, E: Dtype, D: Backend<E>>(
    device: &D,
    spec: &ModelSpec,
) -> Result<Transformer<PatchEmbed<C, P, E, D>, C, E, D>> {
    // timm: normal_(cls_token, std=1e-6)
    let token = Fill::Normal(1e-6).tensor(device, (Const, Const, Const))?;
    let patches = PatchEmbed::<C, P, E, D>::grid(spec.image)?.tokens();
    let position = Position::learned(device, patches + 1)?;
    let stem = Build::new(device)?;
    let blocks = repeated::<Block<Mhsa<C, H, true, E, D>, C, HIDDEN, E, D>, C, E, D>(device, spec.depth)?;
    Ok(Transformer::new(device, stem, blocks, spec.image, Features::ClassToken)?
        .class_token(token, Joins::BeforePositions)
        .positions(position))
}

fn entry(name: &str, sizes: [usize; 4], heads: usize) -> Entry {
    read_by(name, sizes, heads, Pool::Token)
}

/// A ViT whose head sees what `pool` makes of the tokens.
pub(super) fn read_by(name: &str, sizes: [usize; 4], heads: usize, pool: Pool) -> Entry {
    let attention = Attention { heads, qkv_bias: true, pool, ..Attention::default() };
    Entry::new(super::spec(name, sizes, Family::Vit(attention))).with_init_by_width()
}

zoo! { vit;
    "deit_tiny_patch16_224": 192, 3, 16, 14, 12;
    "deit_small_patch16_224": 384, 6, 16, 14, 12;
    "deit_base_patch16_224": 768, 12, 16, 14, 12;
    "deit_tiny_plus_patch16_224": 256, 4, 16, 14, 12;
    "deit_small_plus_patch16_224": 576, 9, 16, 14, 12;
    "deit_base_plus_patch16_224": 1024, 16, 16, 14, 12;
    "deit_tiny_patch4_32": 192, 3, 4, 8, 12;
    "deit_small_patch4_32": 384, 6, 4, 8, 12;
    "deit_base_patch4_32": 768, 12, 4, 8, 12;
    "deit_tiny_plus_patch4_32": 256, 4, 4, 8, 12;
    "deit_small_plus_patch4_32": 576, 9, 4, 8, 12;
    "deit_base_plus_patch4_32": 1024, 16, 4, 8, 12;
    "deit_micro": 96, 4, 4, 8, 4;
}
