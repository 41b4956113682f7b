//! What the tests of this folder share: a small recipe, and whole models as bytes.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;

use dfdx::prelude::Cpu;
use inductive_checkpoint::TensorFile;
use inductive_data::{Image, Normalize, Split};
use inductive_models::Model;
use inductive_schedule::{Duration, EmaDecay};
use inductive_train::{Recipe, Synthetic};

/// Two epochs of six updates of `convit_micro` on 96 synthetic images, with everything switched on.
pub fn tiny_recipe() -> Recipe {
    Recipe {
        synthetic: Synthetic { train: 100, test: 30, seed: 0 },
        batch_size: 16,
        epochs: Duration::Epochs(2.0),
        clip_grad: Some(1.0),
        ema: Some(EmaDecay::constant(0.9)),
        seed: 5,
        ..Recipe::default()
    }
}

/// All parameters as bytes, in order.
pub fn bytes(model: &dyn Model<f32, Cpu>) -> Vec<u8> {
    let mut bytes = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            bytes.extend(p.to_vec().iter().flat_map(|v| v.to_le_bytes()));
            Ok(())
        })
        .unwrap();
    bytes
}

/// The first images of the training set, normalised, and their labels.
pub fn fixed_batch(split: &Split, count: usize) -> (Vec<f32>, Vec<u32>) {
    let set = &split.train;
    let normalize = Normalize::new(set.info().mean, set.info().std);
    let size = 3 * set.height() * set.width();
    let mut images = vec![0.0; count * size];
    for (index, out) in images.chunks_exact_mut(size).enumerate() {
        normalize.write(&Image::new(set.image(index), set.height(), set.width()), out);
    }
    (images, (0..count).map(|index| set.label(index)).collect())
}

/// Every tensor of a file with its bytes; a run's timings are not among them.
pub fn tensors(path: impl AsRef<Path>) -> Vec<(String, Vec<u8>)> {
    let file = TensorFile::open(path).unwrap();
    file.entries().map(|entry| (entry.name.to_owned(), entry.bytes.to_vec())).collect()
}
