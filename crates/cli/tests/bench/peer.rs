//! `bench --peer` beside shell scripts that stand for Python.

use super::*;
use dfdx::prelude::Cpu;
use inductive_models::{BuildOptions, build};
use inductive_nn::ModuleExt;
use std::os::unix::fs::PermissionsExt;

/// Puts a shell script where [`ARGS`] look for Python; `$ready` is the line that a peer begins with.
fn fake(folder: &Path, parameters: usize, script: &str) {
    let ready = format!(r#"{{"parameters": {parameters}, "software": "Fake 1.0"}}"#);
    // The look for Python 3 has two arguments, the measurement three.
    python(folder, &format!("[ $# = 2 ] && exit 0\nready='{ready}'\n{script}"));
}

fn python(folder: &Path, script: &str) {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

const ARGS: [&str; 6] = ["--peer", "pytorch", "--python", "./python", "--mode", "training"];

/// Measures beside such a script.
fn beside(folder: &Path, parameters: usize, script: &str, more: &[&'static str]) -> Output {
    fake(folder, parameters, script);
    bench(folder, &[&short(&ARGS)[..], more].concat())
}

fn parameters() -> usize {
    let options = BuildOptions { classes: 100, ..BuildOptions::default() };
    build(&Cpu::default(), "convit_micro", &options).unwrap().model.num_params()
}

#[track_caller]
fn fails(output: &Output, says: &[&str]) {
    refused(output, FAILURE, says);
}

#[test]
fn ratios_are_ours_by_theirs_and_memory_too() {
    let dir = tempfile::tempdir().unwrap();
    // Steps of 1000 ms: 2 images per second.
    let script = r#"echo "$ready"
while read -r line; do
  [ "$line" = run ] || exit 9
  echo '{"forward": [600, 600, 600], "backward": [300, 300, 300], "optimizer": [100, 100, 100], "peak_rss_mib": 1000}'
done"#;
    let output = beside(dir.path(), parameters(), script, &["--json", "a.json", "--csv", "a.csv"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = text(&output.stdout);
    assert!(shown.contains("inductive beside Fake 1.0"), "{shown}");

    let all = json(&dir.path().join("a.json"));
    let m = &all["measurements"][0];
    assert_eq!(m["pytorch"]["rounds"].as_array().unwrap().len(), 2);
    close(number(m, "/pytorch/images_per_s/median"), 2.0);
    close(number(m, "/pytorch/backward_ms"), 300.0);
    let (ratio, low, high) =
        (number(m, "/ratio/speed/median"), number(m, "/ratio/speed/min"), number(m, "/ratio/speed/max"));
    assert!(low <= ratio && ratio <= high);
    close(low, number(m, "/inductive/images_per_s/min") / 2.0);
    if cfg!(target_os = "linux") {
        close(number(m, "/ratio/memory"), number(m, "/inductive/peak_rss_mib") / 1000.0);
    }
    // Our count of operations is not theirs.
    assert!(number(m, "/inductive/gflops") > 0.0);
    assert!(m["pytorch"]["gflops"].is_null() && m["pytorch"]["share_of_peak"].is_null());
    let csv = fs::read_to_string(dir.path().join("a.csv")).unwrap();
    let column = csv.lines().next().unwrap().split(',').position(|name| name == "gflops").unwrap();
    let theirs: Vec<&str> = csv.lines().filter(|line| line.contains(",pytorch,")).collect();
    assert_eq!(theirs.len(), 1);
    let values: Vec<&str> = theirs[0].split(',').collect();
    assert_eq!(values[column..column + 2], ["", ""]);
}

#[test]
fn memory_that_is_not_known_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo "$ready"
while read -r line; do echo '{"forward": [1], "backward": [1], "optimizer": [1], "peak_rss_mib": null}'; done"#;
    let output = beside(dir.path(), parameters(), script, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not known"));
}

#[test]
fn a_module_that_is_missing_is_named_with_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"echo '{"missing": "torch", "reason": "No module named torch"}'; exit 3"#;
    let output = beside(dir.path(), parameters(), script, &[]);
    fails(
        &output,
        &["cannot import torch", "No module named torch", "pip install torch timm", "--python PATH"],
    );
}

#[test]
fn another_model_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let output = beside(dir.path(), parameters() + 1, "echo \"$ready\"; cat", &[]);
    fails(&output, &["not the same model", &parameters().to_string(), &(parameters() + 1).to_string()]);
}

#[test]
fn a_peer_that_dies_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo \"$ready\"; read -r line; echo 'RuntimeError: out of luck' >&2; exit 7";
    let output = beside(dir.path(), parameters(), script, &[]);
    fails(&output, &["exit status: 7", "RuntimeError: out of luck", "without --peer"]);
}

#[test]
fn answers_that_are_none_are_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let output = beside(dir.path(), parameters(), "echo hello; cat", &[]);
    fails(&output, &["answer that cannot be used", "hello"]);
    let script = r#"echo "$ready"; echo '{"forward": [0], "backward": [], "optimizer": [], "peak_rss_mib": null}'; cat"#;
    let output = beside(dir.path(), parameters(), script, &[]);
    fails(&output, &["answer that cannot be used"]);
}

/// Answers one process; the next one dies.
const ONCE: &str = r#"[ -e once ] && { echo 'RuntimeError: late' >&2; exit 7; }
touch once
echo "$ready"
while read -r line; do echo '{"forward": [1], "backward": [1], "optimizer": [1], "peak_rss_mib": 1}'; done"#;

#[test]
fn a_late_failure_leaves_what_was_finished() {
    let dir = tempfile::tempdir().unwrap();
    let output = beside(dir.path(), parameters(), ONCE, &["convit_micro", "--json", "a.json"]);
    fails(&output, &["exit status: 7", "RuntimeError: late"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("inductive beside Fake 1.0") && shown.contains("written: a.json"), "{shown}");
    let all = json(&dir.path().join("a.json"));
    assert_eq!(all["complete"], false);
    assert_eq!(all["measurements"].as_array().unwrap().len(), 1);
    assert!(number(&all, "/measurements/0/inductive/share_of_peak") > 0.0);
    assert!(all["loader"].is_null());
}

#[test]
fn a_failure_before_the_first_result_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = beside(dir.path(), parameters(), "exit 7", &["--json", "a.json"]);
    fails(&output, &["exit status: 7"]);
    assert!(output.stdout.is_empty() && !dir.path().join("a.json").exists());
}

#[test]
fn a_closed_output_does_not_hide_that_a_file_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("gone")).unwrap();
    fake(dir.path(), parameters(), &format!("rmdir gone\n{ONCE}"));
    let mut command = common::program(dir.path(), &["bench"]);
    let mut child = command.args(short(&ARGS)).args(["--json", "gone/a.json"]).spawn().unwrap();
    drop(child.stdout.take());
    fails(&common::end(child), &["gone"]);
}

#[test]
fn python_2_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    python(dir.path(), "exit 1");
    let output = bench(dir.path(), &short(&ARGS));
    fails(&output, &["needs Python 3", "`./python` is not Python 3", "--python PATH"]);
    assert!(!stderr(&output).contains("to measure"));
}
