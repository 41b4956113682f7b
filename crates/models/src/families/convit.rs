//! ConViT (d'Ascoli et al., ICML 2021, arXiv 2103.10697): gated positional self-attention in the first layers, a class
//! token and plain self-attention in the last.

use dfdx::prelude::*;
use inductive_nn::{AnyBlock, Block, Build, Fill, Gpsa, LocalInit, Mhsa, PatchEmbed, Stem};
use inductive_ops::Backend;

use super::{repeated, with_head};
use crate::{
    Attention, ConvitSpec, Error, Family, ModelSpec, Result,
    entry::Entry,
    registry::{Built, Named},
    transformer::{Features, Joins, Position, Transformer},
};

/// The trunk of ConViT: blocks of [`Gpsa`] on the patches, as many as `spec` says, then the class token joins, then
/// blocks of [`Mhsa`]; the features are the class token after the final norm. `C` channels, `H` heads, patches of `P x P` pixels.
///
/// The position embedding goes to the patches only. No gated blocks are the paper's DeiT control ("local_up_to_layer" 0: the
/// class token is there from the start; without the query bias and class position of the real DeiT, [`super::vit`]).
/// timm equivalent: `timm.models.convit.ConVit(embed_dim=C / H, num_heads=H, depth=.., local_up_to_layer=..)`; there
/// `embed_dim` is the width of a head.
///
/// # Errors
/// [`Error::Option`] if no block is left for the class token; an image that patches do not cover; a device without memory for it.
pub fn convit<
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
    with_gated::<C, H, HIDDEN, P, E, D>(device, spec, 1.0).map(|(trunk, _)| trunk)
}

/// [`convit`] whose gated blocks begin as soft convolutions of this strength, and what that did.
#[allow(clippy::type_complexity)]
fn with_gated<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const P: usize,
    E: Dtype,
    D: Backend<E>,
>(
    device: &D,
    spec: &ModelSpec,
    strength: f64,
) -> Result<(Transformer<PatchEmbed<C, P, E, D>, C, E, D>, Option<LocalInit>)> {
    type Local<const C: usize, const H: usize, const HIDDEN: usize, E, D> =
        Block<Gpsa<C, H, false, E, D>, C, HIDDEN, E, D>;
    type Global<const C: usize, const H: usize, const HIDDEN: usize, E, D> =
        Block<Mhsa<C, H, false, E, D>, C, HIDDEN, E, D>;
    let local = spec.local_up_to_layer().unwrap_or(0);
    if local >= spec.depth {
        let what = format!("{local} of {} layers gated: the class token would never join", spec.depth);
        return Err(Error::Option { model: spec.name.clone(), what });
    }
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    let patches = PatchEmbed::<C, P, E, D>::grid(spec.image)?.tokens();
    let position = Position::learned(device, patches)?;
    let stem = Build::new(device)?;
    let mut plan = None;
    let mut blocks: Vec<Box<dyn AnyBlock<C, E, D>>> = Vec::with_capacity(spec.depth);
    for _ in 0..local {
        let mut block = Local::<C, H, HIDDEN, E, D>::new(device)?;
        plan = Some(block.attn.local_init(strength)?);
        blocks.push(Box::new(block));
    }
    blocks.extend(repeated::<Global<C, H, HIDDEN, E, D>, C, E, D>(device, spec.depth.saturating_sub(local))?);
    let trunk = Transformer::new(device, stem, blocks, spec.image, Features::ClassToken)?
        .class_token(token, Joins::BeforeBlock(local))
        .positions(position);
    Ok((trunk, plan))
}

/// One table: name, width, heads, patch, side of the grid, depth, default `local_up_to_layer`.
macro_rules! zoo {
    ($($name:literal: $c:literal, $h:literal, $p:literal, $g:literal, $depth:literal, $local:literal;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$(Named::new(entry($name, [$c, $p, $g, $depth], $h, $local), |device, spec, options| {
                let (trunk, plan) =
                    with_gated::<$c, $h, { 4 * $c }, $p, f32, D>(device, &spec, options.locality_strength)?;
                let built = with_head::<_, $c, D>(device, trunk, spec, options)?;
                Ok(Built { warnings: plan.and_then(|plan| plan.warning()).into_iter().collect(), ..built })
            })),*]
        }
    };
}

fn entry(name: &str, sizes: [usize; 4], heads: usize, local_up_to_layer: usize) -> Entry {
    let convit = ConvitSpec { attention: Attention { heads, ..Attention::default() }, local_up_to_layer };
    Entry::new(super::spec(name, sizes, Family::Convit(convit))).with_init_by_width()
}

zoo! {
    // ConViT Table 1
    "convit_tiny": 192, 4, 16, 14, 12, 10;
    "convit_small": 432, 9, 16, 14, 12, 10;
    "convit_base": 768, 16, 16, 14, 12, 10;
    "convit_tiny_plus": 256, 4, 16, 14, 12, 10;
    "convit_small_plus": 576, 9, 16, 14, 12, 10;
    "convit_base_plus": 1024, 16, 16, 14, 12, 10;
    // the same at 32 pixels, 8 x 8 patches
    "convit_tiny_patch4_32": 192, 4, 4, 8, 12, 10;
    "convit_small_patch4_32": 432, 9, 4, 8, 12, 10;
    "convit_base_patch4_32": 768, 16, 4, 8, 12, 10;
    "convit_tiny_plus_patch4_32": 256, 4, 4, 8, 12, 10;
    "convit_small_plus_patch4_32": 576, 9, 4, 8, 12, 10;
    "convit_base_plus_patch4_32": 1024, 16, 4, 8, 12, 10;
    // for two CPU cores: 3 gated layers and 1 plain one keep about the paper's ratio of 10 to 2
    "convit_micro": 96, 4, 4, 8, 4, 3;
    "convit_micro_3heads": 96, 3, 4, 8, 4, 3;
}
