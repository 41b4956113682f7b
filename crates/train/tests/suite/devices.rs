//! Training on a GPU beside the CPU: the same losses, whether passes are repeated or have a tape.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use dfdx::{prelude::Cpu, tensor::Cuda};
use inductive_models::Zoo;
use inductive_nn::ModuleExt;
use inductive_schedule::EmaDecay;
use inductive_train::{Error, Learner, Recipe, StepReport, Synthetic};

use crate::common::{fixed_batch, values};

const UPDATES: usize = 20;
/// With fewer, batch normalisation in the last stage of a ResNet makes much of a rounding.
const IMAGES: usize = 8;

fn recipe(model: &str) -> Recipe {
    Recipe {
        model: model.to_owned(),
        synthetic: Synthetic { train: 200, test: 20, seed: 0 },
        batch_size: IMAGES,
        drop_path: 0.2,
        label_smoothing: 0.1,
        clip_grad: Some(1.0),
        seed: 3,
        ..Recipe::default()
    }
}

fn learner<D: Zoo>(device: &D, recipe: &Recipe) -> Learner<D> {
    Learner::new(device, recipe, 10).unwrap()
}

/// Other images in every update, from the first on.
fn batches(recipe: &Recipe) -> Vec<(Vec<f32>, Vec<u32>)> {
    let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), UPDATES * IMAGES);
    let size = images.len() / UPDATES;
    images.chunks(size).zip(labels.chunks(IMAGES)).map(|(a, b)| (a.to_vec(), b.to_vec())).collect()
}

/// All updates; `each` comes before every one.
fn train<D: Zoo>(
    learner: &mut Learner<D>,
    recipe: &Recipe,
    mut each: impl FnMut(&mut Learner<D>),
) -> Vec<StepReport> {
    for (images, labels) in batches(recipe) {
        each(learner);
        learner.start(images, &labels, 1e-3).unwrap();
    }
    learner.reports().unwrap()
}

fn gpu() -> Cuda {
    Cuda::try_build(0, 0).unwrap()
}

fn as_on_the_cpu(model: &str) {
    let recipe = recipe(model);
    let want = train(&mut learner(&Cpu::default(), &recipe), &recipe, |_| ());
    let got = train(&mut learner(&gpu(), &recipe), &recipe, |_| ());
    assert_eq!((got.len(), want.len()), (UPDATES, UPDATES));
    for (step, (got, want)) in got.iter().zip(&want).enumerate() {
        let apart = (got.loss - want.loss).abs();
        assert!(apart < 1e-4, "{model}, update {step}: {} on the GPU, {} on the CPU", got.loss, want.loss);
        let [norm, wanted] = [got, want].map(|it| it.gradient_norm.unwrap());
        assert!((norm / wanted - 1.0).abs() < 1e-3, "{model}, update {step}: {norm}, {wanted} on the CPU");
        assert_eq!((got.correct, got.images), (want.correct, want.images), "{model}, update {step}");
    }
    assert!(want.iter().any(|it| it.correct > 0), "an accuracy of 0 says nothing");
}

#[test]
fn convit_learns_as_on_the_cpu() {
    as_on_the_cpu("convit_micro");
}

#[test]
fn vit_learns_as_on_the_cpu() {
    as_on_the_cpu("deit_micro");
}

#[test]
fn eit_learns_as_on_the_cpu() {
    as_on_the_cpu("eit_micro");
}

#[test]
fn prs_learns_as_on_the_cpu() {
    as_on_the_cpu("prs_micro");
}

#[test]
fn resnet_learns_as_on_the_cpu() {
    as_on_the_cpu("resnet_micro");
}

/// Someone who has the model in hand before each update keeps every pass on a tape.
#[test]
fn a_pass_that_is_repeated_has_the_bits_of_one_with_a_tape() {
    for (model, ema) in [("convit_micro", None), ("deit_micro", Some(EmaDecay::constant(0.9)))] {
        let recipe = Recipe { ema, clip_grad: ema.map(|_| 1.0), ..recipe(model) };
        let mut taped = learner(&gpu(), &recipe);
        let want = train(&mut taped, &recipe, |learner| {
            learner.model();
            assert_eq!(learner.unsettled(), 0);
        });
        let mut repeated = learner(&gpu(), &recipe);
        let mut most = 0;
        let got = train(&mut repeated, &recipe, |learner| most = most.max(learner.unsettled()));
        // The first makes the parameters' memory their own, the second is watched.
        assert_eq!(most, UPDATES - 3, "{model}: passes were not repeated");
        assert_eq!(got, want, "{model}");
        assert_eq!(values(repeated.model()), values(taped.model()), "{model}");
    }
}

#[test]
fn parameters_get_other_memory_once_someone_has_had_them() {
    let recipe = recipe("deit_micro");
    let mut learner = learner(&gpu(), &recipe);
    let mut batches = batches(&recipe).into_iter();
    let mut step = |learner: &mut Learner<Cuda>| {
        let (images, labels) = batches.next().unwrap();
        learner.step(images, &labels, 1e-3).unwrap();
    };
    (0..4).for_each(|_| step(&mut learner));
    // A layer's weight, held beside the model.
    let mut held = Vec::new();
    learner
        .model()
        .for_each_parameter(&mut |p| {
            held.push((p.place(), p.to_vec()));
            Ok(())
        })
        .unwrap();
    step(&mut learner);
    let mut moved = 0;
    learner
        .model()
        .for_each_parameter(&mut |p| {
            let (place, values) = &held[moved];
            assert_ne!(p.place(), *place, "{} was changed where it was", p.name());
            assert_ne!(p.to_vec(), *values, "{} did not change", p.name());
            moved += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(moved, held.len());
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_changes_nothing() {
    let recipe = recipe("deit_micro");
    let (mut learner, mut other) = (learner(&gpu(), &recipe), learner(&gpu(), &recipe));
    let mut failed = None;
    for (step, (mut images, mut labels)) in batches(&recipe).into_iter().enumerate() {
        // Two sizes of batches, each with a pass of its own.
        if step % 3 == 1 {
            labels.truncate(IMAGES - 3);
            images.truncate(images.len() / IMAGES * labels.len());
        }
        if step < 10 {
            other.start(images.clone(), &labels, 1e-3).unwrap();
        }
        if step == 10 {
            images[7] = f32::NAN;
        }
        match learner.start(images, &labels, 1e-3) {
            Ok(()) => continue,
            Err(error) => failed = Some(error),
        }
        break;
    }
    let error = failed.unwrap_or_else(|| learner.reports().unwrap_err());
    assert!(matches!(error, Error::NotFinite { step: 10, .. }), "{error}");
    other.reports().unwrap();
    assert_eq!((learner.steps(), other.steps()), (10, 10));
    assert_eq!(values(learner.model()), values(other.model()));
    // It can go on.
    let (images, labels) = batches(&recipe).swap_remove(10);
    let reports = [&mut learner, &mut other].map(|it| it.step(images.clone(), &labels, 1e-3).unwrap());
    assert_eq!(reports[0], reports[1]);
}

/// Says how many updates [`counted`] makes.
const COUNTED: &str = "INDUCTIVE_TEST_UPDATES";

/// What the emulated device was asked for by a program that makes so many updates: a number for each word.
fn asked(updates: u64) -> BTreeMap<String, i64> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "devices::counted", "--nocapture"])
        .env(COUNTED, updates.to_string())
        .env("EMULATED_REPORT", "1")
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let lines = said.lines().filter_map(|line| line.strip_prefix("emulated device: "));
    let parts = lines.flat_map(|line| line.split([',', ';'])).filter_map(|part| part.trim().split_once(' '));
    parts.filter_map(|(number, word)| Some((word.to_owned(), number.parse().ok()?))).collect()
}

/// A test by itself only where it is asked for.
#[test]
fn counted() {
    let Some(updates) = std::env::var(COUNTED).ok() else { return };
    let recipe = Recipe { model: "convit_tiny_patch4_32".to_owned(), ..recipe("") };
    let mut learner = learner(&gpu(), &recipe);
    let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), 2);
    for _ in 0..updates.parse().unwrap() {
        learner.start(images.clone(), &labels, 1e-3).unwrap();
    }
    assert!(learner.unsettled() > 0);
}

#[test]
#[ignore = "it asks the emulated device: cargo xtask cuda-test"]
fn an_update_of_convit_tiny_asks_little_of_the_device() {
    let (few, many) = (asked(4), asked(6));
    let of_one = |word: &str| (many[word] - few[word]) / 2;
    let words = ["launches", "allocations", "uploads", "downloads", "waits", "fills", "calls of cuBLAS"];
    let counts = words.map(|word| (word, of_one(word)));
    println!("{counts:?}");
    for ((word, count), bound) in counts.into_iter().zip([400, 50, 5, 1, 1, 50, 400]) {
        assert!(count < bound, "{count} {word} in one update: {counts:?}");
    }
    assert!(of_one("launches") > 100, "{counts:?}");
}
