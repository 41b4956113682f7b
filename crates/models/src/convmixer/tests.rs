//! ConvMixers by their types: the order inside a block, names, initial weights, running averages, gradients of images.

use dfdx::prelude::*;
use inductive_nn::{Buffer, ModuleExt};
use inductive_ops::DropPath;

use super::*;
use crate::{Classifier, Error, Model, ModelSpec, testing::averages_reach_their_layers};

/// Images of 12 x 8 pixels, 6 x 4 patches.
type Small<E, const RELU: bool> = ConvMixer<6, 3, 2, RELU, E, Cpu>;
type Of<E, const RELU: bool> = Classifier<Small<E, RELU>, 6, Const<10>, E, Cpu>;

fn build<E: Dtype, const RELU: bool>() -> Of<E, RELU>
where
    Cpu: Backend<E>,
{
    let device = Cpu::seed_from_u64(0);
    let trunk = ConvMixer::new(&device, 2, (12, 8)).unwrap();
    Classifier::new(&device, trunk, Const, ModelSpec::default()).unwrap()
}

/// Numbers that look random, some of them negative.
fn images<E: Dtype>(batch: usize) -> Images<E, Cpu>
where
    Cpu: Device<E>,
{
    let value = |i: usize| E::from_f64((i * i % 1009) as f64 / 504.0 - 1.0).unwrap();
    Cpu::default().tensor_from_vec((0..batch * 3 * 96).map(value).collect(), (batch, 3, 12, 8))
}

/// A block of two channels whose filters are 0, so that the depthwise convolution gives its bias, 1 and -2; whose linear
/// layer is the identity; whose norms do nothing but multiply, the first by -1, the second by 2.
fn block<const RELU: bool>() -> ConvMixerBlock<2, 3, RELU, f32, Cpu> {
    let device = Cpu::default();
    let mut block: ConvMixerBlock<2, 3, RELU, f32, Cpu> = Build::new(&device).unwrap();
    block.spatial_weight = device.zeros();
    block.spatial_bias = device.tensor([1.0, -2.0]);
    block.channel_weight = device.tensor([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]]);
    block.channel_bias = device.zeros();
    for (norm, weight) in [(&mut block.spatial_norm, -1.0), (&mut block.channel_norm, 2.0)] {
        norm.weight = device.tensor([weight; 2]);
        norm.running_var = Buffer(device.tensor([1.0 - 1e-5; 2]));
    }
    block
}

/// The block's answer to one patch of two channels.
fn answer<const RELU: bool>(x: [f32; 2]) -> Vec<f32> {
    let x = Cpu::default().tensor_from_vec(x.to_vec(), (1, 1, Const::<2>));
    block::<RELU>().apply(x, Grid::square(1), None, None).unwrap().as_vec()
}

#[track_caller]
fn close(got: &[f32], want: [f32; 2]) {
    assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{got:?}, want {want:?}");
}

#[test]
fn a_block_normalises_after_the_activation_and_adds_its_input_after_the_first_norm_alone() {
    // gelu(1) = 0.8413447, gelu(-2) = -0.0455003: torch.nn.functional.gelu. After the residual connection the first channel
    // is 2 - gelu(1) = 1.1586553, the second -1 - gelu(-2) = -0.9544997; their GELUs are 1.0157950 and -0.1621842.
    close(&answer::<false>([2.0, -1.0]), [2.031_59, -0.324_368_4]);
    // relu(1) = 1, relu(-2) = 0: 2 - 1 = 1 and 3 - 0 = 3, or 0 where that is negative.
    close(&answer::<true>([2.0, 3.0]), [2.0, 6.0]);
    close(&answer::<true>([0.5, -3.0]), [0.0, 0.0]);
}

#[test]
fn names_are_timms_in_the_order_of_the_forward_pass() {
    let mut names = Vec::new();
    let _ = build::<f32, false>().for_each_parameter(&mut |p| {
        names.extend(p.trainable().then(|| p.name().to_owned()));
        Ok(())
    });
    let block = [
        "0.fn.0.weight",
        "0.fn.0.bias",
        "0.fn.2.weight",
        "0.fn.2.bias",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
    ];
    let blocks = (0..2).flat_map(|i| block.map(|name| format!("blocks.{i}.{name}")));
    let stem = ["stem.0.weight", "stem.0.bias", "stem.2.weight", "stem.2.bias"].map(String::from);
    let head = ["head.weight", "head.bias"].map(String::from);
    assert_eq!(names, stem.into_iter().chain(blocks).chain(head).collect::<Vec<_>>());
}

#[test]
fn convolutions_and_head_begin_uniform_by_their_fan_in() {
    let device = Cpu::seed_from_u64(1);
    let trunk = ConvMixer::<64, 5, 4, false, f32, Cpu>::new(&device, 1, (8, 8)).unwrap();
    let model = Classifier::new(&device, trunk, Const::<10>, ModelSpec::default()).unwrap();
    let mut seen = 0;
    model
        .for_each_parameter(&mut |p| {
            let fan_in = match p.name() {
                "stem.0.weight" | "stem.0.bias" => 48.0f32,
                "blocks.0.0.fn.0.weight" | "blocks.0.0.fn.0.bias" => 25.0,
                "blocks.0.1.weight" | "blocks.0.1.bias" | "head.weight" | "head.bias" => 64.0,
                _ => return Ok(()),
            };
            let largest = p.to_vec().iter().fold(0.0f32, |most, v| most.max(v.abs()));
            assert!((0.75..=1.0).contains(&(largest * fan_in.sqrt())), "{}: {largest}", p.name());
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 8);
    assert_eq!(model.trunk.blocks[0].spatial_norm.weight.as_vec(), [1.0; 64]);
}

/// As many blocks as the type says, each on the grid of the patches.
#[test]
fn records_say_the_grid_of_every_block() {
    let model = build::<f32, false>();
    let mut record = Record::everything();
    model.forward(images(2), Some(&mut record)).unwrap();
    let layout = Layout::patches(Grid { rows: 6, cols: 4 });
    assert_eq!(record.blocks.len(), 2);
    for (index, block) in record.blocks.iter().enumerate() {
        assert_eq!((block.layout, model.layout(index)), (layout, layout));
        assert!(block.attention.is_none() && block.output.len() == 2 * 24 * 6);
    }
    let last = &record.blocks[1].output;
    let features = model.trunk.features(images(2), Context::default()).unwrap().as_vec();
    let mean = (0..24).map(|patch| last[patch * 6]).sum::<f32>() / 24.0;
    assert!((features[0] - mean).abs() < 1e-6, "{} {mean}", features[0]);
}

#[test]
fn running_averages_reach_their_own_layers() {
    let layers = averages_reach_their_layers(&mut build::<f32, false>(), images(16), 0.01);
    assert_eq!(layers, 5, "stem, and two in each block");
}

/// Gradient of `sum_i i logit_i` with respect to the images.
fn saliency<E: Dtype, const RELU: bool>(model: &Of<E, RELU>, image_gradient: bool) -> Vec<f64>
where
    Cpu: Backend<E>,
{
    let (images, device) = (images::<E>(2), Cpu::default());
    let context = Context { image_gradient, ..Context::default() };
    let logits = model.logits(images.leaky_trace(), context).unwrap();
    let weights = (0..20).map(|i| E::from_f64(i as f64).unwrap()).collect();
    let loss = (logits * device.tensor_from_vec(weights, (2, Const::<10>))).sum::<Rank0, _>();
    let mut gradients = loss.backward();
    gradients.get_or_alloc_mut(&images).unwrap();
    gradients.get(&images).as_vec().into_iter().map(|v| v.to_f64().unwrap()).collect()
}

fn images_receive_their_gradient<const RELU: bool>() {
    let model = build::<f32, RELU>();
    let mut exact = build::<f64, RELU>();
    let mut values = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            values.push(p.to_vec().into_iter().map(f64::from).collect::<Vec<_>>());
            Ok(())
        })
        .unwrap();
    let mut values = values.into_iter();
    exact.for_each_parameter_mut(&mut |p| p.copy_from(&values.next().unwrap())).unwrap();
    let (got, want) = (saliency(&model, true), saliency(&exact, true));
    let scale = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    assert!(scale > 1e-3, "{scale}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-4 * scale, "{got} {want} of at most {scale}");
    }
    assert!(saliency(&model, false).iter().all(|v| *v == 0.0), "not asked for");
}

#[test]
fn images_receive_a_gradient_when_asked() {
    images_receive_their_gradient::<false>();
    images_receive_their_gradient::<true>();
}

#[test]
fn images_of_another_size_and_rates_that_cannot_be_meant_are_refused() {
    let model = build::<f32, true>();
    let square = Cpu::default().zeros_like(&(1, 3, 12, 12));
    let error = model.forward(square, None).unwrap_err().to_string();
    assert!(error.contains("[batch, 3, 12, 8]"), "{error}");
    let logits = |rate: f64| {
        let path = DropPath { rate, seed: 1 };
        let statistics = &mut BatchStatistics::default();
        model.forward_batch(images(2).leaky_traced(), path, statistics).map(|logits| logits.as_vec())
    };
    assert_eq!(logits(0.0).unwrap(), logits(0.9).unwrap());
    assert!(matches!(logits(1.0), Err(Error::Schedule(_))));
}
