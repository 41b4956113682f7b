//! Parity of ViT: with a class token, and with average pooling and fixed positions.

use dfdx::prelude::*;
use inductive_models::families::{pooled_vit, vit};
use inductive_nn::ModuleExt;
use inductive_ops::Backend;
use inductive_tests::{Fixture, assert_close};

use crate::{parity, spec};

#[test]
fn vit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "vit_a", 32, vit::<32, 4, 128, 4, f32, D>(device, &spec(32, 8, 3, 0)));
    }
    on_test_device!(test);
}

/// Without class token, average pooling; the position embedding is not trained here, and its gradient agrees all the same.
#[test]
fn vit_gap_a_agrees_with_timm() {
    fn run<D: Backend<f32>>(device: &D) {
        parity(device, "vit_gap_a", 32, pooled_vit::<16, 2, 64, 8, f32, D>(device, &spec(32, 4, 2, 0)));
    }
    on_test_device!(run);
}

#[test]
fn the_fixed_positions_are_timm_s_sines_and_cosines() {
    let trunk = pooled_vit::<16, 2, 64, 8, f32, Cpu>(&Cpu::default(), &spec(32, 4, 2, 0)).unwrap();
    let want = Fixture::open("vit_gap_a").tensor("weight/pos_embed");
    let mut seen = 0;
    trunk
        .for_each_parameter(&mut |p| {
            if p.name() == "pos_embed" {
                assert_close("pos_embed", &p.to_vec(), &want, 0.0, 1e-6);
                seen += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 1);
}
