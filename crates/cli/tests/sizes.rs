//! Any number of classes, any image size, any depth: an image folder is trained on, measured and trained on further at another size.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{FAILURE, USAGE, inductive, refuses, refuses_recipe, succeeds};
use image::{Rgb, RgbImage};
use inductive_checkpoint::describe;

/// A folder of images of 40 x 56 pixels: two to train on and one to measure on of each class, which has a colour of its own.
fn images(root: &Path, classes: usize) {
    for class in 0..classes {
        for (split, count) in [("train", 2), ("val", 1)] {
            let folder = root.join(format!("{split}/class{class:02}"));
            fs::create_dir_all(&folder).unwrap();
            for index in 0..count {
                let colour = [class * 6, 255 - class * 5, index * 90].map(|level| level as u8);
                RgbImage::from_pixel(40, 56, Rgb(colour)).save(folder.join(format!("{index}.png"))).unwrap();
            }
        }
    }
}

/// What training prints, on both streams.
fn train(folder: &Path, recipe: &str, out: &str) -> String {
    fs::write(folder.join(format!("{out}.toml")), recipe).unwrap();
    let output = inductive(folder, &["--plain", "train", &format!("{out}.toml"), "--out", out]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// Names and shapes of a file.
fn shapes(path: &Path) -> BTreeMap<String, Vec<usize>> {
    describe(path).unwrap().tensors.into_iter().map(|it| (it.name, it.shape)).collect()
}

const RECIPE: &str = "model = \"convit_micro\"\ndata = \"folder:images\"\nimage_size = [48, 32]\ndepth = 5\nlocal_up_to_layer = 2\n\
                      batch_size = 16\nepochs = \"3 steps\"\neval_every = \"3 steps\"\n";

#[test]
fn any_classes_size_and_depth_are_trained_measured_and_trained_on_at_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    images(&d.join("images"), 37);
    let text = train(d, RECIPE, "first");
    assert!(text.contains("2 gated layers") && text.contains("74 training and 37 test images"), "{text}");
    let weights = shapes(&d.join("first/last.safetensors"));
    assert_eq!(weights["head.weight"], [37, 96]);
    assert_eq!(weights["pos_embed"], [1, 12 * 8, 96]);
    let gated = |block: usize| weights.contains_key(&format!("blocks.{block}.attn.gating_param"));
    let plain = |block: usize| weights.contains_key(&format!("blocks.{block}.attn.qkv.weight"));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|block| (gated(block), plain(block))),
        [(true, false), (true, false), (false, true), (false, true), (false, true)]
    );
    assert!(!plain(5));

    // Measured as it is, by the run and by the model's name: the file says how its model is built.
    let of_run = succeeds(d, &["eval", "first"]);
    assert!(of_run.contains("37 test images"), "{of_run}");
    let by_name = ["eval", "convit_micro", "--weights", "first/last.safetensors", "--data", "folder:images"];
    assert_eq!(succeeds(d, &by_name), of_run);

    // At another size, with positions of another grid.
    let output = inductive(d, &["eval", "first", "--image-size", "64x48"]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && notes.contains("pos_embed: resampled from 12 x 8 to 16 x 12"),
        "{notes}"
    );
    let other = String::from_utf8(output.stdout).unwrap();
    assert!(other.contains("37 test images"), "{other}");
    succeeds(d, &["fourier", "first/last.safetensors", "--data", "folder:images", "--images", "4"]);

    // Trained on at another size, for other classes.
    images(&d.join("few"), 3);
    let further = format!("weights = \"first/last.safetensors\"\n{}", RECIPE.replace("[48, 32]", "24"));
    let text = train(d, &further.replace("folder:images", "folder:few").replace("16", "6"), "second");
    assert!(text.contains("pos_embed: resampled from 12 x 8 to 6 x 6"), "{text}");
    assert!(
        text.contains("head.weight: the model's own values kept, [3, 96] (the file's: [37, 96])"),
        "{text}"
    );
    let weights = shapes(&d.join("second/last.safetensors"));
    assert_eq!((&weights["head.weight"][..], &weights["pos_embed"][..]), (&[3, 96][..], &[1, 36, 96][..]));
}

#[test]
fn what_a_model_cannot_be_is_refused_with_what_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let train = |recipe: &str, code: i32, says: &[&str]| drop(refuses_recipe(d, recipe, code, says));
    train("image_size = [50, 32]", USAGE, &["50x32", "multiples of 4"]);
    train("image_size = [0, 32]", USAGE, &["0x32", "multiples of 4"]);
    train("image_size = 8192", USAGE, &["8192x8192", "at most 4096"]);
    train("image_size = \"48x32\"", USAGE, &["image_size", "[height, width]"]);
    train("model = \"prs_nano\"\nimage_size = 36", USAGE, &["36x36", "multiples of"]);
    train("image_size = [48, 32]", FAILURE, &["48x32", "synthetic", "32x32", "image_size"]);
    train("depth = 0", USAGE, &["depth 0", "1 to 1024"]);
    train("depth = 2", USAGE, &["local_up_to_layer 3 with 2 layers", "at most 1"]);
    train("model = \"eit_micro\"\ndepth = 3", USAGE, &["depth 3", "leave depth out"]);
    train("model = \"resnet_micro\"\ndepth = 3", USAGE, &["depth 3", "stages"]);
    train("weights = \"missing.safetensors\"", FAILURE, &["missing.safetensors"]);
    train("weights = \"x\"\ninit = \"impulse\"", USAGE, &["`weights`", "`init`"]);
    fs::write(d.join("empty.safetensors"), "no weights").unwrap();
    train("weights = \"empty.safetensors\"", FAILURE, &["empty.safetensors"]);
    refuses(d, &["eval", "runs", "--image-size", "48x"], USAGE, &["48x32"]);
    assert!(!d.join("runs").exists(), "no run was begun");
}
