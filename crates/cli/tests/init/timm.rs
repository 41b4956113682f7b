//! Weights of `init` in timm: loaded strictly, with the same attention. They need a Python with torch, timm and safetensors: `python3`, or
//! the one that `INDUCTIVE_TEST_PYTHON` names.

use std::process::Command;

use super::*;
use dfdx::prelude::{Cpu, TensorFromVec};
use inductive_checkpoint::{LoadOptions, TensorWriter, load};
use inductive_models::{BuildOptions, Record, build};

fn python() -> String {
    let python = std::env::var("INDUCTIVE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import torch, timm, safetensors"]).output();
    assert!(
        import.is_ok_and(|output| output.status.success()),
        "`{python}` has no torch, timm and safetensors; set INDUCTIVE_TEST_PYTHON to a Python that has"
    );
    python
}

/// Writes weights, loads them here and in timm as the command says, and compares attention and logits on one image.
fn agrees(model: &str, strategy: &str) {
    let python = python();
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let shown = succeeds(
        d,
        &[&["init", model, "--strategy", strategy, "--seed", "1", "--no-pictures"], &OUT[..]].concat(),
    );
    let line = |start: &str| shown.lines().map(str::trim).find(|line| line.starts_with(start)).unwrap();
    let script =
        [line("import timm"), line("model = timm"), line("model.load_state_dict("), include_str!("timm.py")];

    let device = Cpu::default();
    let mut ours = build(&device, model, &BuildOptions::default()).unwrap().model;
    load(&mut *ours, d.join("model.safetensors"), &LoadOptions::new()).unwrap();
    let side = ours.spec().image.0;
    // Some smooth image with values of about +-1.
    let pixel = |at: usize| ((at % side) as f32 * 0.07).sin() + ((at / side) as f32 * 0.011).cos();
    let image: Vec<f32> = (0..3 * side * side).map(pixel).collect();
    let mut record = Record::default();
    let input = device.tensor_from_vec(image.clone(), (1, 3, side, side));
    let logits = ours.forward(input, Some(&mut record)).unwrap();
    let map = record.blocks[0].attention.as_ref().unwrap();
    let tokens = map.layout.tokens();
    let mut writer = TensorWriter::new();
    writer.add("image", &[1, 3, side, side], &image).unwrap();
    writer.add("attention", &[1, map.heads, tokens, tokens], &map.map).unwrap();
    writer.add("logits", &[1, 1000], &logits.as_vec()).unwrap();
    writer.write(d.join("ours.safetensors")).unwrap();

    let output = Command::new(python).args(["-c", &script.join("\n")]).current_dir(d).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{model}, {strategy}: {}", said.trim());
}

#[test]
#[ignore = "needs Python with torch, timm, safetensors: cargo test -p inductive-cli --test init -- --ignored timm"]
fn a_deit_by_its_name() {
    agrees("deit_tiny_patch16_224", "impulse");
}

#[test]
#[ignore = "needs Python with torch, timm, safetensors: cargo test -p inductive-cli --test init -- --ignored timm"]
fn a_vit_without_class_token() {
    agrees("vit_tiny_patch16_gap_224", "impulse3");
}

#[test]
#[ignore = "needs Python with torch, timm, safetensors: cargo test -p inductive-cli --test init -- --ignored timm"]
fn a_size_that_timm_has_no_name_for() {
    agrees("deit_micro", "mimetic");
}
