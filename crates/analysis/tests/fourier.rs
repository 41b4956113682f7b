//! Relative log amplitudes against reference values (`fixtures/fourier.json`) and against what theory says.

use std::collections::BTreeMap;

use inductive_analysis::relative_log_amplitude;
use inductive_nn::Layout;
use inductive_ops::Grid;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    box_blur_3x3_circular_ln_gain: BTreeMap<usize, Vec<f64>>,
    white_noise_baseline: f64,
}

/// The input is given by its formula, as maps: `[batch, channels, rows, cols]`.
#[derive(Deserialize)]
struct Case {
    shape: [usize; 4],
    kind: String,
    relative_log_amplitude: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/fourier.json")).unwrap()
}

/// Uniform numbers from -0.5 to 0.5: the fixture's generator.
fn noise() -> impl Iterator<Item = f64> {
    let step = |s: &u32| Some(s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(12_345), step).skip(1).map(|s| f64::from(s) / 4_294_967_296.0 - 0.5)
}

/// Circular 3 x 3 mean of square maps.
fn box_blurred(maps: &[f64], side: usize) -> Vec<f64> {
    let around = |n: usize| [(n + side - 1) % side, n, (n + 1) % side];
    let blur = |map: &[f64], y: usize, x: usize| {
        around(y).iter().flat_map(|v| around(x).map(|u| map[v * side + u])).sum::<f64>() / 9.0
    };
    maps.chunks_exact(side * side)
        .flat_map(|map| (0..side * side).map(move |n| blur(map, n / side, n % side)))
        .collect()
}

fn input(kind: &str, [batch, channels, rows, cols]: [usize; 4]) -> Vec<f64> {
    let length = batch * channels * rows * cols;
    match kind {
        "sin" => (0..length).map(|e| (0.1 * e as f64).sin()).collect(),
        "lcg" => noise().take(length).collect(),
        "box_blurred_lcg" => box_blurred(&input("lcg", [batch, channels, rows, cols]), rows),
        other => panic!("unknown input {other}"),
    }
}

/// Of maps `[batch, channels, rows, cols]`, handed over as tokens.
fn measured(maps: &[f64], [_, channels, rows, cols]: [usize; 4]) -> Vec<f64> {
    let patches = rows * cols;
    let sample_tokens = |sample: &[f64]| -> Vec<f32> {
        (0..patches * channels).map(|n| sample[n % channels * patches + n / channels] as f32).collect()
    };
    let tokens: Vec<f32> = maps.chunks_exact(patches * channels).flat_map(sample_tokens).collect();
    relative_log_amplitude(&tokens, Layout::patches(Grid { rows, cols }), channels)
}

#[track_caller]
fn assert_all_close(got: &[f64], want: &[f64], tolerance: f64) {
    let close = got.iter().zip(want).all(|(g, w)| (g - w).abs() < tolerance);
    assert!(close && got.len() == want.len(), "got {got:?}, expected {want:?}");
}

/// The tolerance is ten times the fixture's worst difference between single and double precision.
#[test]
fn golden_values_of_the_published_definition_agree() {
    let cases = fixture().cases;
    assert_eq!(cases.len(), 9);
    for case in cases {
        let got = measured(&input(&case.kind, case.shape), case.shape);
        assert_all_close(&got, &case.relative_log_amplitude, 5e-5);
    }
}

/// All of an impulse's frequencies are equally strong: after the blur its spectrum is the filter's,
/// ((1 + 2 cos(2 pi k / h)) / 3)^2.
#[test]
fn a_box_blur_multiplies_by_its_gain() {
    let known: [(usize, &[f64]); 3] = [
        (8, &[0.0, -0.434, -2.197, -3.960]),
        (14, &[0.0, -0.137, -0.578, -1.461, -3.375, -4.994, -2.639]),
        (16, &[0.0, -0.104, -0.434, -1.061, -2.197, -5.097, -3.960, -2.528]),
    ];
    let gains = fixture().box_blur_3x3_circular_ln_gain;
    assert_eq!(gains.len(), 4);
    for (side, exact) in gains {
        // strong, so that the floor of 1e-6 does not show
        let mut impulse = vec![0.0; side * side];
        impulse[side + 2] = 1e4;
        let got = measured(&box_blurred(&impulse, side), [1, 1, side, side]);
        assert_all_close(&got, &exact, 1e-5);
        if let Some((_, rounded)) = known.iter().find(|(of, _)| *of == side) {
            assert_all_close(&got, rounded, 6e-4);
        }
    }
}

/// The zero frequency is real and the others are complex: ln(2) / 2 between their mean logarithms. The standard error of
/// 60,000 draws is pi / sqrt(8) / sqrt(60,000) = 0.0045 for the zero frequency, which all entries share.
#[test]
fn white_noise_has_the_known_baseline() {
    let baseline = fixture().white_noise_baseline;
    assert!((baseline - 0.3466).abs() < 1e-4);
    let shape = [600, 100, 8, 8];
    let maps: Vec<f64> = noise().take(shape.iter().product()).collect();
    let got = measured(&maps, shape);
    assert_all_close(&got[1..], &[baseline; 3], 0.02);
}
