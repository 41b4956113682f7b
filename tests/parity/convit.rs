//! Parity of ConViT: four small ones, and local initialisation.

use dfdx::prelude::*;
use inductive_models::{Features, Joins, ModelSpec, Position, Transformer, families::convit};
use inductive_nn::{Build, Fill, Gpsa, Mhsa, PatchEmbed};
use inductive_ops::{Backend, relative_positions};
use inductive_tests::{Fixture, assert_close};

use crate::{RTOL, boxed, parity, spec};

#[test]
fn convit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_a", 32, convit::<32, 4, 128, 4, f32, D>(device, &spec(32, 8, 4, 3)));
    }
    on_test_device!(test);
}

#[test]
fn convit_b_with_nine_heads_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_b", 20, convit::<36, 9, 72, 4, f32, D>(device, &spec(20, 5, 3, 2)));
    }
    on_test_device!(test);
}

#[test]
fn convit_c_without_gated_layers_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_c", 24, convit_with_bias(device, &spec(24, 6, 2, 0)));
    }
    on_test_device!(test);
}

#[test]
fn convit_d_with_locality_strength_2_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_d", 24, convit::<32, 4, 128, 4, f32, D>(device, &spec(24, 6, 2, 1)));
    }
    on_test_device!(test);
}

/// ConViT's control with a query bias, which no named model has.
fn convit_with_bias<D: Backend<f32>>(
    device: &D,
    spec: &ModelSpec,
) -> inductive_models::Result<Transformer<PatchEmbed<32, 4, f32, D>, 32, f32, D>> {
    let blocks = boxed::<Mhsa<32, 4, true, f32, D>, 32, 128, D>;
    let blocks = (0..spec.depth).map(|_| blocks(device)).collect::<inductive_nn::Result<_>>()?;
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    Ok(Transformer::new(device, Build::new(device)?, blocks, spec.image, Features::ClassToken)?
        .class_token(token, Joins::BeforeBlock(0))
        .positions(Position::learned(device, spec.grid().tokens())?))
}

/// Local initialisation of `H` heads of 4 channels against timm's.
fn local_init<const C: usize, const H: usize, D: Backend<f32>>(device: &D, fixture: &Fixture) {
    for strength in [1, 2] {
        let mut layer = Gpsa::<C, H, false, f32, D>::new(device).unwrap();
        let plan = layer.local_init(strength as f64).unwrap();
        assert_eq!(plan.warning(), None);
        let want = |key: &str| fixture.tensor(&format!("heads{H}/strength{strength}/{key}"));
        assert_eq!(layer.pos_proj.weight.as_vec(), want("pos_proj.weight"), "{H} heads, strength {strength}");
        assert_eq!(layer.pos_proj.bias.as_vec(), want("pos_proj.bias"));
        assert_eq!(layer.gating_param.as_vec(), want("gating_param"));
        assert_eq!(layer.v.weight.as_vec(), want("v.weight"));
        if let Some(want) = fixture.get(&format!("heads{H}/strength{strength}/pos_attention_5x5")) {
            // Gate far open: attention is position alone.
            layer.gating_param = device.tensor_from_vec(vec![100.0; H], (Const,));
            let tokens = device.zeros_like(&(1, 25, Const::<C>));
            let (_, record) = inductive_nn::TokenMixer::mix_recorded(
                &layer,
                tokens,
                &inductive_nn::Layout::patches(inductive_ops::Grid::square(5)),
            )
            .unwrap();
            assert_close("positional attention", &record.unwrap().map, &want, RTOL, 1e-6);
        }
    }
}

#[test]
fn local_initialisation_is_timms_bit_for_bit() {
    fn test<D: Backend<f32>>(device: &D) {
        let fixture = Fixture::open("convit_local_init");
        local_init::<16, 4, D>(device, &fixture);
        local_init::<36, 9, D>(device, &fixture);
        local_init::<64, 16, D>(device, &fixture);
        let want = fixture.tensor("rel_indices_5x5");
        assert_eq!(relative_positions(inductive_ops::Grid::square(5)), want);
    }
    on_test_device!(test);
}
