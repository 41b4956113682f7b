//! A staged network whose layers begin as convolutions and can become attention one by one: what progressive
//! reparameterization scheduling (PRS, arXiv 2210.01370) needs.

use dfdx::prelude::*;
use inductive_nn::{Block, Build, PatchEmbed, SwitchMixer};
use inductive_ops::Backend;

use super::{repeated, with_head};
use crate::{
    Family, ModelSpec, Result, StagesSpec,
    entry::Entry,
    registry::Named,
    stage::Stage,
    transformer::{Features, Transformer},
};

/// Patches, blocks of `C1` channels, from there to `C2`.
type First<const C1: usize, const C2: usize, const P: usize, E, D> =
    Stage<PatchEmbed<C1, P, E, D>, C1, C2, E, D>;

/// The trunk: patches of `P x P` pixels; pre-norm blocks of `C1` channels, a [`Downsample`](crate::Downsample), blocks of `C2` channels; the
/// features are the mean of the tokens, normalised. `blocks`: of each stage.
///
/// A block is `x + mixer(norm(x))`, `x + mlp(norm(x))`, and the mixer a [`SwitchMixer`]: a 3x3 convolution that can become
/// attention with 9 heads. There is no position embedding: convolution and attention both tell positions by their offsets.
///
/// The paper's own architecture was not available to us: this is ours. State-dict names `patch_embed.proj`,
/// `stages.0.blocks.0.norm1`, `stages.0.blocks.0.mixer`, `stages.1.downsample.proj`, `norm`, `head`.
///
/// # Errors
/// An image that patches do not cover, or that has fewer than 2 x 2; a device without memory for it.
pub fn prs<
    const C1: usize,
    const HIDDEN1: usize,
    const C2: usize,
    const HIDDEN2: usize,
    const P: usize,
    E: Dtype,
    D: Backend<E>,
>(
    device: &D,
    spec: &ModelSpec,
    blocks: [usize; 2],
) -> Result<Transformer<First<C1, C2, P, E, D>, C2, E, D>> {
    type Switching<const C: usize, const HIDDEN: usize, E, D> = Block<SwitchMixer<C, E, D>, C, HIDDEN, E, D>;
    let stem = Stage {
        stem: Build::new(device)?,
        blocks: repeated::<Switching<C1, HIDDEN1, E, D>, C1, E, D>(device, blocks[0])?,
        downsample: Build::new(device)?,
        number: 0,
    };
    let late = repeated::<Switching<C2, HIDDEN2, E, D>, C2, E, D>(device, blocks[1])?;
    let trunk = Transformer::new(device, stem, late, spec.image, Features::NormOfMean)?;
    Ok(trunk.named("stages.1.blocks", "norm"))
}

/// One table: name, channels and blocks of each stage, patch, side of the image.
macro_rules! zoo {
    ($($name:literal: [$c1:literal, $n1:literal], [$c2:literal, $n2:literal], $p:literal, $side:literal;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$(Named::new(entry($name, [$c1, $c2], [$n1, $n2], $p, $side), |device, spec, options| {
                let blocks = [$n1, $n2];
                let trunk = prs::<$c1, { 4 * $c1 }, $c2, { 4 * $c2 }, $p, f32, D>(device, &spec, blocks)?;
                with_head::<_, $c2, D>(device, trunk, spec, options)
            })),*]
        }
    };
}

fn entry(name: &str, widths: [usize; 2], blocks: [usize; 2], patch: usize, side: usize) -> Entry {
    let stages = StagesSpec { widths: widths.to_vec(), blocks: blocks.to_vec(), mlp_ratio: 4.0 };
    let sizes = [widths[1], patch, side / patch, blocks.iter().sum()];
    Entry::new(super::spec(name, sizes, Family::Prs(stages))).with_init("lecun")
}

zoo! {
    // 14 x 14 and 7 x 7 tokens
    "prs_tiny_patch16_224": [192, 6], [384, 6], 16, 224;
    // 8 x 8 and 4 x 4 tokens
    "prs_tiny_patch4_32": [192, 6], [384, 6], 4, 32;
    // for two CPU cores
    "prs_micro": [48, 3], [96, 3], 4, 32;
    "prs_nano": [32, 3], [64, 3], 4, 32;
}
