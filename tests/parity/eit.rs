//! Parity of EIT with the code of its authors: whole, and without each of its parts.

use dfdx::prelude::*;
use inductive_models::{EitSpec, Family, ModelSpec, Overlap, families::eit};
use inductive_nn::{Blocks, ConvAttention, Mhsa, OverlappingPatches, PatchEmbed};
use inductive_ops::Backend;

use crate::{boxed, parity};

/// EIT with 40 channels in 4 heads and 3 layers, split 28 + 12, 16 + 24, 0 + 40.
fn split<const HIDDEN: usize, D: Backend<f32>>(device: &D) -> inductive_nn::Result<Blocks<40, f32, D>> {
    Ok(vec![
        boxed::<ConvAttention<40, 28, 12, 4, f32, D>, 40, HIDDEN, D>(device)?,
        boxed::<ConvAttention<40, 16, 24, 4, f32, D>, 40, HIDDEN, D>(device)?,
        boxed::<Mhsa<40, 4, true, f32, D>, 40, HIDDEN, D>(device)?,
    ])
}

/// The same with attention on all channels.
fn whole<D: Backend<f32>>(device: &D) -> inductive_nn::Result<Blocks<40, f32, D>> {
    (0..3).map(|_| boxed::<Mhsa<40, 4, true, f32, D>, 40, 80, D>(device)).collect()
}

/// An EIT for square images of `side` pixels.
fn eit_spec(side: usize, overlap: Option<Overlap>, position_embedding: bool) -> ModelSpec {
    let eit = EitSpec { overlap, position_embedding, ..EitSpec::default() };
    ModelSpec { image: (side, side), patch: 4, family: Family::Eit(eit), ..ModelSpec::default() }
}

type Patches<const K: usize, const S: usize, const P: usize, D> = OverlappingPatches<40, K, S, P, f32, D>;
const SMALL: Option<Overlap> = Some(Overlap { kernel: 3, stride: 1, pool: 4 });

#[test]
fn eit_a_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(32, SMALL, false);
        parity(device, "eit_a", 32, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, split::<160, D>));
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_16x16_stem_and_its_true_grid_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(64, Some(Overlap { kernel: 16, stride: 4, pool: 3 }), false);
        let trunk = eit::<Patches<16, 4, 3, D>, 40, f32, D>(device, &spec, split::<80, D>);
        parity(device, "eit_k16s4p3", 64, trunk);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_overlapping_patches_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, None, false);
        let trunk = eit::<PatchEmbed<40, 4, f32, D>, 40, f32, D>(device, &spec, split::<80, D>);
        parity(device, "eit_no_p", 24, trunk);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_convolution_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, SMALL, false);
        parity(device, "eit_no_t", 24, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, whole::<D>));
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_position_embedding_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, SMALL, true);
        parity(device, "eit_pos", 24, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, split::<80, D>));
    }
    on_test_device!(test);
}
