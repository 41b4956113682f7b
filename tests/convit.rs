//! What the ConViT paper says of a layer before any training: golden values of GPSA, convolution at initialisation.

use dfdx::prelude::*;
use inductive_analysis::nonlocality;
use inductive_nn::{Build, Gpsa, Layout, TokenMixer, Tokens, kernel_offsets};
use inductive_ops::Grid;
use inductive_tests::assert_close;

type Layer<const C: usize, const H: usize> = Gpsa<C, H, false, f32, Cpu>;

fn layer<const C: usize, const H: usize>(strength: f64) -> Layer<C, H> {
    let mut layer = Layer::<C, H>::new(&Cpu::seed_from_u64(0)).unwrap();
    assert_eq!(layer.local_init(strength).unwrap().warning(), None);
    layer
}

fn tokens<const C: usize>(values: Vec<f32>) -> Tokens<C, f32, Cpu> {
    let count = values.len() / C;
    Cpu::default().tensor_from_vec(values, (1, count, Const))
}

/// Values computed in float64 for a 3x3 grid, 8 channels, 4 heads, strength 1, weights and tokens by formula.
#[test]
fn gpsa_has_its_golden_values() {
    let mut layer = layer::<8, 4>(1.0);
    let formula = |rows: usize, f: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
        (0..rows * 8).map(|i| f((i / 8) as f64, (i % 8) as f64) as f32).collect()
    };
    layer.qk.weight.copy_from(&formula(16, &|r, c| 0.1 * (0.7 * r + 0.3 * c).cos()));
    layer.proj.weight.copy_from(&formula(8, &|r, c| 0.1 * (0.5 * r - 0.2 * c).sin()));
    let bias: Vec<f32> = (0..8).map(|r| 0.01 * r as f32).collect();
    layer.proj.bias.as_mut().unwrap().copy_from(&bias);
    let x = tokens::<8>(formula(9, &|n, c| (0.1 * (8.0 * n + c) + 0.3).sin()));
    let (out, record) = layer.mix_recorded(x, &Layout::patches(Grid::square(3))).unwrap();
    let record = record.unwrap();

    let row = |head: usize, query: usize| &record.map[(head * 9 + query) * 9..][..9];
    let want =
        [0.1897699, 0.1896787, 0.0513155, 0.1904225, 0.1908147, 0.0522477, 0.0519462, 0.0514663, 0.0323384];
    assert_close("head 0, query 4", row(0, 4), &want, 0.0, 1e-6);
    let want =
        [0.1922354, 0.1921391, 0.0520146, 0.188772, 0.1876297, 0.0491814, 0.0506022, 0.0524966, 0.0349291];
    assert_close("head 3, query 0", row(3, 0), &want, 0.0, 1e-6);
    let distances: Vec<f32> = nonlocality(&record).into_iter().map(|d| d as f32).collect();
    assert_close("distance", &distances, &[0.9280446, 0.9257594, 0.9249609, 0.9287986], 0.0, 1e-6);

    let out = out.as_vec();
    for (token, want) in [
        (0, [-0.1407069, -0.0295461, 0.0912969, 0.194684, 0.2577507, 0.2675044, 0.2240055, 0.1403523]),
        (4, [0.0216872, 0.0314789, 0.0360119, 0.0366245, 0.0356153, 0.0356796, 0.03925, 0.0479007]),
        (8, [-0.0936225, -0.0681225, -0.0234953, 0.031781, 0.0866213, 0.1300471, 0.1538745, 0.1547182]),
    ] {
        assert_close(&format!("token {token}"), &out[token * 8..][..8], &want, 0.0, 1e-6);
    }
}

/// With the gate at 1 and sharp attention, nine heads are a 3x3 convolution: head h passes its own block of channels on
/// from the patch at its offset, and the slices of `proj` are the kernel.
#[test]
fn gate_of_one_is_convolution_on_interior_tokens() {
    const C: usize = 36;
    let (side, head_dim) = (6, C / 9);
    let mut layer = layer::<C, 9>(50.0);
    layer.gating_param.copy_from(&[40.0; 9]);
    let x: Vec<f32> = (0..side * side * C).map(|i| (i as f32 * 0.7).sin()).collect();
    let out = layer.forward(tokens::<C>(x.clone())).as_vec();
    let kernel = layer.proj.weight.as_vec();
    let offsets = kernel_offsets(3);
    for (row, col) in (1..side - 1).flat_map(|r| (1..side - 1).map(move |c| (r, c))) {
        for channel in 0..C {
            let want: f32 = (0..C)
                .map(|input| {
                    let (dx, dy) = offsets[input / head_dim];
                    let (r, c) = ((row as f64 + dy) as usize, (col as f64 + dx) as usize);
                    kernel[channel * C + input] * x[(r * side + c) * C + input]
                })
                .sum();
            let got = out[(row * side + col) * C + channel];
            assert!((got - want).abs() < 1e-5, "({row}, {col}) channel {channel}: {got}, want {want}");
        }
    }
}

/// Four heads have their centres between patches: each averages a block of 2x2.
#[test]
fn gate_of_one_with_four_heads_averages_blocks_of_two_by_two() {
    let mut layer = layer::<8, 4>(50.0);
    layer.gating_param.copy_from(&[40.0; 4]);
    let layout = Layout::patches(Grid { rows: 4, cols: 5 });
    let (_, record) = layer.mix_recorded(tokens::<8>(vec![0.5; 20 * 8]), &layout).unwrap();
    let record = record.unwrap();
    for (head, (dx, dy)) in kernel_offsets(4usize.isqrt()).into_iter().enumerate() {
        // The patch in row 2, column 2, and its three neighbours towards the head's centre.
        let row = &record.map[(head * 20 + 12) * 20..][..20];
        for (key, weight) in row.iter().enumerate() {
            let (y, x) = ((key / 5) as f64 - 2.0, (key % 5) as f64 - 2.0);
            let inside = (x == 0.0 || x == 2.0 * dx) && (y == 0.0 || y == 2.0 * dy);
            let want = if inside { 0.25 } else { 0.0 };
            assert!((weight - want).abs() < 1e-6, "head {head}, key {key}: {weight}");
        }
    }
}

/// Mean non-locality at initialisation of a gated layer whose content attention is uniform.
fn initial_nonlocality<const C: usize, const H: usize>(side: usize) -> f64 {
    let layer = layer::<C, H>(1.0);
    let x = tokens::<C>(vec![0.0; side * side * C]);
    let (_, record) = layer.mix_recorded(x, &Layout::patches(Grid::square(side))).unwrap();
    let heads = nonlocality(&record.unwrap());
    heads.iter().sum::<f64>() / H as f64
}

#[test]
fn nonlocality_at_initialisation_is_the_papers() {
    for (got, want) in [
        (initial_nonlocality::<16, 4>(14), 2.6789),
        (initial_nonlocality::<36, 9>(14), 2.8809),
        (initial_nonlocality::<64, 16>(14), 3.0997),
        (initial_nonlocality::<16, 4>(8), 1.7977),
        (initial_nonlocality::<36, 9>(8), 1.9816),
        (initial_nonlocality::<64, 16>(8), 2.1775),
    ] {
        assert!((got - want).abs() < 1e-4, "{got}, want {want}");
    }
}

#[test]
fn tokens_that_do_not_fit_the_grid_are_an_error() {
    let layer = layer::<8, 4>(1.0);
    let x = || tokens::<8>(vec![0.0; 12 * 8]);
    let error = layer.try_forward(x()).unwrap_err().to_string();
    assert!(error.contains("12 tokens are not a square grid"), "{error}");
    let error = layer.mix(x(), &Layout::patches(Grid { rows: 2, cols: 5 })).unwrap_err().to_string();
    assert!(error.contains("10 patch tokens of a 2x5 grid"), "{error}");
    assert!(layer.mix(x(), &Layout::patches(Grid { rows: 3, cols: 4 })).is_ok());
}

#[test]
fn three_heads_leave_two_random_and_say_so() {
    let mut layer = Layer::<12, 3>::new(&Cpu::seed_from_u64(0)).unwrap();
    let before = layer.pos_proj.weight.array();
    let plan = layer.local_init(1.0).unwrap();
    assert_eq!(plan.random_heads, [1, 2]);
    assert!(plan.warning().unwrap().starts_with("3 heads are not a square number"), "{:?}", plan.warning());
    let after = layer.pos_proj.weight.array();
    assert_eq!(after[0], [0.0, 0.0, -1.0]);
    assert_eq!(after[1..], before[1..]);
}
