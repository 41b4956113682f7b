//! Running averages of batch normalisation in training: who moves them, who leaves them alone, what keeps them.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use inductive_models::{BasicResnet, CifarStem, Classifier, Images, Model, ModelSpec};
use inductive_nn::ModuleExt;
use inductive_ops::DropPath;
use inductive_schedule::EmaDecay;

use crate::{
    Error, Learner, Recipe, decays,
    evaluate::to_device,
    probe::Probe,
    state::{Position, StateHeader},
    switching::Switching,
};

type Trunk = BasicResnet<CifarStem<4, f32, Cpu>, 4, 4, 6, 8, f32, Cpu>;

const SIZE: (usize, usize) = (8, 8);

fn recipe() -> Recipe {
    Recipe { ema: Some(EmaDecay::constant(0.9)), weight_decay: 0.3, drop_path: 0.0, ..Recipe::default() }
}

fn model(seed: u64) -> Box<dyn Model<f32, Cpu>> {
    let device = Cpu::seed_from_u64(seed);
    let trunk = Trunk::new(&device, [1; 4], SIZE).unwrap();
    let spec = ModelSpec { image: SIZE, ..ModelSpec::default() };
    Box::new(Classifier::<Trunk, 8, usize, f32, Cpu>::new(&device, trunk, 10, spec).unwrap())
}

fn learner(seed: u64) -> Learner<Cpu> {
    Learner::of_model(&Cpu::default(), &recipe(), model(seed), Vec::new()).unwrap()
}

/// A batch of four, different for every step.
fn batch(step: usize) -> (Vec<f32>, [u32; 4]) {
    let pixel = |i: usize| ((i * i + 31 * step) % 1009) as f32 / 300.0 - 1.0;
    ((0..4 * 3 * 64).map(pixel).collect(), [0, 3, 5, 9])
}

fn images(step: usize) -> Images<f32, Cpu> {
    to_device(&Cpu::default(), batch(step).0, 4, SIZE).unwrap()
}

fn step(learner: &mut Learner<Cpu>, step: usize) {
    let (images, labels) = batch(step);
    learner.step(images, &labels, 0.1).unwrap();
}

/// All parameters whose name ends so, in order.
fn values(model: &dyn Model<f32, Cpu>, end: &str) -> Vec<Vec<f32>> {
    let mut values = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            values.extend(p.name().ends_with(end).then(|| p.to_vec()));
            Ok(())
        })
        .unwrap();
    values
}

#[test]
fn a_step_takes_the_batch_in_and_the_optimizer_leaves_it_alone() {
    let (mut learner, mut alone) = (learner(1), model(1));
    step(&mut learner, 0);
    alone.forward_train(images(0).leaky_traced(), DropPath::default()).unwrap();
    for end in ["running_mean", "running_var"] {
        let got = values(learner.model(), end);
        assert_eq!(got, values(&*alone, end));
        assert_eq!(got.len(), 12);
        assert_ne!(got, values(&*model(1), end));
    }
    assert_ne!(values(learner.model(), "conv1.weight"), values(&*alone, "conv1.weight"));
}

#[test]
fn gradients_alone_and_a_step_that_fails_change_nothing() {
    let mut learner = learner(2);
    let before = values(learner.model(), "");
    let (mut images, labels) = batch(0);
    learner.gradients(images.clone(), &labels).unwrap();
    assert_eq!(values(learner.model(), ""), before);
    images[100] = f32::NAN;
    let error = learner.step(images, &labels, 0.1).unwrap_err();
    // ReLU passes a NaN on: it does not hide where it came from.
    assert!(matches!(&error, Error::NotFinite { layer, .. } if layer.contains("layer1.0")), "{error:?}");
    assert_eq!(values(learner.model(), ""), before);
}

#[test]
fn the_average_of_the_weights_has_averages_of_the_running_statistics() {
    let mut learner = learner(3);
    let start = crate::by_name::values(learner.model());
    step(&mut learner, 0);
    let now = crate::by_name::values(learner.model());
    let average: BTreeMap<_, _> = learner.ema.as_ref().unwrap().values().collect();
    assert!(average.keys().eq(now.keys()) && average.len() > 50, "{:?}", average.keys());
    for (name, average) in average {
        for (average, (start, now)) in average.iter().zip(start[name].iter().zip(&now[name])) {
            let want = 0.9 * start + 0.1 * now;
            assert!((average - want).abs() <= 1e-6 * want.abs().max(1.0), "{name}: {average}, want {want}");
        }
    }
}

#[test]
fn a_restored_learner_goes_on_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let (mut one, mut other) = (learner(4), learner(5));
    (0..3).for_each(|i| step(&mut one, i));
    let position = Position { step: 3, ..Position::default() };
    let header = StateHeader { position, recipe: recipe(), data: String::new(), parts: Default::default() };
    header.write(&path, Some((&one, &[]))).unwrap();
    header.restore(&path, &mut other, &Switching::default()).unwrap();
    for learner in [&mut one, &mut other] {
        (3..6).for_each(|i| step(learner, i));
    }
    assert_eq!(values(one.model(), ""), values(other.model(), ""));
    let [one, other] = [one, other].map(|learner| {
        let ema = learner.ema.unwrap();
        ema.values().map(|(name, values)| (name.to_owned(), values)).collect::<Vec<_>>()
    });
    assert_eq!(one, other);
}

#[test]
fn in_evaluation_an_image_does_not_see_its_batch() {
    let mut learner = learner(6);
    (0..3).for_each(|i| step(&mut learner, i));
    let first = to_device(&Cpu::default(), batch(0).0[..3 * 64].to_vec(), 1, SIZE).unwrap();
    let alone = learner.model().forward(first, None).unwrap().as_vec();
    let together = learner.model().forward(images(0), None).unwrap().as_vec();
    for (alone, together) in alone.iter().zip(together) {
        assert!((alone - together).abs() < 1e-5, "{alone} {together}");
    }
}

#[test]
fn convolutions_and_the_head_decay_and_nothing_of_batch_normalisation() {
    model(7)
        .for_each_parameter(&mut |p| {
            let matrix = p.name().contains("conv")
                || p.name().ends_with("downsample.0.weight")
                || p.name() == "fc.weight";
            assert_eq!(decays(p.name(), p.shape()), matrix, "{}", p.name());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_model_without_attention_has_no_nonlocality() {
    let probe = Probe::of(batch(0).0, 4);
    let inside = probe.measure(&Cpu::default(), &*model(8), &[]).unwrap();
    assert!(inside.nonlocality.is_empty() && inside.head_diversity.is_empty());
    assert!(!inside.high_frequency.is_empty(), "its maps have frequencies");
}
