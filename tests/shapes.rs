//! Names, shapes and numbers of parameters of every published size are timm's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use dfdx::prelude::*;
use inductive_models::{BuildOptions, Family, Model, build, entries};
use inductive_nn::ModuleExt;
use inductive_tests::fixture_path;

type Shapes = BTreeMap<String, Vec<usize>>;

/// Of the model of this name, built once: to draw a hundred million weights takes its time.
fn shapes_of(name: &str) -> Shapes {
    static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<Shapes>>>> = Mutex::new(BTreeMap::new());
    let built = BUILT.lock().unwrap().entry(name.to_owned()).or_default().clone();
    built
        .get_or_init(|| shapes(&*build(&Cpu::default(), name, &BuildOptions::default()).unwrap().model))
        .clone()
}

/// Of the parameters, running averages of batch normalisation among them.
fn shapes(model: &dyn Model<f32, Cpu>) -> Shapes {
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
        ("eit_mini", "shapes_eit_mini"),
        ("eit_tiny", "shapes_eit_tiny"),
        ("eit_base", "shapes_eit_base"),
        ("eit_large", "shapes_eit_large"),
        ("convmixer_768_32", "shapes_convmixer_768_32"),
    ] {
        let text = std::fs::read_to_string(fixture_path(&format!("{file}.json"))).unwrap();
        let want: serde_json::Value = serde_json::from_str(&text).unwrap();
        let params: Shapes = serde_json::from_value(want["params"].clone()).unwrap();
        // timm also counts the batches, which nothing here needs.
        let buffers = match &want["buffers"] {
            serde_json::Value::Null => BTreeMap::new(),
            buffers => serde_json::from_value::<Shapes>(buffers.clone()).unwrap(),
        };
        let buffers: BTreeMap<_, _> =
            buffers.into_iter().filter(|(key, _)| !key.ends_with("num_batches_tracked")).collect();
        let (running, got): (BTreeMap<_, _>, BTreeMap<_, _>) =
            shapes_of(name).into_iter().partition(|(key, _)| key.contains(".running_"));
        assert_eq!(running, buffers, "{name}");
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
    // The head's 900 other classes, each with a weight for every channel and a bias, are all that 100 classes leave out.
    let hundred = BuildOptions { classes: 100, ..Default::default() };
    let model = build(&Cpu::default(), "convit_tiny_plus", &hundred).unwrap().model;
    assert_eq!(model.num_params(), 9_972_912 - 900 * 257, "convit_tiny_plus with 100 classes");
}

#[test]
fn sizes_of_eit_have_the_numbers_of_the_authors_logs() {
    for (name, params, tensors) in [
        ("eit_mini", 3_512_750, 71),
        ("eit_tiny", 8_927_230, 110),
        ("eit_base", 15_972_280, 136),
        ("eit_large", 25_305_592, 162),
    ] {
        let shapes = shapes_of(name);
        assert_eq!(shapes.len(), tensors, "{name}");
        assert_eq!(shapes.values().map(|s| s.iter().product::<usize>()).sum::<usize>(), params, "{name}");
    }
    // Computed from the authors' code: 32 pixels, 10 classes; the paper's choices and their controls.
    for (name, params) in [
        ("eit_micro_vit", 453_322),
        ("eit_micro_p", 451_306),
        ("eit_micro_t", 375_706),
        ("eit_micro", 373_690),
        ("eit_micro_pos", 373_690 + 65 * 96),
        ("eit_mini_patch4_32", 3_079_010),
        ("eit_mini_patch4_32_p", 3_776_510),
        ("eit_mini_patch4_32_t", 3_084_260),
        ("eit_mini_patch4_32_vit", 3_781_760),
    ] {
        let options = BuildOptions { classes: 10, ..Default::default() };
        let model = build(&Cpu::default(), name, &options).unwrap().model;
        assert_eq!(model.num_params(), params, "{name}");
    }
    // A representation layer of 768 in place of the head's 250 channels.
    let repr = shapes_of("eit_mini_repr");
    assert_eq!(repr["pre_logits.fc.weight"], [768, 250]);
    assert_eq!(repr["head.weight"], [1000, 768]);
}

#[test]
fn layers_of_eit_split_their_channels_by_the_papers_rule() {
    let eit = |name: &str| inductive_models::find(name).unwrap().spec;
    let by_rule = ["eit_mini", "eit_tiny", "eit_base", "eit_large", "eit_micro"];
    for name in by_rule {
        let spec = eit(name);
        let rule = inductive_nn::conv_channels(spec.embed_dim, spec.heads(), spec.depth);
        assert_eq!(spec.eit().unwrap().conv_channels, rule, "{name}");
    }
    let channels = |name: &str| eit(name).eit().unwrap().conv_channels.clone();
    assert_eq!(channels("eit_micro_increasing").into_iter().rev().collect::<Vec<_>>(), channels("eit_micro"));
    let sum = |name: &str| channels(name).iter().sum::<usize>();
    assert_eq!(sum("eit_micro_mean"), sum("eit_micro"), "the same share on average");
    assert_eq!(channels("eit_micro_half"), [48; 4]);
    assert_eq!(channels("eit_micro_p"), [0; 4]);
}

#[test]
fn grids_of_eit_are_those_of_its_convolution_and_pooling() {
    for (name, side) in [("eit_mini", 19), ("eit_large", 19), ("eit_micro", 8), ("eit_micro_t", 8)] {
        let spec = inductive_models::find(name).unwrap().spec;
        assert_eq!(spec.grid(), inductive_ops::Grid::square(side), "{name}");
        let model = build(&Cpu::default(), name, &BuildOptions::default()).unwrap().model;
        assert_eq!(model.layout(0).grid, spec.grid(), "{name}");
    }
}

#[test]
fn specs_of_resnets_are_those_of_their_types() {
    for entry in entries().into_iter().filter(|e| e.spec.resnet().is_some()) {
        let (spec, name) = (&entry.spec, &entry.spec.name);
        let model = build(&Cpu::default(), name, &BuildOptions::default()).unwrap().model;
        let shapes = shapes(&*model);
        assert_eq!(shapes["fc.weight"], [1000, spec.embed_dim], "{name}");
        // Multiplications of every convolution from its weight and the grid of its block.
        let stride_of_stem = if spec.resnet().unwrap().imagenet_stem { 2 } else { 1 };
        let mut macs = (spec.embed_dim * 1000) as u64;
        let blocks = &spec.resnet().unwrap().blocks;
        for (key, shape) in shapes.iter().filter(|(_, shape)| shape.len() == 4) {
            let (layer, block) = match key.split('.').collect::<Vec<_>>()[..] {
                [layer, block, ..] if layer.starts_with("layer") => {
                    (layer[5..].parse::<usize>().unwrap() - 1, block.parse::<usize>().unwrap())
                }
                _ => {
                    let side = spec.image.0 / stride_of_stem;
                    macs += (side * side * shape.iter().product::<usize>()) as u64;
                    continue;
                }
            };
            let index = blocks[..layer].iter().sum::<usize>() + block;
            let bottleneck = spec.resnet().unwrap().bottleneck;
            // A bottleneck's first convolution sees the grid before the stride.
            let before = bottleneck && block == 0 && layer > 0 && key.ends_with("conv1.weight");
            let grid = model.layout(if before { index - 1 } else { index }).grid;
            macs += (grid.tokens() * shape.iter().product::<usize>()) as u64;
        }
        assert_eq!(spec.macs(), macs, "{name}");
        assert_eq!(spec.grid(), model.layout(spec.depth - 1).grid, "{name}");
    }
    let params = |name: &str| {
        let options = BuildOptions { classes: 100, ..Default::default() };
        build(&Cpu::default(), name, &options).unwrap().model.num_params() as f64
    };
    assert!((params("resnet_micro") / params("eit_micro") - 5.65).abs() < 0.01, "1 / 17.7 %");
}

#[test]
fn specs_of_convmixers_are_those_of_their_types() {
    for entry in entries().into_iter().filter(|e| matches!(e.spec.family, Family::ConvMixer(_))) {
        let (spec, name) = (&entry.spec, &entry.spec.name);
        let model = build(&Cpu::default(), name, &BuildOptions::default()).unwrap().model;
        let shapes = shapes(&*model);
        assert_eq!(model.layout(0).grid, spec.grid(), "{name}");
        // Every convolution gives a number per place of the one grid.
        let weights = shapes.values().filter(|shape| shape.len() == 4).map(|s| s.iter().product::<usize>());
        let macs = spec.grid().tokens() * weights.sum::<usize>() + spec.embed_dim * 1000;
        assert_eq!(spec.macs(), macs as u64, "{name}");
        assert_eq!(shapes["stem.0.weight"], [spec.embed_dim, 3, spec.patch, spec.patch], "{name}");
        assert!(shapes.contains_key(&format!("blocks.{}.3.weight", spec.depth - 1)), "{name}");
        assert!(!shapes.contains_key(&format!("blocks.{}.3.weight", spec.depth)), "{name}");
        // C (3 P^2 + 3) + depth C (K^2 + C + 6) + 1000 (C + 1). The authors' files have 207, 85 and 98 MB, four bytes for each.
        let want = match name.as_str() {
            "convmixer_1536_20" => 51_625_960,
            "convmixer_768_32" => 21_110_248,
            "convmixer_1024_20_ks9_p14" => 24_383_464,
            "convmixer_256_8_k5_p2" => 848_616,
            "convmixer_micro" => 88_488,
            _ => continue,
        };
        assert_eq!(model.num_params(), want, "{name}");
    }
}

#[test]
fn macs_of_eit_agree_with_the_published_numbers() {
    let spec = |name: &str| inductive_models::find(name).unwrap().spec;
    // The authors' count leaves the attention products out (GMACs at 224 pixels); ours has them.
    for (name, published, layers, all) in [
        ("eit_mini", 1.73, 1.7298, 1.926),
        ("eit_tiny", 3.84, 3.8327, 4.213),
        ("eit_base", 6.52, 6.5073, 7.073),
        ("eit_large", 10.0, 9.9985, 10.766),
    ] {
        let spec = spec(name);
        let (got_layers, got_all) = (spec.macs_of_layers() as f64 / 1e9, spec.macs() as f64 / 1e9);
        assert!((got_layers - layers).abs() < 1e-4, "{name}: {got_layers}");
        assert!((got_all - all).abs() < 1e-3, "{name}: {got_all}");
        assert!((got_layers / published - 1.0).abs() < 0.003, "{name}: {got_layers}, published {published}");
    }
    // MMACs at 32 pixels with 10 classes.
    for (name, want) in
        [("eit_micro_vit", 32.29), ("eit_micro_p", 34.65), ("eit_micro_t", 26.07), ("eit_micro", 28.43)]
    {
        let spec = inductive_models::ModelSpec { classes: 10, ..spec(name) };
        let got = spec.macs() as f64 / 1e6;
        assert!((got - want).abs() < 0.01, "{name}: {got}");
    }
}

#[test]
fn eit_starts_as_in_the_authors_code() {
    let deviation = |values: &[f32]| {
        let square = |v: &f32| f64::from(*v).powi(2);
        (values.iter().map(square).sum::<f64>() / values.len() as f64).sqrt()
    };
    for name in ["eit_micro", "eit_micro_vit_pos"] {
        let options = BuildOptions { classes: 100, published_weights: true, ..Default::default() };
        let built = build(&Cpu::seed_from_u64(3), name, &options).unwrap();
        let mut seen = 0;
        built
            .model
            .for_each_parameter(&mut |p| {
                let want = match (p.name(), p.shape()) {
                    (_, [_, _]) => 0.01,
                    (_, [out, _, k, _]) => (2.0 / (out * k * k) as f64).sqrt(),
                    ("cls_token" | "pos_embed", _) => 0.02,
                    (norm, [_]) if norm.contains("norm") && norm.ends_with("weight") => 1.0,
                    _ => 0.0,
                };
                // A sample's deviation strays by 1 / sqrt(2 n) of itself; five times that is allowed.
                let stray = 5.0 * want / (2.0 * p.numel() as f64).sqrt();
                let (got, exact) = (deviation(&p.to_vec()), want == 0.0 || want == 1.0);
                assert!((got - want).abs() <= if exact { 0.0 } else { stray }, "{name} {}: {got}", p.name());
                seen += 1;
                Ok(())
            })
            .unwrap();
        assert!(seen > 40, "{name}: {seen}");
    }
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
fn every_entry_builds_with_any_number_of_gated_layers() {
    for entry in entries().into_iter().filter(|e| e.spec.embed_dim < 300) {
        let gated = if entry.spec.local_up_to_layer().is_some() { entry.spec.depth } else { 1 };
        // Every number where that is quickly built, else none, some, and all but the last.
        let few = gated <= 4;
        for local in (0..gated).filter(|local| few || [0, 5, gated - 1].contains(local)) {
            let options = BuildOptions { classes: 10, local_up_to_layer: Some(local), ..Default::default() };
            let built = build(&Cpu::default(), &entry.spec.name, &options).unwrap();
            let switchable = built.model.switchable().unwrap().len();
            assert_eq!(switchable > 0, entry.spec.can_switch(), "{}", entry.spec.name);
            assert_eq!(built.model.gates().unwrap().len(), local + switchable, "{}", entry.spec.name);
            assert_eq!(built.model.spec().local_up_to_layer().unwrap_or(0), local);
        }
    }
}

#[test]
fn options_that_cannot_be_are_refused_with_a_way_out() {
    let device = Cpu::default();
    let error = |name: &str, options: BuildOptions| build(&device, name, &options).unwrap_err().to_string();
    let local = |n| BuildOptions { classes: 10, local_up_to_layer: Some(n), ..Default::default() };
    assert!(error("convit_micro", local(4)).contains("give at most 3"));
    assert!(error("deit_micro", local(1)).contains("only ConViT has gated layers"));
    assert!(error("convit_tinny", local(0)).contains("did you mean `convit_tiny`?"));
    let classes = BuildOptions { classes: 0, ..Default::default() };
    assert!(error("convit_micro", classes).contains("1 to 262144"));
    let image = BuildOptions { image: Some((32, 30)), ..Default::default() };
    assert!(error("convit_micro", image).contains("multiples of 4"));
    for (name, image) in
        [("prs_nano", (36, 32)), ("eit_mini", (4, 224)), ("resnet_micro", (0, 32)), ("deit_micro", (0, 0))]
    {
        let options = BuildOptions { image: Some(image), ..Default::default() };
        assert!(error(name, options).contains("its patches cover"), "{name}");
    }
    for side in [4100, usize::MAX] {
        let options = BuildOptions { image: Some((side, 4)), ..Default::default() };
        assert!(error("convit_micro", options).contains("at most 4096"), "{side}");
    }
    let strength = BuildOptions { classes: 10, locality_strength: f64::NAN, ..Default::default() };
    assert!(error("convit_micro", strength).contains("positive number"));
}

#[test]
fn any_number_of_classes_and_any_image_that_patches_cover_can_be_built() {
    let device = Cpu::seed_from_u64(0);
    let mut tried = 0;
    for entry in entries().into_iter().filter(|entry| entry.spec.embed_dim < 300) {
        let image = (2 * entry.spec.image.0, entry.spec.image.1);
        let options = BuildOptions { classes: 37, image: Some(image), ..Default::default() };
        let model = build(&device, &entry.spec.name, &options).unwrap().model;
        let spec = model.spec();
        let block = if spec.resnet().is_some() { spec.depth - 1 } else { 0 };
        assert_eq!((spec.classes, spec.image, model.layout(block).grid), (37, image, spec.grid()));
        if image.0 < 100 {
            let images = device.zeros_like(&(1, 3, image.0, image.1));
            assert_eq!(model.forward(images, None).unwrap().shape().concrete(), [1, 37]);
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
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
