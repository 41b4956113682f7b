//! `inductive init`: what it refuses, and that its files are what it says.

#[path = "../common/mod.rs"]
mod common;

use std::{fs, path::Path};

use common::{FAILURE, USAGE, refuses, succeeds};
use inductive_checkpoint::TensorFile;

#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32, says: &[&str]) {
    refuses(folder, &[&["init"], args].concat(), code, says);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const OUT: [&str; 2] = ["--out", "model.safetensors"];

#[test]
fn requests_that_cannot_be_meant_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let init = |args: &[&str], says: &[&str]| refused(d, &[args, &OUT].concat(), USAGE, says);
    init(&["deit_micro"], &["which weights?", "impulse3 ", "arXiv 2404.01139", "default-scaled-position"]);
    init(
        &["deit_micro", "--strategy", "impulze"],
        &["no strategy `impulze`; did you mean `impulse`?", "kaiming ", ".toml"],
    );
    init(&["deit_mikro", "--strategy", "impulse"], &["did you mean `deit_micro`?"]);
    init(&["eit_micro", "--strategy", "impulse"], &["eit_micro", "of 96 channels", "take `kaiming`"]);
    init(&["resnet_micro", "--strategy", "mimetic"], &["resnet_micro", "attention", "take `kaiming`"]);
    for classes in ["0", "262145", "18446744073709551615"] {
        init(&["deit_micro", "--strategy", "impulse", "--classes", classes], &[classes, "1 to 262144"]);
    }
    init(&["deit_micro", "--strategy", "impulse", "--data", "mnist:x"], &["mnist", "cifar10:PATH"]);
    refused(d, &["deit_micro", "--strategy", "impulse"], USAGE, &["--out"]);
    refused(d, &["--strategy", "impulse", "--out", "a"], USAGE, &["MODEL"]);
    assert!(names(d).is_empty(), "{:?}", names(d));
}

#[test]
fn files_that_cannot_be_read_or_written_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let impulse = ["deit_micro", "--strategy", "impulse", "--out"];
    refused(d, &[&impulse[..], &["missing/model.safetensors"]].concat(), FAILURE, &["missing"]);
    fs::create_dir(d.join("model.position.png")).unwrap();
    refused(d, &[&impulse[..], &["model.safetensors"]].concat(), FAILURE, &["model.position.png", "folder"]);
    let strategy = |name: &str, code: i32, says: &[&str]| {
        refused(d, &[&["deit_micro", "--strategy", name], &OUT[..]].concat(), code, says);
    };
    strategy("missing.toml", FAILURE, &["missing.toml", "read the initial weights"]);
    fs::write(d.join("wrong.toml"), "linear = \"kaiming\"\nquery_keys = \"linear\"\n").unwrap();
    strategy("wrong.toml", USAGE, &["wrong.toml", "line 2", "query_keys", "value_proj"]);
    let data = ["--data", "cifar10:nowhere"];
    refused(d, &[&impulse[..], &["a.safetensors"], &data].concat(), FAILURE, &["nowhere", "does not exist"]);
    assert_eq!(names(d), ["model.position.png", "wrong.toml"]);
}

/// The recipe that was written beside `model.safetensors`.
fn recipe(folder: &Path) -> String {
    fs::read_to_string(folder.join("model.recipe.toml")).unwrap()
}

/// The weights of a run of `model` with these lines after it has learned nothing.
fn run_begins_with(folder: &Path, lines: &str) -> TensorFile {
    let still = "epochs = \"1 steps\"\nbatch_size = 8\nlr = 0.0\nwarmup_lr = 0.0\nmin_lr = 0.0\n";
    // Tables come last.
    let (values, tables) = lines.split_at(lines.find("\n[").map(|at| at + 1).unwrap_or(lines.len()));
    fs::write(folder.join("recipe.toml"), format!("{values}{still}{tables}")).unwrap();
    succeeds(folder, &["train", "recipe.toml", "--out", "run"]);
    TensorFile::open(folder.join("run/last.safetensors")).unwrap()
}

#[track_caller]
fn same(a: &TensorFile, b: &TensorFile) {
    let names = |file: &TensorFile| file.entries().map(|entry| entry.name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(a), names(b));
    for name in names(a) {
        let bits = |file: &TensorFile| {
            file.values::<f32>(&name).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert!(bits(a) == bits(b), "{name}");
    }
}

#[test]
fn the_weights_are_those_a_run_begins_with_and_eval_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let impulse = ["init", "deit_micro", "--strategy", "impulse", "--seed", "3", "--classes", "10"];
    let shown = succeeds(d, &[&impulse[..], &OUT].concat());
    for part in [
        "blocks.3.attn",
        "(0,0) (-1,0) (0,1) (0,-1)",
        "model.attention.png",
        "timm.models.vision_transformer",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    let file = TensorFile::open(d.join("model.safetensors")).unwrap();
    assert!(shown.contains("next: inductive train model.recipe.toml\n"), "{shown}");
    let lines = recipe(d);
    assert!(lines.contains("seed = 3\n") && lines.contains("init = \"impulse\"\n"), "{lines}");
    same(&file, &run_begins_with(d, &lines));
    // The run measures the same attention on the same images.
    let start: serde_json::Value =
        serde_json::from_slice(&fs::read(d.join("run/start.json")).unwrap()).unwrap();
    for (layer, mass) in start["target_mass"].as_array().unwrap().iter().enumerate() {
        let row = shown.lines().find(|line| line.contains(&format!("blocks.{layer}.attn"))).unwrap();
        assert!(row.ends_with(&format!("{:.3}", mass.as_f64().unwrap())), "{mass} is not in {row}");
    }
    let eval = ["eval", "deit_micro", "--weights", "model.safetensors", "--data", "synthetic"];
    assert!(succeeds(d, &eval).contains("top-1"));
    // 4 layers and heads of 65 tokens, 3 pixels each, between gaps of 8 under labels of 13
    for picture in ["model.attention.png", "model.position.png"] {
        let picture = image::open(d.join(picture)).unwrap();
        assert_eq!((picture.width(), picture.height()), (8 + 4 * 205, 8 + 4 * 218));
    }
    // Layer 0 attends by position: light where head 1 looks, one row up, dark elsewhere.
    let picture = image::open(d.join("model.position.png")).unwrap().to_rgb8();
    let light = |query: u32, key: u32| picture.get_pixel(8 + 205 + 1 + 3 * key, 22 + 3 * query).0;
    let sum = |[r, g, b]: [u8; 3]| u32::from(r) + u32::from(g) + u32::from(b);
    let up = (9..65).filter(|query| sum(light(*query, query - 8)) > 300).count();
    let here = (9..65).filter(|query| sum(light(*query, *query)) > 300).count();
    assert!(up >= 45 && here <= 5, "{up} look up, {here} at themselves, of 56");

    let again = succeeds(d, &[&impulse[..], &OUT, &["--no-pictures"]].concat());
    assert!(again.contains("in place of an earlier file") && !again.contains(".png"), "{again}");
    same(&TensorFile::open(d.join("model.safetensors")).unwrap(), &file);
}

#[test]
fn a_strategy_from_a_file_is_a_run_with_the_printed_table() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let strategy = "linear = \"kaiming\"\nvalue_proj = \"linear\"\nposition_scale = 1.0\n\
        [query_key.impulse]\nkernel = 3\noffsets = \"random\"\nscrambled = true\nfirst = \"position\"\nothers = \"position\"\n\
        shared = true\nsolver = { gradient = { steps = 200, lr = 1e-2 } }\n";
    fs::write(d.join("own.toml"), strategy).unwrap();
    let args = ["init", "vit_micro_gap", "--strategy", "own.toml", "--classes", "10", "--no-pictures"];
    let shown = succeeds(d, &[&args[..], &OUT].concat());
    let lines = recipe(d);
    assert!(shown.contains("scrambled scrambled") && lines.contains("steps = 200"), "{shown}{lines}");
    let file = TensorFile::open(d.join("model.safetensors")).unwrap();
    same(&file, &run_begins_with(d, &lines));
    assert_eq!(names(d), ["model.recipe.toml", "model.safetensors", "own.toml", "recipe.toml", "run"]);
}

#[test]
fn models_of_224_pixels_see_enlarged_images_and_those_without_attention_get_no_picture() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let shown = succeeds(d, &[&["init", "convit_tiny", "--strategy", "kaiming"], &OUT[..]].concat());
    assert!(
        shown.contains("aims at no attention map") && recipe(d).contains("data = \"folder:DIR\""),
        "{shown}"
    );
    assert!(shown.contains("next: inductive train model.recipe.toml --data folder:DIR\n"), "{shown}");
    assert!(shown.contains("timm.create_model(\"convit_tiny\", num_classes=1000)"), "{shown}");
    // The last layers have the class token: 197 tokens; 4 heads, 12 layers.
    let picture = image::open(d.join("model.attention.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (8 + 4 * 207, 8 + 12 * 220));
    let shown = succeeds(d, &["init", "resnet_micro", "--strategy", "kaiming", "--out", "b.safetensors"]);
    assert!(shown.contains("no attention") && !shown.contains("b.attention.png"), "{shown}");
    // Convolutions that can become attention are shown as the attention that they equal.
    let args = ["init", "prs_nano", "--strategy", "kaiming", "--classes", "10", "--out", "c.safetensors"];
    let shown = succeeds(d, &args);
    assert!(
        shown.contains("c.attention.png") && shown.contains("6 rows of layers, 9 columns of heads"),
        "{shown}"
    );
    for file in ["c.attention.png", "c.position.png", "c.recipe.toml", "c.safetensors"] {
        fs::remove_file(d.join(file)).unwrap();
    }
    let left =
        ["attention.png", "position.png", "recipe.toml", "safetensors"].map(|it| format!("model.{it}"));
    assert_eq!(names(d), [&["b.recipe.toml", "b.safetensors"].map(str::to_owned)[..], &left].concat());
}

#[test]
fn the_list_has_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let shown = succeeds(dir.path(), &["init", "--list"]);
    for name in inductive_init::Strategy::NAMES {
        assert!(shown.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {shown}");
    }
}

mod timm;
