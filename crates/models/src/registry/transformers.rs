//! The names of ConViT, ViT and DeiT, and of ViT without class token.

use dfdx::prelude::*;
use inductive_ops::Backend;

use super::{BuildOptions, Built, Entry, on_device, with_head};
use crate::{ModelSpec, Pool, Result, convit::Convit, pooled_vit::PooledVit, vit::Vit};

/// One table: name, width, heads, patch, side of the grid, depth (, default `local_up_to_layer`, all that exist).
macro_rules! zoo {
    (
        convit { $($name:literal: $c:literal, $h:literal, $p:literal, $g:literal, $depth:literal, $default:literal, [$($local:literal),+];)* }
        vit { $($vname:literal: $vc:literal, $vh:literal, $vp:literal, $vg:literal, $vdepth:literal;)* }
        pooled { $($pname:literal: $pc:literal, $ph:literal, $pp:literal, $pg:literal, $pdepth:literal;)* }
    ) => {
        pub(super) fn entries() -> Vec<Entry> {
            vec![
                $(Entry {
                    spec: spec("convit", $name, [$c, $h, $p, $g, $depth], $default, false),
                    locals: vec![$($local),+],
                },)*
                $(Entry { spec: spec("vit", $vname, [$vc, $vh, $vp, $vg, $vdepth], 0, true), locals: vec![0] },)*
                $(Entry {
                    spec: ModelSpec {
                        pool: Pool::Average,
                        ..spec("vit", $pname, [$pc, $ph, $pp, $pg, $pdepth], 0, true)
                    },
                    locals: vec![0],
                },)*
            ]
        }

        pub(super) fn build<D: Backend<f32>>(
            device: &D,
            spec: ModelSpec,
            options: &BuildOptions,
        ) -> Result<Option<Built<D>>> {
            Ok(Some(match (spec.name.as_str(), spec.local_up_to_layer) {
                $($(($name, $local) => {
                    type M<D> = Convit<$c, $h, { 4 * $c }, $local, { $depth - $local }, $p, $g, $g, false, f32, D>;
                    let mut trunk = on_device(M::<D>::try_build(device))?;
                    let plan = trunk.local_init(options.locality_strength)?;
                    with_head::<_, $c, D>(device, trunk, spec, options, plan)?
                })+)*
                $(($vname, _) => {
                    type M<D> = Vit<$vc, $vh, { 4 * $vc }, $vdepth, $vp, $vg, $vg, { $vg * $vg + 1 }, true, f32, D>;
                    with_head::<_, $vc, D>(device, on_device(M::<D>::try_build(device))?, spec, options, None)?
                })*
                $(($pname, _) => {
                    type M<D> = PooledVit<$pc, $ph, { 4 * $pc }, $pdepth, $pp, $pg, $pg, { $pg * $pg }, true, f32, D>;
                    with_head::<_, $pc, D>(device, on_device(M::<D>::try_build(device))?, spec, options, None)?
                })*
                _ => return Ok(None),
            }))
        }
    };
}

fn spec(
    family: &str,
    name: &str,
    [c, heads, patch, side, depth]: [usize; 5],
    local: usize,
    qkv_bias: bool,
) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        family: family.to_owned(),
        image: (side * patch, side * patch),
        patch,
        embed_dim: c,
        heads,
        depth,
        local_up_to_layer: local,
        mlp_ratio: 4.0,
        qkv_bias,
        classes: 1000,
        ..ModelSpec::default()
    }
}

zoo! {
    convit {
        // ConViT Table 1
        "convit_tiny": 192, 4, 16, 14, 12, 10, [0, 10];
        "convit_small": 432, 9, 16, 14, 12, 10, [0, 10];
        "convit_base": 768, 16, 16, 14, 12, 10, [0, 10];
        "convit_tiny_plus": 256, 4, 16, 14, 12, 10, [0, 10];
        "convit_small_plus": 576, 9, 16, 14, 12, 10, [0, 10];
        "convit_base_plus": 1024, 16, 16, 14, 12, 10, [0, 10];
        // the same at 32 pixels, 8 x 8 patches
        "convit_tiny_patch4_32": 192, 4, 4, 8, 12, 10, [0, 10];
        "convit_small_patch4_32": 432, 9, 4, 8, 12, 10, [0, 10];
        "convit_base_patch4_32": 768, 16, 4, 8, 12, 10, [0, 10];
        "convit_tiny_plus_patch4_32": 256, 4, 4, 8, 12, 10, [0, 10];
        "convit_small_plus_patch4_32": 576, 9, 4, 8, 12, 10, [0, 10];
        "convit_base_plus_patch4_32": 1024, 16, 4, 8, 12, 10, [0, 10];
        // for two CPU cores: 3 gated layers and 1 plain one keep about the paper's ratio of 10 to 2
        "convit_micro": 96, 4, 4, 8, 4, 3, [0, 1, 2, 3];
        "convit_micro_3heads": 96, 3, 4, 8, 4, 3, [0, 3];
    }
    vit {
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
    pooled {
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
}
