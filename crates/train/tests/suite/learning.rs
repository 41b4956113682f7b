//! Whether it learns, and always the same.

use inductive_nn::ModuleExt;
use std::{collections::BTreeMap, sync::Arc};

use crate::common::{bytes, fixed_batch, largest, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_data::{DatasetInfo, ImageSet, Split};
use inductive_train::{Learner, Outcome, Recipe, Silent, Synthetic, TrainOptions, train};

fn calm() -> Recipe {
    Recipe { drop_path: 0.0, clip_grad: None, ema: None, weight_decay: 0.0, ..tiny_recipe() }
}

#[test]
fn the_loss_falls_on_a_fixed_batch() {
    let (images, labels) = fixed_batch(&calm().load_data().unwrap(), 32);
    let mut learner = Learner::new(&Cpu::default(), &calm(), 10).unwrap();
    let losses: Vec<f64> =
        (0..10).map(|_| learner.step(images.clone(), &labels, 1e-3).unwrap().loss).collect();
    assert!((losses[0] - 10_f64.ln()).abs() < 0.2, "{losses:?}");
    assert!(losses[9] < losses[0] - 0.1, "{losses:?}");
}

#[test]
fn sixty_four_images_are_learned_by_heart() {
    let recipe = Recipe { label_smoothing: 0.0, ..calm() };
    let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), 64);
    let mut learner = Learner::new(&Cpu::default(), &recipe, 10).unwrap();
    let mut correct = 0;
    for step in 0..120 {
        let lr = 2e-3 * (f64::from(step + 1) / 10.0).min(1.0);
        correct = learner.step(images.clone(), &labels, lr).unwrap().correct;
        if correct * 100 > 95 * 64 {
            return;
        }
    }
    panic!("{correct} of 64 images after 120 steps");
}

#[test]
fn every_parameter_receives_a_gradient_but_the_bias_of_positions() {
    let (images, labels) = fixed_batch(&calm().load_data().unwrap(), 8);
    let mut learner = Learner::new(&Cpu::default(), &calm(), 10).unwrap();
    let mut gradients = learner.gradients(images, &labels).unwrap();
    let mut sizes = BTreeMap::new();
    learner
        .model_mut()
        .for_each_parameter_mut(&mut |p| {
            sizes.insert(p.name().to_owned(), largest(p.gradient(&mut gradients)?));
            Ok(())
        })
        .unwrap();
    for (name, largest) in sizes {
        assert!(largest.is_finite(), "{name}: {largest}");
        // It shifts all scores of a row alike, so softmax does not see it: zero but for rounding.
        let silent = name.ends_with("pos_proj.bias");
        assert_eq!(largest < 1e-7, silent, "{name}: {largest}");
    }
}

/// Six updates with drop path, clipping and an average, in a pool of so many threads.
fn weights_after_six_steps(threads: usize) -> (Vec<u8>, Vec<u64>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let recipe = tiny_recipe();
        let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), 33);
        let mut learner = Learner::new(&Cpu::default(), &recipe, 10).unwrap();
        let losses = (0..6).map(|_| learner.step(images.clone(), &labels, 1e-3).unwrap().loss.to_bits());
        let losses = losses.collect();
        (bytes(learner.model()), losses)
    })
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    let (one, two) = (weights_after_six_steps(1), weights_after_six_steps(2));
    assert_eq!(one.1, two.1);
    assert!(one.0 == two.0, "weights differ");
}

#[test]
fn the_seed_decides_the_initial_weights_and_drop_path() {
    let learner = |seed| Learner::new(&Cpu::default(), &Recipe { seed, ..tiny_recipe() }, 10).unwrap();
    assert!(bytes(learner(1).model()) == bytes(learner(1).model()));
    assert!(bytes(learner(1).model()) != bytes(learner(2).model()));

    // The same weights under another seed: only drop path can tell.
    let (images, labels) = fixed_batch(&tiny_recipe().load_data().unwrap(), 16);
    let first_loss = |seed, drop_path| {
        let recipe = Recipe { seed, drop_path, ..tiny_recipe() };
        let (mut from, mut to) = (learner(1), Learner::new(&Cpu::default(), &recipe, 10).unwrap());
        let mut values = Vec::new();
        from.model_mut()
            .for_each_parameter(&mut |p| {
                values.push(p.to_vec());
                Ok(())
            })
            .unwrap();
        let mut values = values.iter();
        to.model_mut().for_each_parameter_mut(&mut |p| p.copy_from(values.next().unwrap())).unwrap();
        to.step(images.clone(), &labels, 1e-3).unwrap().loss
    };
    assert_eq!(first_loss(1, 0.0), first_loss(2, 0.0));
    assert_ne!(first_loss(1, 0.5), first_loss(2, 0.5));
}

#[test]
fn a_batch_of_the_wrong_size_is_an_error() {
    let mut learner = Learner::new(&Cpu::default(), &calm(), 10).unwrap();
    let error = learner.step(vec![0.0; 100], &[0, 1], 1e-3).unwrap_err().to_string();
    assert!(error.contains("[2, 3, 32, 32]") && error.contains("100 numbers"), "{error}");
    assert!(learner.step(Vec::new(), &[], 1e-3).is_err());
}

#[test]
fn any_number_of_classes_trains_and_none_is_refused() {
    let recipe = Recipe { synthetic: Synthetic::default(), ..calm() };
    let error = Learner::new(&Cpu::default(), &recipe, 0).unwrap_err().to_string();
    assert!(error.contains("0 classes") && error.contains("1 to 262144"), "{error}");
    let mut learner = Learner::new(&Cpu::default(), &recipe, 7).unwrap();
    let pixels = (0..2 * 3 * 1024).map(|i| (i as f32).sin()).collect();
    assert!(learner.step(pixels, &[0, 6], 1e-3).is_ok());
}

/// Ten classes of plain colours under noise.
fn plain_colours(count: usize) -> Arc<ImageSet> {
    let class_names = (0..10).map(|class| class.to_string()).collect();
    let spec = "synthetic".to_owned();
    let info = DatasetInfo { spec, height: 32, width: 32, class_names, mean: [0.5; 3], std: [0.25; 3] };
    let pixel = |image: usize, at: usize| {
        let (class, channel) = (image % 10, at / 1024);
        let noise = (at * 7919 + image * 104_729) % 32;
        ([class * 20, (class * 7 % 10) * 20, (class * 3 % 10) * 20][channel] + noise) as u8
    };
    let pixels = (0..count).flat_map(|image| (0..3 * 1024).map(move |at| pixel(image, at))).collect();
    Arc::new(ImageSet::new(info, pixels, (0..count).map(|image| (image % 10) as u32).collect()).unwrap())
}

#[test]
fn an_easy_set_is_learned_through_loader_loop_and_evaluation() {
    let recipe = Recipe {
        batch_size: 20,
        epochs: inductive_schedule::Duration::Epochs(6.0),
        eval_every: inductive_schedule::Duration::Epochs(3.0),
        ema: None,
        ..Recipe::default()
    };
    let split = Split { train: plain_colours(200), test: plain_colours(40), notices: Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        train(&Cpu::default(), &recipe, &split, folder.path(), &TrainOptions::default(), &mut Silent)
            .unwrap();
    let Outcome::Finished(result) = outcome else { panic!("{outcome:?}") };
    let last = result.metrics.last().unwrap();
    assert!(last.test_top1 > 90.0 && last.test_top5 > 95.0, "{last:?}");
    assert!(last.train_loss < result.metrics[0].train_loss, "{:?}", result.metrics);
}
