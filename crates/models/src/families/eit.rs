//! EIT (Xia et al., arXiv 2203.07116): overlapping patches by convolution and pooling, and a convolution beside attention
//! that has fewer channels in every layer.

use dfdx::prelude::*;
use inductive_nn::{
    AnyBlock, Block, Blocks, Build, ConvAttention, Fill, Linear, Mhsa, Module, ModuleExt, Overlap,
    OverlappingPatches, PatchEmbed, Stem,
};
use inductive_ops::Backend;

use super::with_head;
use crate::{
    Attention, EitSpec, Family, ModelSpec, Result,
    classifier::Represented,
    entry::Entry,
    registry::Named,
    transformer::{Features, Joins, Position, Transformer},
};

/// The trunk of EIT: tokens from `STEM`, the class token, a learned position embedding if `spec` says so, blocks; the features are
/// the class token after the final norm. The authors' EIT has no position embedding.
///
/// Linear layers have timm's initial weights. The authors' are had by [`PatchEmbed::he_fan_out`] or
/// [`OverlappingPatches::he_fan_out`] on the stem and, when the head is on, [`halve_linear_weights`]; models built by name have them.
///
/// # Errors
/// An image that patches do not cover; a device without memory for it.
pub fn eit<STEM: Stem<C, E, D> + Build<E, D>, const C: usize, E: Dtype, D: Backend<E>>(
    device: &D,
    spec: &ModelSpec,
    blocks: impl FnOnce(&D) -> inductive_nn::Result<Blocks<C, E, D>>,
) -> Result<Transformer<STEM, C, E, D>> {
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    let positions = spec.eit().is_some_and(|eit| eit.position_embedding);
    let position =
        if positions { Some(Position::learned(device, STEM::grid(spec.image)?.tokens() + 1)?) } else { None };
    let stem = STEM::new(device)?;
    let blocks = blocks(device)?;
    let trunk = Transformer::new(device, stem, blocks, spec.image, Features::ClassToken)?
        .class_token(token, Joins::BeforePositions);
    Ok(match position {
        Some(position) => trunk.positions(position),
        None => trunk,
    })
}

/// Halves every linear layer's weights: from timm's initialisation, N(0, 0.02^2), which all models here are built with,
/// to that of EIT, N(0, 0.01^2). For a model with its head.
///
/// # Errors
/// A device that cannot copy.
pub fn halve_linear_weights<E: Dtype, D: Backend<E>, M: Module<E, D> + ?Sized>(
    model: &mut M,
) -> inductive_nn::Result<()> {
    let half = E::from_f64(0.5).unwrap_or_default();
    model.for_each_parameter_mut(&mut |p| match p.shape().len() {
        // Linear weights alone are matrices: convolutions have four axes, tokens and positions three.
        2 => p.copy_from(&p.to_vec().into_iter().map(|w| w * half).collect::<Vec<_>>()),
        _ => Ok(()),
    })
}

/// A block of `$c` channels in `$h` heads, `$e` of them through the convolution.
macro_rules! block {
    ($c:tt, $h:tt, 0, $device:ident) => {
        Box::new(Block::<Mhsa<$c, $h, true, f32, D>, $c, { 4 * $c }, f32, D>::new($device)?)
    };
    ($c:tt, $h:tt, $e:tt, $device:ident) => {
        Box::new(Block::<ConvAttention<$c, $e, { $c - $e }, $h, f32, D>, $c, { 4 * $c }, f32, D>::new(
            $device,
        )?)
    };
}

/// Patches: kernel, stride and pooling, or the side of plain ones.
macro_rules! stem {
    (type $c:tt, [$k:literal $s:literal $p:literal]) => { OverlappingPatches<$c, $k, $s, $p, f32, D> };
    (type $c:tt, [$p:literal]) => { PatchEmbed<$c, $p, f32, D> };
    (overlap [$k:literal $s:literal $p:literal]) => { Some(Overlap { kernel: $k, stride: $s, pool: $p }) };
    (overlap [$p:literal]) => { None };
    (stride [$k:literal $s:literal $p:literal]) => { $s * $p };
    (stride [$p:literal]) => { $p };
}

/// With a head, and before it the representation layer whose width `$r` is given.
macro_rules! headed {
    ($c:tt, [], $trunk:ident, $device:ident, $spec:ident, $options:ident) => {{
        $trunk.stem.he_fan_out()?;
        with_head::<_, $c, D>($device, $trunk, $spec, $options)
    }};
    ($c:tt, [$r:literal], $trunk:ident, $device:ident, $spec:ident, $options:ident) => {{
        let fc = Linear::<$c, $r, true, f32, D>::new($device)?;
        $trunk.stem.he_fan_out()?;
        with_head::<_, $r, D>($device, Represented { trunk: $trunk, fc }, $spec, $options)
    }};
}

/// One table: name, width, heads, patches, side of the image, position embedding, representation layer, channels of each
/// block's convolution.
macro_rules! zoo {
    ($($name:literal: $c:tt, $h:tt, $stem:tt, $side:literal, $pos:literal, [$($r:literal)?], [$($e:tt),+];)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$({
                let parts = EitSpec {
                    attention: Attention { heads: $h, qkv_bias: true, ..Attention::default() },
                    overlap: stem!(overlap $stem),
                    conv_channels: vec![$($e),+],
                    position_embedding: $pos,
                    representation: [$($r)?].first().copied(),
                };
                Named::new(entry($name, [$c, stem!(stride $stem), $side], parts), |device, spec, options| {
                    let blocks = |device: &D| -> inductive_nn::Result<Blocks<$c, f32, D>> {
                        let mut blocks: Vec<Box<dyn AnyBlock<$c, f32, D>>> = Vec::new();
                        $(blocks.push(block!($c, $h, $e, device));)+
                        Ok(blocks)
                    };
                    let mut trunk = eit::<stem!(type $c, $stem), $c, f32, D>(device, &spec, blocks)?;
                    let mut built = headed!($c, [$($r)?], trunk, device, spec, options)?;
                    halve_linear_weights(&mut *built.model)?;
                    Ok(built)
                })
            }),*]
        }
    };
}

fn entry(name: &str, [c, stride, side]: [usize; 3], eit: EitSpec) -> Entry {
    let depth = eit.conv_channels.len();
    let spec = super::spec(name, [c, stride, side / stride, depth], Family::Eit(eit));
    Entry::new(ModelSpec { image: (side, side), ..spec }).with_init_by_width()
}

zoo! {
    // the released models: 16/4/3, 19 x 19 patches
    "eit_mini": 250, 10, [16 4 3], 224, false, [], [200, 150, 100, 50, 0];
    "eit_tiny": 330, 10, [16 4 3], 224, false, [], [290, 250, 210, 170, 130, 90, 50, 0];
    "eit_base": 400, 16, [16 4 3], 224, false, [], [368, 320, 288, 240, 208, 160, 128, 80, 48, 0];
    "eit_large": 464, 16, [16 4 3], 224, false, [], [432, 400, 352, 320, 272, 240, 208, 160, 128, 80, 48, 0];
    // with a position embedding, and with the representation layer
    "eit_mini_pos": 250, 10, [16 4 3], 224, true, [], [200, 150, 100, 50, 0];
    "eit_tiny_pos": 330, 10, [16 4 3], 224, true, [], [290, 250, 210, 170, 130, 90, 50, 0];
    "eit_base_pos": 400, 16, [16 4 3], 224, true, [], [368, 320, 288, 240, 208, 160, 128, 80, 48, 0];
    "eit_large_pos": 464, 16, [16 4 3], 224, true, [], [432, 400, 352, 320, 272, 240, 208, 160, 128, 80, 48, 0];
    "eit_mini_repr": 250, 10, [16 4 3], 224, false, [768], [200, 150, 100, 50, 0];
    "eit_tiny_repr": 330, 10, [16 4 3], 224, false, [768], [290, 250, 210, 170, 130, 90, 50, 0];
    "eit_base_repr": 400, 16, [16 4 3], 224, false, [768], [368, 320, 288, 240, 208, 160, 128, 80, 48, 0];
    "eit_large_repr": 464, 16, [16 4 3], 224, false, [768], [432, 400, 352, 320, 272, 240, 208, 160, 128, 80, 48, 0];
    // the same at 32 pixels: 3/1/4, 8 x 8 patches
    "eit_mini_patch4_32": 250, 10, [3 1 4], 32, false, [], [200, 150, 100, 50, 0];
    "eit_tiny_patch4_32": 330, 10, [3 1 4], 32, false, [], [290, 250, 210, 170, 130, 90, 50, 0];
    "eit_base_patch4_32": 400, 16, [3 1 4], 32, false, [], [368, 320, 288, 240, 208, 160, 128, 80, 48, 0];
    "eit_large_patch4_32": 464, 16, [3 1 4], 32, false, [], [432, 400, 352, 320, 272, 240, 208, 160, 128, 80, 48, 0];
    // patches projection (p) and decreasing convolution (t) alone, neither (vit), each with a position embedding
    "eit_mini_patch4_32_p": 250, 10, [3 1 4], 32, false, [], [0, 0, 0, 0, 0];
    "eit_mini_patch4_32_t": 250, 10, [4], 32, false, [], [200, 150, 100, 50, 0];
    "eit_mini_patch4_32_vit": 250, 10, [4], 32, false, [], [0, 0, 0, 0, 0];
    "eit_mini_patch4_32_pos": 250, 10, [3 1 4], 32, true, [], [200, 150, 100, 50, 0];
    "eit_mini_patch4_32_vit_pos": 250, 10, [4], 32, true, [], [0, 0, 0, 0, 0];
    "eit_micro": 96, 4, [3 1 4], 32, false, [], [72, 48, 24, 0];
    "eit_micro_p": 96, 4, [3 1 4], 32, false, [], [0, 0, 0, 0];
    "eit_micro_t": 96, 4, [4], 32, false, [], [72, 48, 24, 0];
    "eit_micro_vit": 96, 4, [4], 32, false, [], [0, 0, 0, 0];
    "eit_micro_pos": 96, 4, [3 1 4], 32, true, [], [72, 48, 24, 0];
    "eit_micro_p_pos": 96, 4, [3 1 4], 32, true, [], [0, 0, 0, 0];
    "eit_micro_t_pos": 96, 4, [4], 32, true, [], [72, 48, 24, 0];
    "eit_micro_vit_pos": 96, 4, [4], 32, true, [], [0, 0, 0, 0];
    "eit_micro_repr": 96, 4, [3 1 4], 32, false, [768], [72, 48, 24, 0];
    // the paper's split is attention that grows from layer to layer, to all channels in the last; controls are half of the channels in
    // every layer, the same share in every layer as eit_micro has on average, and its layers from last to first convolution and attention
    "eit_micro_half": 96, 4, [3 1 4], 32, false, [], [48, 48, 48, 48];
    "eit_micro_mean": 96, 4, [3 1 4], 32, false, [], [36, 36, 36, 36];
    "eit_micro_increasing": 96, 4, [3 1 4], 32, false, [], [0, 24, 48, 72];
}
