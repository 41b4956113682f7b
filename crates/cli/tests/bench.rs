//! `inductive bench`: what it refuses, what it writes, and how it deals with a peer. No PyTorch is needed: a fake Python
//! keeps to the protocol, or does not.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const USAGE: i32 = 2;
const FAILURE: i32 = 1;

fn bench(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_inductive"))
        .arg("bench")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refuses(folder: &Path, args: &[&str], code: i32, says: &[&str]) {
    let output = bench(folder, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{args:?} does not say `{part}`: {text}");
    }
}

/// Arguments of a measurement that is over soon.
fn short(more: &[&'static str]) -> Vec<&'static str> {
    [&["convit_micro", "--batch", "2", "--rounds", "2", "--seconds", "0.01"], more].concat()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The number at a path like `/measurements/0/batch`.
#[track_caller]
fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {value:#}"))
}

#[track_caller]
fn close(a: f64, b: f64) {
    assert!((a / b - 1.0).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn requests_that_cannot_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    refuses(d, &["convit_mikro"], USAGE, &["did you mean `convit_micro`?"]);
    refuses(d, &["--batch", "0"], USAGE, &["--batch 0", "at least 1"]);
    refuses(d, &["--batch", "1000000"], USAGE, &["at most 65536"]);
    refuses(d, &["--rounds", "0"], USAGE, &["--rounds 0", "at least 1"]);
    for seconds in ["0", "-1", "nan", "inf"] {
        refuses(d, &["--seconds", seconds], USAGE, &["--seconds", "more than 0"]);
    }
    refuses(d, &["--mode", "sleep"], USAGE, &["train, inference, both"]);
    refuses(d, &["--peer", "jax"], USAGE, &["jax", "pytorch"]);
    refuses(d, &["--python", "python3"], USAGE, &["--peer"]);
    refuses(d, &["--json", "a", "--csv", "a"], USAGE, &["same file"]);
    assert!(fs::read_dir(d).unwrap().next().is_none(), "nothing was written");
}

#[test]
fn files_that_cannot_be_written_are_refused_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    for option in ["--json", "--csv"] {
        let output = bench(dir.path(), &[option, "missing/file"]);
        assert_eq!(output.status.code(), Some(FAILURE));
        assert!(stderr(&output).contains("missing"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("to measure"), "{}", stderr(&output));
    }
}

#[test]
fn a_python_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let args = short(&["--peer", "pytorch", "--python", "/nonexistent/python"]);
    refuses(dir.path(), &args, FAILURE, &["`/nonexistent/python` does not run", "install", "--python PATH"]);
}

#[test]
fn a_worker_that_is_not_started_by_bench_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_inductive")).args(["bench-worker", "{}"]).output().unwrap();
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(stderr(&output).contains("inductive bench"), "{}", stderr(&output));
}

#[test]
fn numbers_agree_with_the_steps_they_are_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(
        dir.path(),
        &[
            "convit_micro",
            "--batch",
            "2",
            "--rounds",
            "1",
            "--seconds",
            "0.01",
            "--json",
            "a.json",
            "--csv",
            "a.csv",
            "--threads",
            "1",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["convit_micro", "training", "inference", "peak:", "loader alone:", "next:", "a.json"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }

    let all = json(&dir.path().join("a.json"));
    assert_eq!(all["machine"]["threads"], 1);
    let peak = number(&all, "/peak/gflops");
    let csv = fs::read_to_string(dir.path().join("a.csv")).unwrap();
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let measurements = all["measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), 2);
    for (measurement, mode) in measurements.iter().zip(["inference", "training"]) {
        assert_eq!(measurement["mode"], mode);
        let side = &measurement["inductive"];
        let phases = ["forward", "backward", "optimizer"].map(|phase| {
            let steps = side["rounds"][0][phase].as_array().unwrap();
            steps.iter().map(|ms| ms.as_f64().unwrap()).collect::<Vec<f64>>()
        });
        let steps = phases[0].len();
        assert!(steps >= 3);
        assert_eq!([phases[1].len(), phases[2].len()], [if mode == "training" { steps } else { 0 }; 2]);
        let mut totals: Vec<f64> =
            (0..steps).map(|at| phases.iter().filter_map(|phase| phase.get(at)).sum()).collect();
        totals.sort_by(f64::total_cmp);
        let median = (totals[(steps - 1) / 2] + totals[steps / 2]) / 2.0;
        close(number(side, "/step_ms/median"), median);
        let rate = number(side, "/images_per_s/median");
        close(rate, 2.0 / (median / 1e3));
        let gflops = number(side, "/gflops");
        close(gflops, rate * number(measurement, "/flops_per_image") / 1e9);
        close(number(side, "/share_of_peak"), gflops / peak);
        assert!(measurement["pytorch"].is_null() && measurement["ratio"].is_null());

        let line: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(line.len(), head.len());
        assert_eq!(line[..4], ["convit_micro", "2", mode, "inductive"]);
        let column = |name: &str| line[head.iter().position(|h| *h == name).unwrap()];
        close(column("images_per_s").parse().unwrap(), rate);
        assert_eq!(column("ratio"), "");
    }
    assert_eq!(lines.next(), None);
    let loader = number(&all, "/loader/images_per_s/median");
    close(
        number(&all, "/loader/beside/times"),
        loader / number(&measurements[1], "/inductive/images_per_s/median"),
    );
}

#[cfg(unix)]
mod peer {
    use super::*;
    use dfdx::prelude::Cpu;
    use inductive_models::{BuildOptions, build};
    use std::os::unix::fs::PermissionsExt;

    /// Measures beside a shell script that stands for Python; `$ready` is the line that a peer begins with.
    fn beside(folder: &Path, parameters: usize, script: &str, more: &[&'static str]) -> Output {
        let path = folder.join("python");
        let ready = format!(r#"{{"parameters": {parameters}, "software": "Fake 1.0"}}"#);
        fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\nready='{ready}'\n{script}\n"))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        bench(
            folder,
            &[&short(&["--peer", "pytorch", "--python", "./python", "--mode", "train"])[..], more].concat(),
        )
    }

    fn parameters() -> usize {
        let options = BuildOptions { classes: 100, ..BuildOptions::default() };
        build(&Cpu::default(), "convit_micro", &options).unwrap().model.num_params()
    }

    #[track_caller]
    fn fails(output: &Output, says: &[&str]) {
        let text = stderr(output);
        assert_eq!(output.status.code(), Some(FAILURE), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        for part in says {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
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
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
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
        let csv = fs::read_to_string(dir.path().join("a.csv")).unwrap();
        assert_eq!(csv.lines().filter(|line| line.contains(",pytorch,")).count(), 1);
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
}
