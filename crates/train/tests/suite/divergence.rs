//! A run that stops being finite stops, says where, and keeps its last good weights.

use inductive_nn::ModuleExt;
use std::fs;

use crate::common::{bytes, fixed_batch, tensors, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_train::{Error, Learner, Metrics, Progress, Recipe, SaveEvery, Silent, TrainOptions, train};

fn poison(learner: &mut Learner<Cpu>, name: &str) {
    learner
        .model_mut()
        .for_each_parameter_mut(&mut |p| {
            if p.name() != name {
                return Ok(());
            }
            let mut values = p.to_vec();
            values[0] = f32::NAN;
            p.copy_from(&values)
        })
        .unwrap();
}

#[test]
fn the_first_layer_that_is_not_finite_is_named_and_nothing_changes() {
    let (images, labels) = fixed_batch(&tiny_recipe().load_data().unwrap(), 8);
    for (model, parameter, layer) in [
        ("convit_micro", "patch_embed.proj.weight", "patch_embed"),
        ("convit_micro", "pos_embed", "pos_embed"),
        ("convit_micro", "blocks.0.norm1.weight", "blocks.0"),
        ("convit_micro", "blocks.2.mlp.fc1.weight", "blocks.2"),
        ("convit_micro", "blocks.3.attn.qkv.weight", "blocks.3"),
        ("convit_micro", "head.bias", "head"),
        ("prs_nano", "stages.0.blocks.1.norm1.weight", "stages.0.blocks.1"),
        ("prs_nano", "stages.1.blocks.0.mlp.fc1.weight", "stages.1.blocks.0"),
        ("resnet_micro", "conv1.weight", "conv1"),
        ("resnet_micro", "layer2.0.conv2.weight", "layer2.0"),
    ] {
        let recipe = Recipe { model: model.to_owned(), ..tiny_recipe() };
        let mut learner = Learner::new(&Cpu::default(), &recipe, 10).unwrap();
        poison(&mut learner, parameter);
        let before = bytes(learner.model());
        let error = learner.step(images.clone(), &labels, 1e-3).unwrap_err();
        let Error::NotFinite { step: 0, layer: got, .. } = &error else { panic!("{error}") };
        let output = format!("the output of {layer} ");
        let said = if layer == parameter { "the parameter" } else { output.as_str() };
        assert!(got.starts_with(said), "{parameter}: {got}");
        assert!(got.contains(&format!("`{parameter}`")), "{parameter}: {got}");
        assert!(bytes(learner.model()) == before && learner.steps() == 0);
    }
}

#[test]
fn an_absurd_learning_rate_is_an_error_with_the_step_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        lr: Some(1e30),
        warmup_epochs: inductive_schedule::Duration::Steps(0),
        clip_grad: None,
        ..tiny_recipe()
    };
    let data = recipe.load_data().unwrap();
    let options = TrainOptions { save_every: SaveEvery::Steps(1), stop: None };
    let error = train(&Cpu::default(), &recipe, &data, folder.path(), &options, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotFinite { step: 1.., .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("`clip_grad = 1.0`"), "{message}");
    // Whatever was saved is finite.
    for (name, bytes) in tensors(folder.path().join("state.safetensors")) {
        if name.starts_with("model/") {
            let mut values = bytes.as_chunks().0.iter().map(|c| f32::from_le_bytes(*c));
            assert!(values.all(f32::is_finite), "{name}");
        }
    }
}

#[test]
fn weights_that_are_not_finite_overwrite_no_checkpoint() {
    /// Remembers the file after the first epoch.
    struct Remember<'a>(&'a std::path::Path, Vec<u8>);
    impl Progress for Remember<'_> {
        fn report(&mut self, _: &Metrics) {
            self.1 = fs::read(self.0.join("last.safetensors")).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // The first epoch at a learning rate of 0, the second at 1e38.
    let recipe = Recipe {
        lr: Some(1e38),
        warmup_lr: 0.0,
        warmup_epochs: inductive_schedule::Duration::Epochs(1.0),
        clock: inductive_schedule::Clock::WholeEpoch,
        clip_grad: None,
        ..tiny_recipe()
    };
    let data = recipe.load_data().unwrap();
    let mut remember = Remember(folder.path(), Vec::new());
    let options = TrainOptions { save_every: SaveEvery::Steps(1), stop: None };
    let error = train(&Cpu::default(), &recipe, &data, folder.path(), &options, &mut remember).unwrap_err();
    let Error::NotFinite { checkpoint: Some(path), .. } = &error else { panic!("{error:?}") };
    assert_eq!(path, &folder.path().join("last.safetensors"));
    assert!(!remember.1.is_empty() && fs::read(path).unwrap() == remember.1);
}
