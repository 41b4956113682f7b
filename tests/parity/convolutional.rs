//! Parity of convolutional networks: inference, training by the statistics of the batch, running averages after it.

use dfdx::prelude::*;
use inductive_models::{
    BasicResnet, BatchStatistics, CifarStem, Classifier, Context, ConvMixer, Model, ModelSpec, Record, Trunk,
};
use inductive_nn::ModuleExt;
use inductive_ops::{Backend, Grid};
use inductive_tests::{Fixture, assert_close, assert_points, relative_error};

use crate::{ATOL, RTOL, smooth_targets};

/// `[batch, C, tokens]` of a convolutional network in PyTorch to our `[batch, tokens, C]`.
fn channels_last(values: &[f32], batch: usize, channels: usize) -> Vec<f32> {
    let tokens = values.len() / (batch * channels);
    let at = |i: usize| (i / (tokens * channels), i / channels % tokens, i % channels);
    let value = |(sample, token, channel)| values[(sample * channels + channel) * tokens + token];
    (0..values.len()).map(|i| value(at(i))).collect()
}

/// Compares loss and gradients of `logits` with those under `prefix` of the fixture. No gradient is zero in exact
/// arithmetic here, so each has a relative error.
fn gradients<M, const C: usize, D>(
    model: &mut Classifier<M, C, Const<10>, f32, D>,
    logits: Tensor<(usize, usize), f32, D, OwnedTape<f32, D>>,
    (name, fixture): (&str, &Fixture),
    prefix: &str,
) where
    D: Backend<f32>,
    M: Trunk<C, f32, D>,
{
    let worst =
        assert_close("logits", &logits.as_vec(), &fixture.tensor(&format!("{prefix}logits")), RTOL, ATOL);
    let (mut compared, mut worst_gradient) = (0, 0.0f64);
    let targets = smooth_targets(&fixture.integers("target"), 10, 0.1);
    let device = logits.device().clone();
    let loss = device.cross_entropy(logits, &device.tensor_from_vec(targets, (2, 10))).unwrap();
    assert_close("loss", &loss.as_vec(), &fixture.tensor(&format!("{prefix}loss")), RTOL, ATOL);
    let mut gradients = loss.backward();
    model
        .for_each_parameter_mut(&mut |p| {
            if p.trainable() {
                let what = format!("{prefix}grad/{}", p.name());
                let (got, want) = (p.gradient(&mut gradients)?, fixture.tensor(&what));
                assert_close(&what, &got, &want, 1e-3, 1e-5);
                let error = relative_error(&got, &want);
                assert!(error < 1e-4, "{what}: relative error {error:e}");
                worst_gradient = worst_gradient.max(error);
                compared += 1;
            }
            Ok(())
        })
        .unwrap();
    println!(
        "{name} {prefix}: max |logits - timm| = {worst:.2e}, {compared} gradients, relative error up to {worst_gradient:.1e}"
    );
}

/// Runs one fixture on the model type `M` with width `C` and ten classes at 32 pixels. params: trainable numbers; blocks:
/// channels and side of each block's output; norms: batch normalisations.
fn parity<M, const C: usize, D>(
    device: &D,
    name: &str,
    trunk: inductive_models::Result<M>,
    params: usize,
    blocks: &[(usize, usize)],
    norms: usize,
) where
    D: Backend<f32>,
    M: Trunk<C, f32, D> + 'static,
{
    let fixture = Fixture::open(name);
    let (trunk, classes) = (trunk.unwrap(), Const::<10>);
    let mut model = Classifier::<M, C, _, f32, D>::new(device, trunk, classes, ModelSpec::default()).unwrap();
    let mut names = Vec::new();
    model
        .for_each_parameter_mut(&mut |p| {
            let name = format!("{}/{}", if p.trainable() { "weight" } else { "buffer" }, p.name());
            p.copy_from(&fixture.tensor(&name))?;
            names.push(name);
            Ok(())
        })
        .unwrap();
    let ours = |name: &str| names.iter().any(|n| n == name) || name.ends_with("num_batches_tracked");
    let theirs = fixture.main().entries().map(|entry| entry.name.to_owned());
    let mut theirs = theirs.filter(|name| name.starts_with("weight/") || name.starts_with("buffer/"));
    assert!(theirs.all(|name| ours(&name)), "the model lacks a parameter");
    assert_eq!(model.num_params(), params);

    let images = device.tensor_from_vec(fixture.tensor("input"), (2, 3, 32, 32));
    let mut record = Record::everything();
    record.points = Some(Vec::new());
    model.forward(images.clone(), Some(&mut record)).unwrap();
    assert_eq!(record.blocks.len(), blocks.len());
    for (i, (block, (channels, side))) in record.blocks.iter().zip(blocks).enumerate() {
        let want = channels_last(&fixture.tensor(&format!("block/{i}")), 2, *channels);
        assert_close(&format!("block {i}"), &block.output, &want, RTOL, ATOL);
        assert_eq!(block.layout.grid, Grid::square(*side));
    }
    assert!(assert_points(name, &record.points.unwrap()), "points");
    let logits = model.logits(images.clone().leaky_traced(), Context::default()).unwrap();
    gradients(&mut model, logits.realize(), (name, &fixture), "");

    let mut statistics = BatchStatistics::default();
    let traced = images.leaky_traced();
    let logits = model.forward_batch(traced, Default::default(), &mut statistics).unwrap();
    gradients(&mut model, logits, (name, &fixture), "train/");
    statistics.fold_into(&mut model).unwrap();
    let mut compared = 0;
    model
        .for_each_parameter(&mut |p| {
            if !p.trainable() {
                let what = format!("train/buffer_after/{}", p.name());
                assert_close(&what, &p.to_vec(), &fixture.tensor(&what), RTOL, ATOL);
                compared += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(compared, 2 * norms, "running averages");
}

#[test]
fn resnet_a_agrees_with_timm_in_inference_and_in_training() {
    fn test<D: Backend<f32>>(device: &D) {
        type M<D> = BasicResnet<CifarStem<4, f32, D>, 4, 8, 16, 32, f32, D>;
        let blocks = [(4, 32), (8, 16), (16, 8), (32, 4)];
        parity(device, "resnet_a", M::<D>::new(device, [1; 4], (32, 32)), 19_902, &blocks, 12);
    }
    on_test_device!(test);
}

#[test]
fn convmixer_a_agrees_with_timm_in_inference_and_in_training() {
    fn test<D: Backend<f32>>(device: &D) {
        let trunk = ConvMixer::<16, 3, 2, false, f32, D>::new(device, 2, (32, 32));
        parity(device, "convmixer_a", trunk, 1_402, &[(16, 16); 2], 5);
    }
    on_test_device!(test);
}
