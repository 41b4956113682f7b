//! `inductive bench`: what it refuses, what it writes, and how it deals with a peer. No PyTorch is needed: a fake Python
//! keeps to the protocol, or does not.

#[path = "../common/mod.rs"]
mod common;

use std::{fs, path::Path, process::Output};

use common::{FAILURE, USAGE, inductive, refused, text};
use serde_json::Value;

fn bench(folder: &Path, args: &[&str]) -> Output {
    inductive(folder, &[&["bench"], args].concat())
}

fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

#[track_caller]
fn refuses(folder: &Path, args: &[&str], code: i32, says: &[&str]) {
    refused(&bench(folder, args), code, says);
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
    let here = d.join("a");
    for csv in ["a", "./a", here.to_str().unwrap()] {
        refuses(d, &["--json", "a", "--csv", csv], USAGE, &["same file"]);
    }
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
    let output = inductive(Path::new("."), &["bench-worker", "{}"]);
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
    assert_eq!((&all["machine"]["threads"], &all["complete"]), (&1.into(), &true.into()));
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
mod peer;
