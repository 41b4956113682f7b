//! Names, shapes and numbers of parameters of every published size are timm's.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use inductive_models::{BuildOptions, build, entries};
use inductive_tests::fixture_path;

fn shapes_of(name: &str) -> BTreeMap<String, Vec<usize>> {
    let model = build(&Cpu::default(), name, &BuildOptions::default()).unwrap().model;
    let mut shapes = BTreeMap::new();
    model
        .for_each_parameter(&mut |p| {
            assert_eq!(p.to_vec().len(), p.numel(), "{}", p.name());
            shapes.insert(p.name().to_owned(), p.shape().to_vec());
            Ok(())
        })
        .unwrap();
    shapes
}

#[test]
fn state_dicts_of_the_released_models_are_timms() {
    for (name, file) in [
        ("convit_tiny", "shapes_convit_tiny"),
        ("convit_small", "shapes_convit_small"),
        ("convit_base", "shapes_convit_base"),
        ("deit_tiny_patch16_224", "shapes_deit_tiny_patch16_224"),
        ("deit_small_patch16_224", "shapes_deit_small_patch16_224"),
        ("deit_base_patch16_224", "shapes_deit_base_patch16_224"),
    ] {
        let text = std::fs::read_to_string(fixture_path(&format!("{file}.json"))).unwrap();
        let want: serde_json::Value = serde_json::from_str(&text).unwrap();
        let params: BTreeMap<String, Vec<usize>> = serde_json::from_value(want["params"].clone()).unwrap();
        let got = shapes_of(name);
        assert_eq!(got, params, "{name}");
        let numbers: usize = got.values().map(|s| s.iter().product::<usize>()).sum();
        assert_eq!(numbers as u64, want["num_params"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn published_sizes_have_their_exact_numbers_of_parameters() {
    // Computed from the reference architectures with 1000 classes at 224 pixels.
    for (name, want) in [
        ("convit_tiny", 5_710_512),
        ("convit_tiny_plus", 9_972_912),
        ("convit_small", 27_777_322),
        ("convit_small_plus", 48_979_882),
        ("convit_base", 86_540_040),
        ("convit_base_plus", 153_134_856),
        ("deit_tiny_patch16_224", 5_717_416),
        ("deit_small_patch16_224", 22_050_664),
        ("deit_base_patch16_224", 86_567_656),
    ] {
        let got: usize = shapes_of(name).values().map(|s| s.iter().product::<usize>()).sum();
        assert_eq!(got, want, "{name}");
    }
    let plus = BuildOptions { classes: 100, ..Default::default() };
    let model = build(&Cpu::default(), "convit_base_plus", &plus).unwrap().model;
    assert_eq!(model.num_params(), 152_212_356, "convit_base_plus with 100 classes");
}

#[test]
fn macs_agree_with_the_published_numbers() {
    // GMACs of a forward pass at 224 pixels.
    let macs = |name: &str| {
        let entry = entries().into_iter().find(|e| e.spec.name == name).unwrap();
        entry.spec.macs() as f64 / 1e9
    };
    for (name, want) in [
        ("convit_tiny", 1.25),
        ("convit_tiny_plus", 2.13),
        ("convit_small", 5.75),
        ("convit_small_plus", 10.0),
        ("convit_base", 17.5),
        ("convit_base_plus", 30.7),
    ] {
        let got = macs(name);
        assert!((got / want - 1.0).abs() < 0.006, "{name}: {got} GMACs, want {want}");
    }
}

#[test]
fn every_entry_builds_with_each_of_its_numbers_of_gated_layers() {
    for entry in entries().into_iter().filter(|e| e.spec.embed_dim < 300) {
        for local in &entry.locals {
            let options = BuildOptions { classes: 10, local_up_to_layer: Some(*local), ..Default::default() };
            let built = build(&Cpu::default(), &entry.spec.name, &options).unwrap();
            assert_eq!(built.model.gates().len(), *local, "{}", entry.spec.name);
            assert_eq!(built.model.spec().local_up_to_layer, *local);
        }
    }
}

#[test]
fn options_that_cannot_be_are_refused_with_a_way_out() {
    let device = Cpu::default();
    let error = |name: &str, options: BuildOptions| build(&device, name, &options).unwrap_err().to_string();
    let local = |n| BuildOptions { classes: 10, local_up_to_layer: Some(n), ..Default::default() };
    assert!(error("convit_micro", local(4)).contains("give at most 3"));
    assert!(error("convit_tiny", local(5)).contains("choose one of [0, 10]"));
    assert!(error("deit_micro", local(1)).contains("only ConViT has gated layers"));
    assert!(error("convit_tinny", local(0)).contains("did you mean `convit_tiny`?"));
    let classes = BuildOptions { classes: 7, ..Default::default() };
    assert!(error("convit_micro", classes).contains("choose one of [10, 100, 1000]"));
    let strength = BuildOptions { classes: 10, locality_strength: f64::NAN, ..Default::default() };
    assert!(error("convit_micro", strength).contains("positive number"));
}

#[test]
fn heads_that_form_no_square_are_named_in_a_warning() {
    let options = BuildOptions { classes: 10, ..Default::default() };
    let built = build(&Cpu::default(), "convit_micro_3heads", &options).unwrap();
    assert_eq!(built.warnings.len(), 1);
    assert!(
        built.warnings[0].contains("heads 1 to 2 are left with random positional weights"),
        "{:?}",
        built.warnings
    );
    assert!(build(&Cpu::default(), "convit_micro", &options).unwrap().warnings.is_empty());
}
