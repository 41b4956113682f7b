//! EIT beyond what the fixtures of the authors' code hold: images that are not square, the representation layer.

use dfdx::prelude::*;
use inductive_models::{
    Context, EitSpec, Family, ModelSpec, Record, Represented, Transformer, Trunk, families::eit,
};
use inductive_nn::{
    Block, Blocks, Build, ConvAttention, Layout, Linear, Mhsa, ModuleExt, Overlap, OverlappingPatches,
};
use inductive_ops::Grid;

type Stem = OverlappingPatches<20, 3, 1, 4, f32, Cpu>;
type Model = Transformer<Stem, 20, f32, Cpu>;

/// 32 x 24 pixels, 8 x 6 patches.
const TALL: (usize, usize) = (32, 24);
/// 24 x 32 pixels, 6 x 8 patches.
const WIDE: (usize, usize) = (24, 32);

fn model(dev: &Cpu, image: (usize, usize)) -> Model {
    let spec = EitSpec {
        overlap: Some(Overlap { kernel: 3, stride: 1, pool: 4 }),
        conv_channels: vec![8, 0],
        position_embedding: true,
        ..EitSpec::default()
    };
    let spec = ModelSpec { image, patch: 4, family: Family::Eit(spec), ..ModelSpec::default() };
    let blocks = |dev: &Cpu| -> inductive_nn::Result<Blocks<20, f32, Cpu>> {
        Ok(vec![
            Box::new(Block::<ConvAttention<20, 8, 12, 2, f32, Cpu>, 20, 80, f32, Cpu>::new(dev)?),
            Box::new(Block::<Mhsa<20, 2, true, f32, Cpu>, 20, 80, f32, Cpu>::new(dev)?),
        ])
    };
    eit(dev, &spec, blocks).unwrap()
}

/// `[outer, rows, cols, inner]` with rows and columns exchanged.
fn transposed(values: &[f32], rows: usize, cols: usize, inner: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for part in values.chunks_exact(rows * cols * inner) {
        for col in 0..cols {
            for row in 0..rows {
                out.extend_from_slice(&part[(row * cols + col) * inner..][..inner]);
            }
        }
    }
    out
}

/// The weights for the transposed image: kernels and positions transposed.
fn copy_transposed(from: &Model, to: &mut Model) {
    let mut values = Vec::new();
    from.for_each_parameter(&mut |p| {
        let own = p.to_vec();
        values.push(match *p.shape() {
            [_, _, rows, cols] => transposed(&own, rows, cols, 1),
            _ if p.name() == "pos_embed" => [own[..20].to_vec(), transposed(&own[20..], 8, 6, 20)].concat(),
            _ => own,
        });
        Ok(())
    })
    .unwrap();
    let mut values = values.iter();
    to.for_each_parameter_mut(&mut |p| p.copy_from(values.next().unwrap())).unwrap();
}

#[test]
fn a_transposed_image_with_transposed_weights_has_the_same_features() {
    let dev = Cpu::seed_from_u64(5);
    let (mut tall, mut wide) = (model(&dev, TALL), model(&dev, WIDE));
    // Ten times the initial weights, so that the class token depends on where things are.
    let grow = |values: Vec<f32>| values.into_iter().map(|w| 10.0 * w).collect::<Vec<_>>();
    tall.for_each_parameter_mut(&mut |p| p.copy_from(&grow(p.to_vec()))).unwrap();
    copy_transposed(&tall, &mut wide);
    let pixels: Vec<f32> =
        (0..2 * 3 * 32 * 24).map(|i| (0.37 * i as f32 + 1e-6 * (i * i) as f32).sin()).collect();
    let upright = dev.tensor_from_vec(pixels.clone(), (2, 3, 32, 24));
    let lying = dev.tensor_from_vec(transposed(&pixels, 32, 24, 1), (2, 3, 24, 32));
    let tall = tall.features(upright, Context::default()).unwrap().as_vec();
    let mut record = Record::everything();
    let context = Context { record: Some(&mut record), ..Default::default() };
    let wide = wide.features(lying, context).unwrap().as_vec();
    for (tall, wide) in tall.iter().zip(&wide) {
        assert!((tall - wide).abs() < 1e-4 * tall.abs().max(1.0), "{tall} {wide}");
    }
    let change = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(change(&tall[..20], &tall[20..]) > 0.01, "two images differ");
    assert_eq!(record.blocks[0].layout, Layout::with_class_token(Grid { rows: 6, cols: 8 }));
}

#[test]
fn the_representation_layer_is_a_tanh_of_a_linear_layer() {
    let dev = Cpu::seed_from_u64(6);
    let fc =
        Linear { bias: Some(dev.sample_uniform()), ..Linear::<20, 7, true, f32, Cpu>::new(&dev).unwrap() };
    let model = Represented { trunk: model(&dev, TALL), fc };
    let images = || dev.tensor_from_vec((0..2304).map(|i| (0.7 * i as f32).sin()).collect(), (1, 3, 32, 24));
    let below = model.trunk.features(images(), Context::default()).unwrap().as_vec();
    let above = model.features(images().leaky_traced(), Context::default()).unwrap();
    let (weight, bias) = (model.fc.weight.as_vec(), model.fc.bias().as_vec());
    for (row, (got, bias)) in weight.chunks_exact(20).zip(above.as_vec().iter().zip(bias)) {
        let want = (row.iter().zip(&below).map(|(w, x)| w * x).sum::<f32>() + bias).tanh();
        assert!((got - want).abs() < 1e-5, "{got}, want {want}");
    }
    let gradients = above.sum::<Rank0, _>().backward();
    assert!(gradients.get(&model.fc.weight).as_vec().iter().all(|g| *g != 0.0));
}

#[test]
fn an_image_of_the_transposed_size_is_an_error() {
    let dev = Cpu::default();
    let image = dev.zeros_like(&(1, 3, 24, 32));
    let error = model(&dev, TALL).features(image, Context::default()).unwrap_err().to_string();
    assert!(error.contains("[batch, 3, 32, 24]"), "{error}");
}
