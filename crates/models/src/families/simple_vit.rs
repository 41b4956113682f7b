//! SimpleViT as arXiv 2401.12511 changes it: positions go to queries and keys of every layer and never to the tokens; no
//! class token.

use dfdx::prelude::*;
use inductive_init::SinCos;
use inductive_nn::{AnyBlock, Block, Build, NormedPatches, PositionMixed, Stem};
use inductive_ops::Backend;

use super::with_head;
use crate::{
    Attention, Error, Family, ModelSpec, Pool, Result,
    entry::Entry,
    registry::Named,
    transformer::{Features, Transformer},
};

/// The trunk: [`NormedPatches`], blocks of [`PositionMixed`] with an MLP of `HIDDEN` channels (`C` in the paper); the features are
/// the mean of all tokens after the final norm. `C` channels, `H` heads, patches of `P x P` pixels, `PATCH = 3 * P * P`;
/// content_share: the share of the tokens in queries and keys, of which the rest is SimpleViT's sines and cosines.
///
/// Equivalent: `SimpleViT` of the authors' code, after lucidrains' (there the norms have PyTorch's eps 1e-5, here 1e-6 as
/// elsewhere). timm has none. The authors' initial weights are PyTorch's, but for queries and keys; these are timm's.
///
/// # Errors
/// [`Error::Option`] for a share that is none; an image that patches do not cover; a device without memory for it.
pub fn simple_vit<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const P: usize,
    const PATCH: usize,
    E: Dtype,
    D: Backend<E>,
>(
    device: &D,
    spec: &ModelSpec,
    content_share: f64,
) -> Result<Transformer<NormedPatches<C, P, PATCH, E, D>, C, E, D>> {
    let refuse = |what: String| Error::Option { model: spec.name.clone(), what };
    if !(0.0..=1.0).contains(&content_share) {
        return Err(refuse(format!(
            "content_share {content_share}: expected a number from 0 (queries and keys of positions alone) to 1 (of \
             tokens alone)"
        )));
    }
    let grid = NormedPatches::<C, P, PATCH, E, D>::grid(spec.image)?;
    let embedding = SinCos::SimpleVit.embedding(grid, C).map_err(|e| refuse(e.to_string()))?;
    let values: Vec<E> = embedding.values().iter().map(|v| E::from_f64(*v).unwrap_or_default()).collect();
    let positions = || {
        device
            .try_tensor_from_vec(values.clone(), (grid.tokens(), Const))
            .map_err(|e| Error::device("build", e))
    };
    let stem = Build::new(device)?;
    let mut blocks: Vec<Box<dyn AnyBlock<C, E, D>>> = Vec::with_capacity(spec.depth);
    for _ in 0..spec.depth {
        let positions = positions()?;
        let mixer = |device: &D| PositionMixed::<C, H, E, D>::new(device, positions, content_share);
        blocks.push(Box::new(Block::<_, C, HIDDEN, E, D>::over(device, mixer)?));
    }
    Transformer::new(device, stem, blocks, spec.image, Features::MeanOfNorm)
}

/// One table: name, width (of the MLP too), heads, patch, side of the grid, depth.
macro_rules! zoo {
    ($($name:literal: $c:literal, $h:literal, $p:literal, $g:literal, $depth:literal;)*) => {
        pub(super) fn models<D: Backend<f32>>() -> Vec<Named<D>> {
            vec![$(Named::new(entry($name, [$c, $p, $g, $depth], $h), |device, spec, options| {
                let share = options.content_share;
                let trunk = simple_vit::<$c, $h, $c, $p, { 3 * $p * $p }, f32, D>(device, &spec, share)?;
                with_head::<_, $c, D>(device, trunk, spec, options)
            })),*]
        }
    };
}

fn entry(name: &str, sizes: [usize; 4], heads: usize) -> Entry {
    let attention = Attention { heads, mlp_ratio: 1.0, pool: Pool::Average, ..Attention::default() };
    Entry::new(super::spec(name, sizes, Family::SimpleVit(attention))).with_init_by_width()
}

zoo! {
    // the paper's
    "simple_vit_patch2_32": 512, 8, 2, 16, 6;
    // for two CPU cores
    "simple_vit_micro": 96, 4, 4, 8, 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_init::SinCos;
    use inductive_nn::{ModuleExt, Record};

    use crate::{BuildOptions, Model, build};

    fn micro(content_share: f64) -> Result<Box<dyn Model<f32, Cpu>>> {
        let options = BuildOptions { classes: 10, content_share, ..Default::default() };
        Ok(build(&Cpu::seed_from_u64(0), "simple_vit_micro", &options)?.model)
    }

    /// `[1, 3, 32, 32]`, with the patches of 4 x 4 pixels moved on by `shift` columns, those at the right end to the left.
    fn images(shift: usize) -> inductive_nn::Images<f32, Cpu> {
        let pixel = |i: usize| {
            let (row, column) = (i / 32, (i + 32 - 4 * shift) % 32);
            ((row * 32 + column).pow(2) % 1009) as f32 / 504.0 - 1.0
        };
        Cpu::default().tensor_from_vec((0..3 * 1024).map(pixel).collect(), (1, 3, 32, 32))
    }

    fn difference(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn every_layer_has_the_sines_and_the_share_that_was_asked_for_and_trains_neither() {
        let model = micro(0.2).unwrap();
        let sines = SinCos::SimpleVit.embedding(model.spec().grid(), 96).unwrap().to_f32();
        let (mut positions, mut shares) = (0, 0);
        model
            .for_each_parameter(&mut |p| {
                let buffer = match p.name().rsplit('.').next() {
                    Some("position") => {
                        assert_eq!((p.shape(), p.to_vec()), (&[64, 96][..], sines.clone()));
                        positions += 1;
                        true
                    }
                    Some("alpha") => {
                        assert_eq!(p.to_vec(), [0.2]);
                        shares += 1;
                        true
                    }
                    _ => false,
                };
                assert_eq!(p.trainable(), !buffer, "{}", p.name());
                Ok(())
            })
            .unwrap();
        assert_eq!((positions, shares), (4, 4));
    }

    #[test]
    fn names_and_number_of_parameters_are_those_of_the_architecture() {
        let model = micro(0.5).unwrap();
        let (patch, block) = (2 * 48 + 48 * 96 + 96 + 2 * 96, 4 * 96 * 96 + 2 * (96 * 96 + 96) + 4 * 96);
        assert_eq!(model.num_params(), patch + 4 * block + 2 * 96 + 96 * 10 + 10);
        let mut names = Vec::new();
        model
            .for_each_parameter(&mut |p| {
                names.push(p.name().to_owned());
                Ok(())
            })
            .unwrap();
        for name in [
            "patch_embed.norm1.weight",
            "patch_embed.proj.bias",
            "patch_embed.norm2.weight",
            "blocks.3.norm1.weight",
            "blocks.0.attn.qkv.weight",
            "blocks.0.attn.proj.weight",
            "blocks.0.norm2.bias",
            "blocks.0.mlp.fc1.weight",
            "norm.weight",
            "head.weight",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} is missing in {names:?}");
        }
        assert!(!names.iter().any(|n| n.contains("cls_token") || n.contains("pos_embed")));
    }

    #[test]
    fn without_positions_the_order_of_the_patches_does_not_matter_and_with_them_it_does() {
        let logits = |share: f64, shift| {
            let mut model = micro(share).unwrap();
            // Initial attention is nearly uniform; ten times the weights make it look at something.
            let larger = &mut |p: &mut dyn inductive_nn::ParameterMut<f32, Cpu>| {
                let factor = if p.name().contains("attn") && p.trainable() { 10.0 } else { 1.0 };
                p.copy_from(&p.to_vec().iter().map(|v| factor * v).collect::<Vec<_>>())
            };
            model.for_each_parameter_mut(larger).unwrap();
            model.forward(images(shift), None).unwrap().as_vec()
        };
        let size = logits(1.0, 0).iter().fold(0.0f32, |a, v| a.max(v.abs()));
        assert!(difference(&logits(1.0, 0), &logits(1.0, 3)) < 1e-4 * size);
        assert!(difference(&logits(0.5, 0), &logits(0.5, 3)) > 1e-2 * size);
    }

    #[test]
    fn a_record_does_not_change_the_logits_and_holds_all_tokens_of_all_blocks() {
        let (model, mut record) = (micro(0.5).unwrap(), Record::everything());
        let recorded = model.forward(images(0), Some(&mut record)).unwrap().as_vec();
        assert_eq!(recorded, model.forward(images(0), None).unwrap().as_vec());
        assert_eq!(record.blocks.len(), 4);
        for block in &record.blocks {
            assert_eq!((block.output.len(), block.layout), (64 * 96, model.layout(0)));
            assert_eq!(block.attention.as_ref().unwrap().map.len(), 4 * 64 * 64);
        }
    }

    #[test]
    fn every_trained_parameter_gets_a_gradient() {
        let mut model = micro(0.5).unwrap();
        let logits = model.forward_train(images(0).leaky_traced(), Default::default()).unwrap();
        let mut gradients = logits.square().sum::<Rank0, _>().backward();
        model
            .for_each_parameter_mut(&mut |p| {
                let square = p.gradient_square_sum(&mut gradients)?;
                assert!(!p.trainable() || square > 0.0, "{}", p.name());
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for share in [-0.1, 1.5, f64::NAN] {
            let error = micro(share).err().unwrap().to_string();
            assert!(error.contains("simple_vit_micro") && error.contains("from 0"), "{error}");
        }
    }
}
