//! The names of EIT, of its parts alone, and of other splits between convolution and attention.

use dfdx::prelude::*;
use inductive_attention::{ConvAttention, Mhsa};
use inductive_ops::Backend;

use super::{BuildOptions, Built, Entry, on_device, with_head};
use crate::{
    ModelSpec, Result,
    block::Block,
    blocks::{Chain, Last, Repeat},
    eit::{Eit, Represented, halve_linear_weights},
    layers::PatchEmbed,
    spec::EitSpec,
    stem::{OverlappingPatches, Stem},
};

/// The mixer of one layer of `$c` channels in `$h` heads, `$e` of them through the convolution.
macro_rules! mixer {
    ($c:tt, $h:tt, $d:ident, 0) => { Mhsa<$c, $h, true, f32, $d> };
    ($c:tt, $h:tt, $d:ident, $e:tt) => { ConvAttention<$c, $e, { $c - $e }, $h, f32, $d> };
}

/// Blocks of `$c` channels in `$h` heads; for each its index and the channels of its convolution.
macro_rules! blocks {
    ($c:tt, $h:tt, $d:ident; $i:tt: $e:tt) => {
        Last<$i, Block<mixer!($c, $h, $d, $e), $c, { 4 * $c }, f32, $d>>
    };
    ($c:tt, $h:tt, $d:ident; $i:tt: $e:tt, $($rest:tt)+) => {
        Chain<$i, Block<mixer!($c, $h, $d, $e), $c, { 4 * $c }, f32, $d>, blocks!($c, $h, $d; $($rest)+)>
    };
}

/// `$depth` blocks of attention on all channels.
type Whole<const DEPTH: usize, const C: usize, const H: usize, const HIDDEN: usize, D> =
    Repeat<DEPTH, Block<Mhsa<C, H, true, f32, D>, C, HIDDEN, f32, D>>;

// The paper's split: attention grows from layer to layer, to all channels in the last.
type Mini<D> = blocks!(250, 10, D; 0: 200, 1: 150, 2: 100, 3: 50, 4: 0);
type Tiny<D> = blocks!(330, 10, D; 0: 290, 1: 250, 2: 210, 3: 170, 4: 130, 5: 90, 6: 50, 7: 0);
type Base<D> =
    blocks!(400, 16, D; 0: 368, 1: 320, 2: 288, 3: 240, 4: 208, 5: 160, 6: 128, 7: 80, 8: 48, 9: 0);
type Large<D> = blocks!(464, 16, D; 0: 432, 1: 400, 2: 352, 3: 320, 4: 272, 5: 240, 6: 208, 7: 160, 8: 128,
    9: 80, 10: 48, 11: 0);
// For two CPU cores: as wide, deep and with as many heads as `convit_micro`.
type Micro<D> = blocks!(96, 4, D; 0: 72, 1: 48, 2: 24, 3: 0);
// Controls: half of the channels in every layer, the same share in every layer as Micro has on average, and Micro's
// layers from last to first.
type MicroHalf<D> = blocks!(96, 4, D; 0: 48, 1: 48, 2: 48, 3: 48);
type MicroMean<D> = blocks!(96, 4, D; 0: 36, 1: 36, 2: 36, 3: 36);
type MicroIncreasing<D> = blocks!(96, 4, D; 0: 0, 1: 24, 2: 48, 3: 72);

/// Patches: kernel, stride and pooling, or the side of plain ones.
macro_rules! stem {
    ($c:tt, $d:ident, [$k:literal $s:literal $p:literal]) => { OverlappingPatches<$c, $k, $s, $p, f32, $d> };
    ($c:tt, $d:ident, [$p:literal]) => { PatchEmbed<$c, $p, f32, $d> };
}

/// What follows from the width of the representation layer, `[]` without one: the trunk, its features, its stem.
macro_rules! represented {
    (trunk $d:ident, $c:tt, [], $eit:ty) => { $eit };
    (trunk $d:ident, $c:tt, [$r:literal], $eit:ty) => { Represented<$eit, $c, $r, f32, $d> };
    (features $c:tt, []) => { $c };
    (features $c:tt, [$r:literal]) => { $r };
    (stem $trunk:ident, []) => { $trunk.patch_embed };
    (stem $trunk:ident, [$r:literal]) => { $trunk.trunk.patch_embed };
    (width []) => { None };
    (width [$r:literal]) => { Some($r) };
}

/// One table: name, width, heads, patches, sides of image and grid, tokens, position embedding, representation layer,
/// blocks.
macro_rules! zoo {
    ($($name:literal: $c:tt, $h:literal, $stem:tt, $side:literal, $g:literal, $n:literal, $pos:literal, $r:tt, $blocks:ty;)*) => {
        pub(super) fn entries() -> Vec<Entry> {
            type D = Cpu;
            let entry = |spec: ModelSpec, representation: Option<usize>| {
                let eit = spec.eit.map(|eit| EitSpec { representation, ..eit });
                Entry { spec: ModelSpec { eit, ..spec }, locals: vec![0] }
            };
            vec![$(entry(
                Eit::<stem!($c, D, $stem), $blocks, $c, $side, $side, $g, $g, $n, $pos, f32, D>::spec($name, $h),
                represented!(width $r),
            ),)*]
        }

        pub(super) fn build<D: Backend<f32>>(
            device: &D,
            spec: ModelSpec,
            options: &BuildOptions,
        ) -> Result<Option<Built<D>>> {
            let mut built = match spec.name.as_str() {
                $($name => {
                    type Plain<D> = Eit<stem!($c, D, $stem), $blocks, $c, $side, $side, $g, $g, $n, $pos, f32, D>;
                    type M<D> = represented!(trunk D, $c, $r, Plain<D>);
                    let mut trunk = on_device(M::<D>::try_build(device))?;
                    represented!(stem trunk, $r).initialise()?;
                    with_head::<_, { represented!(features $c, $r) }, D>(device, trunk, spec, options, None)?
                })*
                _ => return Ok(None),
            };
            halve_linear_weights(&mut *built.model)?;
            Ok(Some(built))
        }
    };
}

zoo! {
    // the released models: 16/4/3, 19 x 19 patches
    "eit_mini": 250, 10, [16 4 3], 224, 19, 362, false, [], Mini<D>;
    "eit_tiny": 330, 10, [16 4 3], 224, 19, 362, false, [], Tiny<D>;
    "eit_base": 400, 16, [16 4 3], 224, 19, 362, false, [], Base<D>;
    "eit_large": 464, 16, [16 4 3], 224, 19, 362, false, [], Large<D>;
    // with a position embedding, and with the representation layer
    "eit_mini_pos": 250, 10, [16 4 3], 224, 19, 362, true, [], Mini<D>;
    "eit_tiny_pos": 330, 10, [16 4 3], 224, 19, 362, true, [], Tiny<D>;
    "eit_base_pos": 400, 16, [16 4 3], 224, 19, 362, true, [], Base<D>;
    "eit_large_pos": 464, 16, [16 4 3], 224, 19, 362, true, [], Large<D>;
    "eit_mini_repr": 250, 10, [16 4 3], 224, 19, 362, false, [768], Mini<D>;
    "eit_tiny_repr": 330, 10, [16 4 3], 224, 19, 362, false, [768], Tiny<D>;
    "eit_base_repr": 400, 16, [16 4 3], 224, 19, 362, false, [768], Base<D>;
    "eit_large_repr": 464, 16, [16 4 3], 224, 19, 362, false, [768], Large<D>;
    // the same at 32 pixels: 3/1/4, 8 x 8 patches
    "eit_mini_patch4_32": 250, 10, [3 1 4], 32, 8, 65, false, [], Mini<D>;
    "eit_tiny_patch4_32": 330, 10, [3 1 4], 32, 8, 65, false, [], Tiny<D>;
    "eit_base_patch4_32": 400, 16, [3 1 4], 32, 8, 65, false, [], Base<D>;
    "eit_large_patch4_32": 464, 16, [3 1 4], 32, 8, 65, false, [], Large<D>;
    // patches projection (p) and decreasing convolution (t) alone, neither (vit), each with a position embedding
    "eit_mini_patch4_32_p": 250, 10, [3 1 4], 32, 8, 65, false, [], Whole<5, 250, 10, 1000, D>;
    "eit_mini_patch4_32_t": 250, 10, [4], 32, 8, 65, false, [], Mini<D>;
    "eit_mini_patch4_32_vit": 250, 10, [4], 32, 8, 65, false, [], Whole<5, 250, 10, 1000, D>;
    "eit_mini_patch4_32_pos": 250, 10, [3 1 4], 32, 8, 65, true, [], Mini<D>;
    "eit_mini_patch4_32_vit_pos": 250, 10, [4], 32, 8, 65, true, [], Whole<5, 250, 10, 1000, D>;
    "eit_micro": 96, 4, [3 1 4], 32, 8, 65, false, [], Micro<D>;
    "eit_micro_p": 96, 4, [3 1 4], 32, 8, 65, false, [], Whole<4, 96, 4, 384, D>;
    "eit_micro_t": 96, 4, [4], 32, 8, 65, false, [], Micro<D>;
    "eit_micro_vit": 96, 4, [4], 32, 8, 65, false, [], Whole<4, 96, 4, 384, D>;
    "eit_micro_pos": 96, 4, [3 1 4], 32, 8, 65, true, [], Micro<D>;
    "eit_micro_p_pos": 96, 4, [3 1 4], 32, 8, 65, true, [], Whole<4, 96, 4, 384, D>;
    "eit_micro_t_pos": 96, 4, [4], 32, 8, 65, true, [], Micro<D>;
    "eit_micro_vit_pos": 96, 4, [4], 32, 8, 65, true, [], Whole<4, 96, 4, 384, D>;
    "eit_micro_repr": 96, 4, [3 1 4], 32, 8, 65, false, [768], Micro<D>;
    // other splits between convolution and attention
    "eit_micro_half": 96, 4, [3 1 4], 32, 8, 65, false, [], MicroHalf<D>;
    "eit_micro_mean": 96, 4, [3 1 4], 32, 8, 65, false, [], MicroMean<D>;
    "eit_micro_increasing": 96, 4, [3 1 4], 32, 8, 65, false, [], MicroIncreasing<D>;
}
