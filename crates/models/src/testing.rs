//! Checks that several models share.

use dfdx::prelude::*;
use inductive_nn::{BatchStatistics, Images, ModuleExt};
use inductive_ops::DropPath;

use crate::Model;

/// Takes the same batch in until the running averages are its own, and compares training with inference, whose logits may be `bound`
/// apart: running variances are unbiased. All norms get weights other than 0 first. Result: how many layers had statistics.
pub(crate) fn averages_reach_their_layers<M: Model<f32, Cpu>>(
    model: &mut M,
    images: Images<f32, Cpu>,
    bound: f32,
) -> usize {
    let mut phase = 0.0;
    model
        .for_each_parameter_mut(&mut |p| {
            phase += 1.0;
            let values: Vec<f32> = (0..p.numel()).map(|i| 0.7 + 0.5 * (phase + i as f32).sin()).collect();
            if p.shape().len() == 1 && p.trainable() { p.copy_from(&values) } else { Ok(()) }
        })
        .unwrap();
    let mut statistics = BatchStatistics::default();
    let traced = images.clone().leaky_traced();
    let train = model.forward_batch(traced, DropPath::default(), &mut statistics).unwrap().as_vec();
    let layers = statistics.layers().count();
    for _ in 0..200 {
        statistics.fold_into(model).unwrap();
    }
    let eval = model.forward(images, None).unwrap().as_vec();
    for (train, eval) in train.iter().zip(eval) {
        assert!((train - eval).abs() < bound, "{train} {eval}");
    }
    layers
}
