//! A convolution written as attention, against reference numbers computed in PyTorch in float64.
//!
//! Maps in the file are `[batch, channels, rows, cols]`; its heads are numbered column by column, as ours.

use dfdx::prelude::*;
use inductive_nn::{
    ConvAsAttention, Gate, Positions, Reparameterization, SwitchLayer, Tokens, kernel_offsets,
};
use inductive_ops::Grid;
use inductive_tests::{Fixture, assert_close};

const GRID: Grid = Grid { rows: 8, cols: 8 };
/// Largest difference to numbers that were rounded to single precision.
const TOLERANCE: f32 = 2e-6;

/// Channels of the input that stand for given queries and keys, and all of them.
const QK: usize = 36;
const WIDE: usize = 3 + 2 * QK;

type Layer<const ZERO: bool> = ConvAsAttention<3, 4, 3, 3, 9, 144, 1, ZERO, true, f32, Cpu>;
type WideLayer = ConvAsAttention<WIDE, 4, WIDE, 3, 9, QK, 1, false, true, f32, Cpu>;

fn fixture() -> Fixture {
    Fixture::open("reparam")
}

/// `[2, C, 8, 8]` to `[2, 64, C]`.
fn channels_last(maps: &[f32]) -> Vec<f32> {
    let channels = maps.len() / 128;
    (0..maps.len())
        .map(|i| maps[(i / (64 * channels) * channels + i % channels) * 64 + i / channels % 64])
        .collect()
}

fn input(dev: &Cpu) -> Tokens<3, f32, Cpu> {
    dev.tensor_from_vec(channels_last(&fixture().tensor("input")), (2, 64, Const))
}

/// The convolution of the file.
fn convolution<const ZERO: bool>(dev: &Cpu) -> Layer<ZERO> {
    let mut layer = Layer::<ZERO>::build(dev);
    layer.weight.copy_from(&fixture().tensor("kernel"));
    layer.bias.iter_mut().for_each(|bias| bias.copy_from(&fixture().tensor("bias")));
    layer
}

fn output<const ZERO: bool>(layer: &Layer<ZERO>) -> Vec<f32> {
    layer.apply(input(&Cpu::default()), GRID).unwrap().0.as_vec()
}

fn with(alpha: f64, gate: Gate) -> Reparameterization {
    Reparameterization { positions: Positions::Kernel { alpha }, gate }
}

#[test]
fn both_borders_as_convolution_and_as_attention() {
    let (dev, fixture) = (Cpu::default(), fixture());
    let expect = |got: &[f32], key: &str| {
        assert_close(key, got, &channels_last(&fixture.tensor(key)), 0.0, TOLERANCE);
    };
    let (mut replicate, mut zero) = (convolution::<false>(&dev), convolution::<true>(&dev));
    expect(&output(&replicate), "conv_replicate");
    expect(&output(&zero), "conv_zero");
    for gate in [Gate::Held, Gate::Linear(1.0)] {
        replicate.reparameterize(&with(20.0, gate), 0).unwrap();
        zero.reparameterize(&with(20.0, gate), 0).unwrap();
        expect(&output(&replicate), "attention_output_alpha20");
        expect(&output(&zero), "attention_output_alpha20_zero_ring");
    }
}

#[test]
fn positions_and_maps_of_sharp_heads() {
    let (dev, fixture) = (Cpu::default(), fixture());
    let centres: Vec<i64> = kernel_offsets(3).iter().flat_map(|(dx, dy)| [*dy as i64, *dx as i64]).collect();
    assert_eq!(centres, fixture.integers("head_centres_dy_dx"));
    let mut layer = convolution::<false>(&dev);
    layer.reparameterize(&with(20.0, Gate::Held), 0).unwrap();
    assert_close("pos_proj", &layer.pos_proj.as_vec(), &fixture.tensor("pos_proj_alpha20"), 0.0, 0.0);
    let maps = layer.map(&input(&dev), GRID).unwrap();
    assert_eq!(maps.len(), 2 * 9 * 64 * 64);
    for sample in maps.chunks_exact(9 * 64 * 64) {
        assert_close("map", sample, &fixture.tensor("attention_alpha20"), 0.0, 1e-6);
        let argmax: Vec<i64> = sample
            .chunks_exact(64)
            .map(|row| (0..64).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64)
            .collect();
        assert_eq!(argmax, fixture.integers("attention_alpha20_argmax"));
    }
    // The weight keeps a convolution's layout: its slices are the columns of the projection over all heads.
    let (weight, columns) = (layer.weight.as_vec(), fixture.tensor("out_weight"));
    for (n, value) in columns.iter().enumerate() {
        let (out, head, channel) = (n / 27, n % 27 / 3, n % 3);
        assert_eq!(*value, weight[(out * 3 + channel) * 9 + head % 3 * 3 + head / 3]);
    }
}

/// Queries and keys of 0 attend to all patches alike.
#[test]
fn an_open_gate_mixes_in_uniform_attention() {
    let dev = Cpu::default();
    let mut layer = convolution::<false>(&dev);
    layer.reparameterize(&with(20.0, Gate::Sigmoid(1.0)), 0).unwrap();
    layer.qk.fill_with_zeros();
    let want = channels_last(&fixture().tensor("uniform_content_gate_sigmoid1.output"));
    assert_close("output", &output(&layer), &want, 0.0, TOLERANCE);
}

/// The file gives queries and keys themselves, so they are handed over as channels that the weight ignores.
#[test]
fn position_and_content_are_mixed_and_the_gate_has_its_gradient() {
    let (dev, fixture) = (Cpu::default(), fixture());
    let mut layer = WideLayer::build(&dev);
    let kernel = fixture.tensor("kernel");
    let weight = (0..4 * WIDE * 9).map(|n| {
        let (out, channel, place) = (n / (WIDE * 9), n / 9 % WIDE, n % 9);
        if channel < 3 { kernel[(out * 3 + channel) * 9 + place] } else { 0.0 }
    });
    layer.weight.copy_from(&weight.collect::<Vec<_>>());
    layer.bias.iter_mut().for_each(|bias| bias.copy_from(&fixture.tensor("bias")));
    layer.reparameterize(&with(1.5, Gate::Linear(0.7)), 0).unwrap();
    assert_close("pos_proj", &layer.pos_proj.as_vec(), &fixture.tensor("mixed.pos_proj"), 0.0, 0.0);
    let pick = (0..2 * QK * WIDE).map(|n| if n % WIDE == 3 + n / WIDE { 1.0 } else { 0.0 });
    layer.qk.copy_from(&pick.collect::<Vec<_>>());
    // [2, 9, 64, 4] each
    let (x, q, k) =
        (channels_last(&fixture.tensor("input")), fixture.tensor("mixed.q"), fixture.tensor("mixed.k"));
    let value = |n: usize| {
        let (token, channel) = (n / WIDE, n % WIDE);
        let of_head =
            |values: &[f32], i: usize| values[((token / 64 * 9 + i / 4) * 64 + token % 64) * 4 + i % 4];
        match channel {
            0..3 => x[token * 3 + channel],
            3..39 => of_head(&q, channel - 3),
            _ => of_head(&k, channel - 39),
        }
    };
    let x: Tokens<WIDE, f32, Cpu> =
        dev.tensor_from_vec((0..2 * 64 * WIDE).map(value).collect(), (2, 64, Const));
    let maps = layer.map(&x, GRID).unwrap();
    let first = fixture.tensor("mixed.attention_head0_image0");
    assert_close("map", &maps[..64 * 64], &first, 0.0, 1e-6);
    let y = layer.apply(x.leaky_trace(), GRID).unwrap().0;
    let want = channels_last(&fixture.tensor("mixed.output"));
    assert_close("output", &y.as_vec(), &want, 0.0, TOLERANCE);
    let gradients = y.sum().backward();
    let gate: f32 = gradients.get(&layer.gate).as_vec().iter().sum();
    assert_close("gate", &[gate], &fixture.tensor("mixed.gradient_gate"), 1e-5, 0.0);
}
