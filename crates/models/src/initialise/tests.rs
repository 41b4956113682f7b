//! What each strategy changes, in which models, and what it refuses.

use super::*;
use crate::{BuildOptions, build};
use dfdx::prelude::*;

type Values = BTreeMap<String, Vec<f32>>;

fn built(name: &str) -> Box<dyn Model<f32, Cpu>> {
    let options = BuildOptions { classes: 10, ..Default::default() };
    build(&Cpu::seed_from_u64(0), name, &options).unwrap().model
}

fn values(model: &dyn Model<f32, Cpu>) -> Values {
    let mut values = Values::new();
    model
        .for_each_parameter(&mut |p| {
            values.insert(p.name().to_owned(), p.to_vec());
            Ok(())
        })
        .unwrap();
    values
}

fn after(model: &str, strategy: &str) -> (Values, Values, Initialised) {
    let mut model = built(model);
    let before = values(&*model);
    let strategy = Strategy::named(strategy).unwrap();
    let done = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap();
    (before, values(&*model), done)
}

fn changed(before: &Values, after: &Values) -> Vec<String> {
    before.iter().filter(|(name, old)| after[*name] != **old).map(|(name, _)| name.clone()).collect()
}

fn share(values: &[f32], bound: f32) -> f64 {
    values.iter().filter(|v| v.abs() <= bound).count() as f64 / values.len() as f64
}

#[test]
fn kaiming_changes_linear_layers_and_nothing_else() {
    let (before, after, done) = after("deit_micro", "kaiming");
    for name in changed(&before, &after) {
        let linear = ["attn.qkv.", "attn.proj.", "mlp.fc1.", "mlp.fc2.", "head."];
        assert!(linear.iter().any(|part| name.contains(part)), "{name}");
    }
    assert_eq!(changed(&before, &after).len(), 2 * (4 * 4 + 1));
    // uniform within 1 / sqrt(inputs): fc1 has 96 inputs, fc2 384
    for (name, inputs) in [("blocks.2.mlp.fc1.weight", 96f32), ("blocks.2.mlp.fc2.bias", 384.0)] {
        let bound = inputs.powf(-0.5);
        assert_eq!(share(&after[name], bound), 1.0, "{name}");
        assert!((share(&after[name], bound / 2.0) - 0.5).abs() < 0.12, "{name}");
    }
    assert!(done.layers.len() == 4 && done.layers.iter().all(|layer| layer.targets.is_empty()));
}

#[test]
fn strategies_differ_only_in_what_they_design() {
    let (_, kaiming, _) = after("deit_micro", "kaiming");
    let (_, impulse, done) = after("deit_micro", "impulse");
    let names = changed(&kaiming, &impulse);
    let expected: Vec<String> = (0..4)
        .flat_map(|i| ["proj.weight", "qkv.weight"].map(|part| format!("blocks.{i}.attn.{part}")))
        .chain(["pos_embed".to_owned()])
        .collect();
    assert_eq!(names, expected);
    let ratio = impulse["pos_embed"][5] / kaiming["pos_embed"][5];
    assert!((ratio - 18.0).abs() < 1e-4, "{ratio}");
    for layer in &done.layers {
        assert!(layer.targets.len() == 4 && layer.quality.as_ref().unwrap().mass() > 0.9, "{layer:?}");
    }
}

#[test]
fn the_model_attends_as_the_quality_says() {
    let mut model = built("vit_micro_gap");
    let mut strategy = Strategy::impulse_gradient(3);
    if let Some(inductive_init::Impulse { solver: inductive_init::Solver::Gradient(gradient), .. }) =
        strategy.impulse_mut()
    {
        (gradient.steps, gradient.lr) = (300, 1e-2);
    }
    let done = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap();
    // An image of one colour gives every patch the same content: what differs is the position.
    let image = Cpu::default().zeros_like(&(1, 3, 32, 32));
    let mut record = crate::Record::default();
    model.forward(image, Some(&mut record)).unwrap();
    let map = record.blocks[0].attention.as_ref().unwrap();
    for (head, target) in done.layers[0].targets.iter().enumerate() {
        let mut on_target = Vec::new();
        for (query, key) in target.keys().iter().enumerate() {
            on_target.extend(key.map(|key| f64::from(map.map[(head * 64 + query) * 64 + key])));
        }
        let mass = on_target.iter().sum::<f64>() / on_target.len() as f64;
        assert!(mass > 0.3, "head {head}: {mass}; solved: {}", done.layers[0].quality.as_ref().unwrap());
    }
}

#[test]
fn gated_layers_get_queries_keys_and_values_and_keep_their_gates() {
    let (before, after, done) = after("convit_micro", "mimetic");
    let names = changed(&before, &after);
    for part in ["qk.weight", "v.weight", "proj.weight", "proj.bias"] {
        assert!(names.contains(&format!("blocks.0.attn.{part}")), "{part}: {names:?}");
    }
    assert!(names.contains(&"blocks.3.attn.qkv.weight".to_owned()));
    assert!(names.iter().all(|n| !n.contains("pos_proj") && !n.contains("gating")), "{names:?}");
    assert_eq!(done.layers.len(), 4);
}

#[test]
fn models_without_a_place_for_a_design_refuse_it_by_name() {
    let impulse = Strategy::named("impulse").unwrap();
    for (name, why) in [("resnet20_cifar", "has none of"), ("eit_micro", "channels")] {
        let mut model = built(name);
        let before = values(&*model);
        let error = initialise(&mut *model, &impulse, 0, &|_| ()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
        assert_eq!(values(&*model), before);
        initialise(&mut *model, &Strategy::named("kaiming").unwrap(), 0, &|_| ()).unwrap();
        let names = changed(&before, &values(&*model));
        assert!(names.iter().any(|name| ["head.weight", "fc.weight"].contains(&name.as_str())), "{names:?}");
    }
}

#[test]
fn positions_mixed_into_queries_and_keys_are_what_impulses_are_solved_on() {
    let (before, after, done) = after("simple_vit_micro", "impulse5-mixed");
    let names = changed(&before, &after);
    assert!(names.contains(&"blocks.3.attn.qkv.weight".to_owned()), "{names:?}");
    assert!(names.iter().all(|name| !name.ends_with("position") && !name.ends_with("alpha")));
    // The published scale of 0.1 is made for 64 channels per head; 24 of them aim less sharply.
    let quality: Vec<&Quality> = done.layers.iter().flat_map(|layer| &layer.quality).collect();
    assert!(
        quality.len() == 4 && quality.iter().all(|it| it.mass() > 2.0 * it.uniform_mass()),
        "{quality:?}"
    );
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
}

#[test]
fn filters_are_those_of_depthwise_convolutions_alone() {
    let impulse = Filters::named("impulse").unwrap();
    let mut model = built("convmixer_micro");
    let before = values(&*model);
    initialise_filters(&mut *model, &impulse, 3).unwrap();
    let filled = values(&*model);
    let expected: Vec<String> =
        (0..4).flat_map(|i| ["bias", "weight"].map(|part| format!("blocks.{i}.0.fn.0.{part}"))).collect();
    assert_eq!(changed(&before, &filled), expected);
    for filter in filled["blocks.2.0.fn.0.weight"].chunks_exact(9) {
        assert_eq!(filter.iter().filter(|v| **v != 0.0).count(), 1, "{filter:?}");
    }
    assert_ne!(filled["blocks.0.0.fn.0.weight"], filled["blocks.1.0.fn.0.weight"]);
    let error = initialise_filters(&mut *built("deit_micro"), &impulse, 3).unwrap_err().to_string();
    assert!(error.contains("deit_micro") && error.contains("convmixer"), "{error}");
}

#[test]
fn constants_that_overflow_are_refused_and_change_nothing() {
    let mut model = built("deit_micro");
    let before = values(&*model);
    let strategy = Strategy { position_scale: 1e40, ..Strategy::named("kaiming").unwrap() };
    let error = initialise(&mut *model, &strategy, 1, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("`pos_embed`") && error.contains("lower"), "{error}");
    assert_eq!(values(&*model), before);
}

#[test]
fn the_closed_form_on_sines_and_cosines_warns() {
    let (_, _, done) = after("vit_micro_gap", "impulse");
    assert!(done.warnings.len() == 4 && done.warnings[0].contains("impulse3"), "{:?}", done.warnings);
    assert!(after("deit_micro", "impulse").2.warnings.is_empty());
}

#[test]
fn gated_values_are_the_identity_where_the_strategy_says_so_whatever_they_were() {
    for (strategy, expected) in [("kaiming-identity-v", true), ("trunc-normal", true), ("kaiming", false)] {
        let (_, after, _) = after("convit_micro", strategy);
        for layer in 0..3 {
            let values = &after[&format!("blocks.{layer}.attn.v.weight")];
            let identity = values
                .iter()
                .enumerate()
                .all(|(at, value)| *value == f32::from(u8::from(at.is_multiple_of(97))));
            assert_eq!(identity, expected, "{strategy}, layer {layer}");
        }
    }
}

/// Standard deviation.
fn deviation(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
}

#[test]
fn small_models_begin_by_their_width_and_published_ones_as_published() {
    let fc1 = |name: &str, published_weights| {
        let options = BuildOptions { classes: 10, published_weights, ..Default::default() };
        let model = build(&Cpu::seed_from_u64(0), name, &options).unwrap().model;
        let values = values(&*model);
        let (_, fc1) = values.iter().find(|(name, _)| name.ends_with("blocks.0.mlp.fc1.weight")).unwrap();
        deviation(fc1)
    };
    // Uniform on +-1 / sqrt(96); N(0, 1 / 48) in the first stage; timm's; the authors' of EIT
    for (name, by_width, published) in [
        ("deit_micro", (3f32 * 96.0).powf(-0.5), 0.02),
        ("prs_micro", 48f32.powf(-0.5), 0.02),
        ("eit_micro", (3f32 * 96.0).powf(-0.5), 0.01),
        ("deit_tiny_patch4_32", 0.02, 0.02),
    ] {
        let (got, asked) = (fc1(name, false), fc1(name, true));
        assert!((got / by_width - 1.0).abs() < 0.03, "{name}: {got}");
        assert!((asked / published - 1.0).abs() < 0.03, "{name}, as published: {asked}");
    }
}

#[test]
fn convolutions_that_can_leave_are_pytorchs_unless_timms_weights_are_asked_for() {
    let (before, kaiming, _) = after("prs_micro", "kaiming");
    let name = "stages.0.blocks.0.mixer.weight";
    let bound = 432f32.powf(-0.5);
    assert!(kaiming[name] != before[name] && share(&kaiming[name], bound) == 1.0);
    let (before, timm, _) = after("prs_micro", "trunc-normal");
    assert_eq!(timm[name], before[name], "as the model has them");
}
