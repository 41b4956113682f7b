//! The names of staged networks whose layers can leave convolution.

use dfdx::prelude::*;
use inductive_ops::Backend;

use super::{BuildOptions, Built, Entry, on_device, with_head};
use crate::{ModelSpec, Result, StagesSpec, prs::Prs};

/// One table: name, channels and blocks of the two stages, patch, side of the image.
macro_rules! zoo {
    ($($name:literal: [$c1:literal, $n1:literal], [$c2:literal, $n2:literal], $p:literal, $side:literal;)*) => {
        pub(super) fn entries() -> Vec<Entry> {
            vec![$(Entry { spec: spec($name, [$c1, $c2], [$n1, $n2], $p, $side), locals: vec![0] },)*]
        }

        pub(super) fn build<D: Backend<f32>>(
            device: &D,
            spec: ModelSpec,
            options: &BuildOptions,
        ) -> Result<Option<Built<D>>> {
            Ok(Some(match spec.name.as_str() {
                $($name => {
                    type M<D> = Prs<$c1, { 4 * $c1 }, $n1, $c2, { 4 * $c2 }, $n2, $p, $side, f32, D>;
                    with_head::<_, $c2, D>(device, on_device(M::<D>::try_build(device))?, spec, options, None)?
                })*
                _ => return Ok(None),
            }))
        }
    };
}

fn spec(name: &str, widths: [usize; 2], blocks: [usize; 2], patch: usize, side: usize) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        family: "prs".to_owned(),
        image: (side, side),
        patch,
        embed_dim: widths[1],
        depth: blocks.iter().sum(),
        mlp_ratio: 4.0,
        pool: crate::Pool::Average,
        classes: 1000,
        stages: Some(StagesSpec { widths: widths.to_vec(), blocks: blocks.to_vec() }),
        ..ModelSpec::default()
    }
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
