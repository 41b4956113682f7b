//! Training on from a file: what a run begins with, and that it does not need the file to go on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::{
    assert_same_run, bytes, run, run_to_end, run_until, switching_recipe, switching_with, tiny_recipe, values,
};
use inductive_checkpoint::{Metadata, TensorFile, TensorWriter, resample_abs_pos_embed, save};
use inductive_nn::Operator;
use inductive_schedule::{Duration, SwitchTimes};
use inductive_train::{Error, Initial, Progress, Recipe, RunInfo, Silent, SwitchRecipe, TrainOptions};

fn initial(recipe: &Recipe, classes: usize) -> Initial {
    Initial::new(recipe, classes, &|_| ()).unwrap()
}

/// Where a run of `recipe` left its weights, and `further` beginning with them.
fn beginning_with(dir: &Path, recipe: &Recipe, further: Recipe) -> (PathBuf, Recipe) {
    let (first, file) = (dir.join("first"), dir.join("weights.safetensors"));
    run_to_end(recipe, &first);
    fs::copy(first.join("last.safetensors"), &file).unwrap();
    let weights = Some(file.to_str().unwrap().to_owned());
    (file, Recipe { weights, seed: 9, ..further })
}

#[test]
fn a_run_begins_with_the_weights_of_the_file_and_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, further) = beginning_with(dir.path(), &tiny_recipe(), tiny_recipe());

    // The same weights for the same classes and grid; a head of its own for others.
    let own = initial(&Recipe { seed: 9, ..tiny_recipe() }, 10);
    let begun = initial(&further, 10);
    let report = begun.loaded.as_ref().unwrap();
    assert!(report.adapted.is_empty() && report.applied.len() == report.parameters, "{report}");
    assert_ne!(bytes(&*begun.model), bytes(&*own.model));
    let other_classes = initial(&further, 3).model;
    assert_eq!(values(&*other_classes)["head.weight"].len(), 3 * 96);
    assert_eq!(values(&*other_classes)["norm.weight"], values(&*begun.model)["norm.weight"]);
    let larger = initial(&Recipe { image_size: Some((48, 24).into()), ..further.clone() }, 10).model;
    let expected = resample_abs_pos_embed(&values(&*begun.model)["pos_embed"], 96, 0, (8, 8), (12, 6));
    assert_eq!(values(&*larger)["pos_embed"], expected.unwrap());

    // Stopped, the file gone, and gone on: the run of one that was never stopped.
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    run_to_end(&further, &whole);
    run_until(&further, &stopped, 4);
    fs::remove_file(&file).unwrap();
    run_to_end(&further, &stopped);
    assert_same_run(&whole, &stopped);
    let other = dir.path().join("other");
    let error = run(&further, &other, &TrainOptions::default(), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("weights.safetensors") && !other.exists(), "{error}");
}

#[test]
fn layers_that_have_left_convolution_train_on_as_attention() {
    let dir = tempfile::tempdir().unwrap();
    let further = Recipe { switch: None, ..switching_recipe() };
    let (file, further) = beginning_with(dir.path(), &switching_recipe(), further);
    let model = initial(&further, 10).model;
    let layers = model.switchable().unwrap();
    assert!(layers.len() == 6 && layers.iter().all(|it| it.operator != Operator::Convolution));

    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    run_to_end(&further, &whole);
    let qk = "stages.0.blocks.0.mixer.qk.weight";
    let after: Vec<f32> = TensorFile::open(whole.join("last.safetensors")).unwrap().values(qk).unwrap();
    assert_ne!(after, values(&*model)[qk], "queries and keys are trained");
    run_until(&further, &stopped, 4);
    fs::remove_file(&file).unwrap();
    run_to_end(&further, &stopped);
    assert_same_run(&whole, &stopped);
}

/// Hears what a run says before its first update.
#[derive(Default)]
struct Words(Vec<String>, Vec<Option<u64>>);

impl Progress for Words {
    fn start(&mut self, run: &RunInfo<'_>) {
        self.1 = run.switch_times.to_vec();
    }

    fn warning(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
fn of_a_file_with_both_kinds_of_layers_those_switch_that_have_not() {
    let dir = tempfile::tempdir().unwrap();
    let third = Some(Duration::Steps(3));
    let times = SwitchTimes::Layers(vec![None, third, None, None, None, third]);
    let first = switching_with(|switch| switch.times = times);
    let (file, further) = beginning_with(dir.path(), &first, switching_recipe());
    assert!(further.ema.is_some());

    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    let mut words = Words::default();
    run(&further, &whole, &TrainOptions::default(), &mut words).unwrap();
    let [warning] = &words.0[..] else { panic!("{:?}", words.0) };
    assert!(warning.contains("attention from the start") && warning.contains("stages.0.blocks.1.mixer"));
    assert_eq!(words.1, [Some(9), Some(0), Some(7), Some(5), Some(4), Some(0)]);
    for step in [2, 4, 8] {
        run_until(&further, &stopped, step);
    }
    fs::remove_file(&file).unwrap();
    run_to_end(&further, &stopped);
    assert_same_run(&whole, &stopped);
}

#[test]
fn a_layer_that_is_attention_needs_its_queries_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let further = Recipe { switch: None, ..switching_recipe() };
    let (file, further) = beginning_with(dir.path(), &switching_recipe(), further);
    let whole = TensorFile::open(&file).unwrap();
    let mut writer = TensorWriter::new();
    for entry in whole.entries().filter(|entry| entry.name != "stages.1.blocks.0.mixer.qk.weight") {
        let values: Vec<f32> = whole.values(entry.name).unwrap();
        writer.add(entry.name, entry.shape, &values).unwrap();
    }
    writer.write(&file).unwrap();
    let error = Initial::new(&further, 10, &|_| ()).unwrap_err();
    assert!(matches!(error, Error::Recipe { field: "weights", .. }), "{error}");
    assert!(error.to_string().contains("`stages.1.blocks.0.mixer.qk.weight`"), "{error}");
}

#[test]
fn a_file_of_convolutions_need_not_have_what_attention_adds() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = |model: &str| Recipe { model: model.to_owned(), ..tiny_recipe() };
    let plain = initial(&recipe("resnet_micro"), 10).model;
    let file = dir.path().join("plain.safetensors");
    save(&*plain, &file, &Metadata::new()).unwrap();
    let switch = Some(SwitchRecipe::new(SwitchTimes::FromStart));
    let weights = Some(file.to_str().unwrap().to_owned());
    let further = Recipe { weights, switch, seed: 9, ..recipe("resnet_micro_switch") };
    let begun = initial(&further, 10);
    let report = begun.loaded.as_ref().unwrap();
    assert!(report.missing.is_empty() && report.kept.iter().any(|name| name.ends_with("qk.weight")));
    assert_eq!(report.kept.len() + report.applied.len(), report.parameters);
    let (plain, begun) = (values(&*plain), values(&*begun.model));
    assert!(plain.iter().all(|(name, values)| begun[name] == *values));
}

#[test]
fn weights_that_are_not_the_models_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first");
    run_to_end(&tiny_recipe(), &first);
    let weights = Some(first.join("last.safetensors").to_str().unwrap().to_owned());
    let refused = |recipe: Recipe| Initial::new(&recipe, 10, &|_| ()).unwrap_err();
    let shallow = Recipe { depth: Some(3), local_up_to_layer: Some(1), ..tiny_recipe() };
    let error = refused(Recipe { weights: weights.clone(), ..shallow });
    assert!(matches!(error, Error::Checkpoint(_)), "{error}");
    assert!(error.to_string().contains("blocks.1.attn.qkv.weight"), "{error}");
    let error = refused(Recipe { weights, filters: Some("impulse".into()), ..tiny_recipe() });
    assert!(matches!(error, Error::Recipe { field: "weights", .. }), "{error}");
}
