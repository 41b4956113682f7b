//! Parity of a published size, at 224 pixels with 1000 classes; weights and image follow a rule that both sides know.

use dfdx::prelude::*;
use inductive_models::{BuildOptions, Zoo, build};
use inductive_nn::ModuleExt;
use inductive_tests::{Fixture, assert_close};

use crate::{ATOL, RTOL, smooth_targets};

/// The rule that the weights of the full-size fixtures follow.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Sine,
    Hash,
}

impl Rule {
    fn hash(index: u32, position: u32) -> f64 {
        let mut h = index
            .wrapping_mul(2_654_435_761)
            .wrapping_add(position.wrapping_mul(40_503))
            .wrapping_add(12_345);
        h ^= h >> 16;
        h = h.wrapping_mul(2_246_822_507);
        h ^= h >> 13;
        h = h.wrapping_mul(3_266_489_909);
        h ^= h >> 16;
        h as f64 / 4_294_967_296.0
    }

    fn weight(self, index: usize, position: usize, layer_norm: bool) -> f32 {
        let offset = if layer_norm { 1.0 } else { 0.0 };
        let value = match self {
            Self::Sine => 0.02 * (0.37 * index as f64 + 1.7 * position as f64).sin(),
            Self::Hash => 0.1 * (Self::hash(index as u32, position as u32) - 0.5),
        };
        (value + offset) as f32
    }

    fn pixel(self, index: usize) -> f32 {
        match self {
            Self::Sine => (0.01 * index as f64).sin() as f32,
            Self::Hash => (4.0 * (Self::hash(index as u32, 1000) - 0.5)) as f32,
        }
    }
}

fn full_size<D: Zoo>(device: &D, name: &str, rule: Rule) {
    let fixture = Fixture::open(name);
    let mut model = build(device, "convit_tiny", &BuildOptions::default()).unwrap().model;
    let mut names = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            names.push(p.name().to_owned());
            Ok(())
        })
        .unwrap();
    names.sort();
    model
        .for_each_parameter_mut(&mut |p| {
            let position = names.binary_search_by(|n| n.as_str().cmp(p.name())).unwrap();
            let layer_norm = p.name().ends_with("norm.weight")
                || p.name().ends_with("norm1.weight")
                || p.name().ends_with("norm2.weight");
            let values: Vec<f32> = (0..p.numel()).map(|i| rule.weight(i, position, layer_norm)).collect();
            p.copy_from(&values)
        })
        .unwrap();
    let pixels = (0..3 * 224 * 224).map(|i| rule.pixel(i)).collect();
    let images = device.tensor_from_vec(pixels, (1, 3, 224, 224));
    let logits = model.forward(images, None).unwrap();
    let worst = assert_close("logits", &logits.as_vec(), &fixture.tensor("logits"), RTOL, ATOL);
    let labels = fixture.integers("target");
    for (key, smoothing) in [("loss", 0.1), ("loss_plain", 0.0)] {
        let targets = device.tensor_from_vec(smooth_targets(&labels, 1000, smoothing), (1, 1000));
        let loss = device.cross_entropy(logits.clone(), &targets).unwrap();
        assert_close(key, &loss.as_vec(), &fixture.tensor(key), RTOL, ATOL);
    }
    println!("{name}: max |logits - timm| = {worst:.2e}");
}

#[test]
fn convit_tiny_at_224_pixels_agrees_with_timm() {
    fn test<D: Zoo>(device: &D) {
        full_size(device, "full_convit_tiny_hash", Rule::Hash);
        full_size(device, "full_convit_tiny_sine", Rule::Sine);
    }
    on_test_device!(test);
}
