//! `inductive fourier`: new weights, weights of a file, figures, wrong requests.

mod common;

use std::fs;

use common::{FAILURE, USAGE, refuses, succeeds};
use inductive_checkpoint::{TensorFile, TensorWriter};

/// The lines of the table of points, words apart.
fn rows(text: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(words).filter(|row| row.len() >= 8 && row.iter().any(|word| word == "x")).collect()
}

#[test]
fn new_weights_are_measured_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let text =
        succeeds(d, &["fourier", "convit_micro", "--data", "synthetic", "--images", "5", "--out", "figures"]);
    let rows = rows(&text);
    assert_eq!(rows.len(), 9, "{text}");
    assert_eq!(rows[0][..2], ["patch_embed", "stem"]);
    assert_eq!(rows[1][..5], ["blocks.0.attn", "attention", "8", "x", "8"]);
    assert_eq!(rows[8][..2], ["blocks.3.mlp", "mlp"]);
    let number = |row: &[String], column: usize| row[column].parse::<f64>().unwrap();
    for pair in rows.windows(2) {
        let (before, row) = (number(&pair[0], 5), &pair[1]);
        // stream, branch, change, of the branch
        assert!((number(row, 7) - (number(row, 5) - before)).abs() < 2e-3, "{row:?}");
        assert!((number(row, 8) - (number(row, 6) - before)).abs() < 2e-3, "{row:?}");
    }
    for part in ["5 test images", "new weights (seed 0)", "normalized depth", "next: inductive train"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    for name in ["fourier.svg", "fourier.stream.svg", "fourier.branch.svg"] {
        let svg = fs::read_to_string(d.join("figures").join(name)).unwrap();
        assert!(svg.ends_with("</svg>\n") && text.contains(name), "{name}");
    }
    assert!(fs::read_to_string(d.join("figures/fourier.svg")).unwrap().contains("attention"));
}

#[test]
fn a_file_has_the_numbers_of_the_weights_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let init =
        ["init", "deit_micro", "--strategy", "own", "--seed", "3", "--no-pictures", "--classes", "100"];
    succeeds(d, &[&init[..], &["--out", "w.safetensors"]].concat());
    let data = ["--data", "synthetic", "--images", "4"];
    let file = succeeds(d, &[&["fourier", "w.safetensors"], &data[..], &["--out", "plot.svg"]].concat());
    let new =
        |seed: &str| rows(&succeeds(d, &[&["fourier", "deit_micro", "--seed", seed], &data[..]].concat()));
    assert_eq!(rows(&file), new("3"));
    assert_ne!(rows(&file), new("0"));
    assert!(file.contains("next: inductive fourier deit_micro --data synthetic"), "{file}");
    assert!(d.join("plot.svg").is_file() && d.join("plot.stream.svg").is_file());
}

#[test]
fn convolutional_networks_have_grids_that_shrink() {
    let dir = tempfile::tempdir().unwrap();
    let text = succeeds(dir.path(), &["fourier", "resnet_micro", "--data", "synthetic", "--images", "2"]);
    assert!(text.contains("convolution, downsampling"), "{text}");
    assert!(text.contains("32 x 32") && text.contains("4 x 4"), "{text}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is written without --out");
}

#[test]
fn requests_that_cannot_be_meant_and_files_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let fourier = |args: &[&str], code: i32, parts: &[&str]| {
        refuses(d, &[&["fourier"], args, &["--data", "synthetic"]].concat(), code, parts);
    };
    refuses(d, &["fourier", "convit_micro"], USAGE, &["--data"]);
    refuses(d, &["fourier", "convit_micro", "--data", "mnist:x"], USAGE, &["mnist"]);
    fourier(&["convit_micro", "--images", "0"], USAGE, &["at least 1"]);
    fourier(&["convit_mikro"], USAGE, &["did you mean `convit_micro`?"]);
    fourier(&["convit_micro", "--model", "deit_micro"], USAGE, &["--model", "no file convit_micro"]);
    fourier(&["convit_micro", "--local-up-to-layer", "4"], USAGE, &["class token"]);
    fourier(&["missing.safetensors"], FAILURE, &["missing.safetensors"]);
    fs::write(d.join("empty.safetensors"), b"").unwrap();
    fourier(&["empty.safetensors"], FAILURE, &["empty.safetensors"]);
    // A file as timm writes it: without a word of its model.
    let header = br#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let timm = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    fs::write(d.join("timm.safetensors"), timm).unwrap();
    fourier(&["timm.safetensors"], USAGE, &["--model NAME", "timm.safetensors"]);
    fourier(&["timm.safetensors", "--model", "deit_micro"], FAILURE, &["missing"]);
    fourier(&["convit_micro", "--out", "nowhere/plot.svg"], FAILURE, &["nowhere"]);
    fourier(&["convit_micro", "--out", "timm.safetensors"], FAILURE, &["timm.safetensors", "folder"]);
    fourier(&["timm.safetensors", "--model", "deit_micro", "--out", "figures"], FAILURE, &["missing"]);
    assert_eq!(fs::read_dir(d).unwrap().count(), 2, "nothing was written");
    // Of a run that diverged.
    let init = ["init", "deit_micro", "--strategy", "own", "--no-pictures", "--classes", "10", "--out"];
    succeeds(d, &[&init[..], &["w.safetensors"]].concat());
    let file = TensorFile::open(d.join("w.safetensors")).unwrap();
    let mut broken = TensorWriter::new();
    broken.add_metadata("model", "deit_micro");
    for entry in file.entries() {
        let mut values = file.values::<f32>(entry.name).unwrap();
        if entry.name == "norm.weight" {
            values[0] = f32::NAN;
        }
        broken.add(entry.name, entry.shape, &values).unwrap();
    }
    broken.write(d.join("broken.safetensors")).unwrap();
    fourier(&["broken.safetensors", "--out", "figures"], FAILURE, &["no numbers", "broken.safetensors"]);
    assert!(!d.join("figures").exists());
    // A folder of the model's name is no file of weights.
    fs::create_dir(d.join("deit_micro")).unwrap();
    succeeds(d, &["fourier", "deit_micro", "--data", "synthetic", "--images", "2"]);
}
