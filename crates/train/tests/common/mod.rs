//! What the tests of this folder share: a small recipe, and whole models as bytes.
#![allow(dead_code, reason = "each test file uses its own part")]

use inductive_nn::ModuleExt;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dfdx::prelude::Cpu;
use inductive_checkpoint::TensorFile;
use inductive_data::{Image, Normalize, Split};
use inductive_models::{Model, Zoo};
use inductive_schedule::{Duration, EmaDecay, SwitchTimes};
use inductive_train::{
    Metrics, Outcome, Progress, Recipe, Result, SaveEvery, Silent, StepInfo, SwitchRecipe, Synthetic,
    TrainOptions, train,
};

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

/// As many updates of `prs_nano` on fewer images, whose six layers leave convolution after updates 3 (the last layer), 4, 5, 7, 8 and 9.
pub fn switching_recipe() -> Recipe {
    let times = SwitchTimes::LateFirst { earliest: Duration::Steps(3), latest: Duration::Steps(9) };
    Recipe {
        model: "prs_nano".to_owned(),
        switch: Some(SwitchRecipe::new(times)),
        synthetic: Synthetic { train: 52, test: 10, seed: 0 },
        batch_size: 8,
        ..tiny_recipe()
    }
}

/// [`switching_recipe`] with another table.
pub fn switching_with(change: impl FnOnce(&mut SwitchRecipe)) -> Recipe {
    let mut recipe = switching_recipe();
    change(recipe.switch.as_mut().unwrap());
    recipe
}

/// All parameters by name.
pub fn values<D: Zoo>(model: &dyn Model<f32, D>) -> BTreeMap<String, Vec<f32>> {
    let mut values = BTreeMap::new();
    model
        .for_each_parameter(&mut |p| {
            values.insert(p.name().to_owned(), p.to_vec());
            Ok(())
        })
        .unwrap();
    values
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

/// The largest size among `values`; NaN if one is.
pub fn largest(values: impl IntoIterator<Item = f32>) -> f32 {
    let sizes = values.into_iter().map(f32::abs);
    sizes.fold(0.0, |most, size| if size > most || size.is_nan() { size } else { most })
}

/// Every tensor of a file with its bytes; a run's timings are not among them.
pub fn tensors(path: impl AsRef<Path>) -> Vec<(String, Vec<u8>)> {
    let file = TensorFile::open(path).unwrap();
    file.entries().map(|entry| (entry.name.to_owned(), entry.bytes.to_vec())).collect()
}

/// Loads the data and trains.
pub fn run(
    recipe: &Recipe,
    folder: &Path,
    options: &TrainOptions,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    train(&Cpu::default(), recipe, &recipe.load_data()?, folder, options, progress)
}

/// The lines of a run, without its timings.
pub fn run_to_end(recipe: &Recipe, folder: &Path) -> Vec<Metrics> {
    match run(recipe, folder, &TrainOptions::default(), &mut Silent).unwrap() {
        Outcome::Finished(result) => result.metrics.iter().map(Metrics::without_timing).collect(),
        other => panic!("{other:?}"),
    }
}

/// Asks to stop after so many updates.
struct StopAfter {
    step: u64,
    stop: Arc<AtomicBool>,
}

impl Progress for StopAfter {
    fn step(&mut self, step: &StepInfo) {
        if step.step == self.step {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Trains so many updates, counted from the start of the run, and stops.
pub fn run_until(recipe: &Recipe, folder: &Path, step: u64) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), save_every: SaveEvery::Never };
    run(recipe, folder, &options, &mut StopAfter { step, stop }).unwrap()
}

/// That two runs left the same files, but for timings.
pub fn assert_same_run(one: &Path, other: &Path) {
    for file in ["state.safetensors", "last.safetensors", "ema.safetensors", "best.safetensors"] {
        let (a, b) = (tensors(one.join(file)), tensors(other.join(file)));
        let differing: Vec<_> = a.iter().zip(&b).filter(|(a, b)| a != b).map(|(a, _)| &a.0).collect();
        assert!(a.len() == b.len() && differing.is_empty(), "{file}: {differing:?}");
    }
}
