//! The main job, killed in the middle and given again: it goes on and ends with the same numbers.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn reproduce(folder: &Path, threads: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inductive"));
    command
        .args(["reproduce", "convit", "--preset", "smoke", "--seeds", "1", "--threads", threads])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
fn exact_claims_of_eit_hold_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_inductive"))
        .args(["reproduce", "eit", "--table", "exact"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for part in
        ["eit.A1 holds  n = exact", "eit.A2 holds", "eit.A3 holds", "eit.A4 holds", "25305592", "19x19"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report = fs::read_to_string(folder.path().join("runs/eit-exact/report.md")).unwrap();
    assert!(
        report.contains("70.026") && report.contains("    inductive reproduce eit --table exact"),
        "{report}"
    );
}

const STUDY: &str = "runs/convit-smoke-synthetic";

#[test]
fn a_study_that_is_killed_goes_on_and_ends_with_the_same_numbers() {
    let (undisturbed, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = reproduce(undisturbed.path(), "2").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("no claim is judged") && !text.contains("undecided"), "too short to learn: {text}");

    // Kill once the second run has begun.
    let mut child = reproduce(killed.path(), "1").spawn().unwrap();
    let begun = Instant::now();
    while !killed.path().join(STUDY).join("deit-50pct-s0/env.json").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the second run never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.path().join(STUDY).join("report.md").exists());
    assert!(reproduce(killed.path(), "1").output().unwrap().status.success());

    let read = |folder: &Path, file: &str| fs::read(folder.join(STUDY).join(file)).unwrap();
    for cell in ["convit-50pct-s0", "deit-50pct-s0", "convit-100pct-s0", "deit-100pct-s0"] {
        let file = format!("{cell}/last.safetensors");
        let (a, b) = (read(undisturbed.path(), &file), read(killed.path(), &file));
        assert!(a == b, "{cell}: the weights differ");
    }
    let report = String::from_utf8(read(killed.path(), "report.md")).unwrap();
    assert!(report.contains("What differs from the paper"), "{report}");
    let again = reproduce(killed.path(), "1").output().unwrap();
    assert!(again.status.success(), "a finished study prints its report again");
}
