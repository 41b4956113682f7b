//! ViT without class token: the mean of all tokens is what the head sees, positions are sines and cosines.

use dfdx::prelude::*;
use inductive_init::SinCos;
use inductive_nn::{Block, Build, Mhsa, PatchEmbed, Stem};
use inductive_ops::Backend;

use super::repeated;
use crate::{
    ModelSpec, Pool, Result,
    entry::Entry,
    transformer::{Features, Position, Transformer},
};

/// The trunk of arXiv 2404.01139: fixed positions for the patches, blocks of [`Mhsa`]; the features are the mean of the tokens,
/// normalised. `C` channels, `H` heads, patches of `P x P` pixels.
///
/// The position embedding is [`SinCos::Timm`]'s: it is saved, not trained.
/// timm equivalent: `VisionTransformer(patch_size=P, embed_dim=C, num_heads=H, depth=.., qkv_bias=True, class_token=False,
/// global_pool="avg")`, where the position embedding is a parameter.
///
/// # Errors
/// An image that patches do not cover; a device without memory for it.
pub fn pooled_vit<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const P: usize,
    E: Dtype,
    D: Backend<E>,
>(
    device: &D,
    spec: &ModelSpec,
) -> Result<Transformer<PatchEmbed<C, P, E, D>, C, E, D>> {
    let grid = PatchEmbed::<C, P, E, D>::grid(spec.image)?;
    let embedding = SinCos::Timm.embedding(grid, C)?;
    let position = Position::fixed(device, grid.tokens(), embedding.values())?;
    let stem = Build::new(device)?;
    let blocks = repeated::<Block<Mhsa<C, H, true, E, D>, C, HIDDEN, E, D>, C, E, D>(device, spec.depth)?;
    Ok(Transformer::new(device, stem, blocks, spec.image, Features::NormOfMean)?
        .positions(position)
        .named("blocks", "fc_norm"))
}

fn entry(name: &str, sizes: [usize; 4], heads: usize) -> Entry {
    super::vit::read_by(name, sizes, heads, Pool::Average)
}

zoo! { pooled_vit;
    // arXiv 2404.01139's sizes; heads other than one per 64 channels are in the name
    "vit_tiny_patch16_gap_224": 192, 3, 16, 14, 12;
    "vit_tiny_patch2_gap_32": 192, 3, 2, 16, 12;
    "vit_tiny_patch2_gap_32_8heads": 192, 8, 2, 16, 12;
    "vit_small_patch2_gap_32": 384, 6, 2, 16, 12;
    "vit_small_patch2_gap_32_16heads": 384, 16, 2, 16, 12;
    "vit_tiny_patch4_gap_32": 192, 3, 4, 8, 12;
    // for two CPU cores
    "vit_micro_gap": 96, 4, 4, 8, 4;
    "vit_micro_gap_3heads": 96, 3, 4, 8, 4;
    "vit_micro_gap_6heads": 96, 6, 4, 8, 4;
    "vit_micro_gap_12heads": 96, 12, 4, 8, 4;
}
