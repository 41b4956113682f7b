//! Runs that begin with designed weights, and parameters that keep theirs.

use crate::common::{bytes, fixed_batch, tiny_recipe, values};
use dfdx::prelude::Cpu;
use inductive_init::Strategy;
use inductive_train::{Error, Init, Learner, Outcome, Recipe, Silent, TrainOptions, train};

fn recipe(model: &str, init: &str) -> Recipe {
    Recipe { model: model.to_owned(), init: Some(init.into()), ..tiny_recipe() }
}

fn learner(recipe: &Recipe) -> Learner<Cpu> {
    Learner::new(&Cpu::default(), recipe, 10).unwrap()
}

#[test]
fn a_name_and_its_parts_are_the_same_run_and_the_seed_decides_it() {
    let named = recipe("deit_micro", "impulse");
    let parts = Strategy::named("impulse").unwrap();
    let given = Recipe { init: Some(Init::Given(Box::new(parts))), ..named.clone() };
    assert_eq!(bytes(learner(&named).model()), bytes(learner(&given).model()));
    let other = Recipe { seed: 6, ..named.clone() };
    assert_ne!(bytes(learner(&named).model()), bytes(learner(&other).model()));
    let default = Recipe { init: None, ..named.clone() };
    assert_ne!(bytes(learner(&named).model()), bytes(learner(&default).model()));
    // What is not designed aims at nothing.
    let designed =
        |recipe| learner(recipe).initialised().iter().filter(|layer| !layer.targets.is_empty()).count();
    assert_eq!((designed(&default), designed(&named)), (0, 4));
}

#[test]
fn a_run_says_how_much_of_the_design_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe("deit_micro", "impulse");
    let data = recipe.load_data().unwrap();
    let run = |folder: &std::path::Path| {
        train(&Cpu::default(), &recipe, &data, folder, &TrainOptions::default(), &mut Silent).unwrap()
    };
    let Outcome::Finished(result) = run(folder.path()) else { panic!("not finished") };
    let start = result.start.as_ref().unwrap();
    assert_eq!(start.target_mass.len(), 4);
    // Images blur what is solved on positions alone; uniform attention would have 1/65.
    assert!(start.target_mass[0] > 0.3, "{start:?}");
    assert!(result.metrics.iter().all(|m| m.target_mass.len() == 4));
    assert_ne!(result.metrics[1].target_mass, start.target_mass);
    let Outcome::Finished(again) = run(folder.path()) else { panic!("not finished") };
    assert_eq!(again, result, "stored");
}

#[test]
fn frozen_parameters_keep_their_bits_and_do_not_count_in_clipping() {
    let all = Recipe { freeze: vec!["*.attn.qkv.*".to_owned()], ..recipe("deit_micro", "kaiming") };
    let none = Recipe { freeze: Vec::new(), ..all.clone() };
    let (images, labels) = fixed_batch(&all.load_data().unwrap(), 16);
    let (mut frozen, mut free) = (learner(&all), learner(&none));
    let before = values(frozen.model());
    let norm = |learner: &mut Learner<Cpu>| {
        learner.step(images.clone(), &labels, 1e-3).unwrap().gradient_norm.unwrap()
    };
    assert!(norm(&mut frozen) < norm(&mut free));
    for (name, value) in values(frozen.model()) {
        assert_eq!(value == before[&name], name.contains("attn.qkv"), "{name}");
    }
    assert!(values(free.model()).iter().all(|(name, value)| *value != before[name]));
}

#[test]
fn a_pattern_without_parameters_and_a_strategy_without_a_place_are_refused() {
    let refuse = |recipe: Recipe| match Learner::new(&Cpu::default(), &recipe, 10) {
        Err(error) => error,
        Ok(_) => panic!("accepted"),
    };
    let pattern = Recipe { freeze: vec!["blocks.*.conv".to_owned()], ..recipe("deit_micro", "kaiming") };
    let error = refuse(pattern);
    assert!(matches!(error, Error::Recipe { field: "freeze", .. }), "{error}");
    let error = refuse(recipe("resnet_micro", "impulse"));
    assert!(error.to_string().contains("resnet_micro"), "{error}");
}
