//! The main job, killed in the middle and given again: it goes on and ends with the same numbers. Files that ask for too much.

mod common;

use std::{fs, path::Path, process::Command};

use common::{in_time, program, succeeded, succeeds, wait_for};

fn reproduce(folder: &Path, threads: &str) -> Command {
    program(folder, &["reproduce", "convit", "--preset", "smoke", "--seeds", "1", "--threads", threads])
}

#[test]
fn exact_claims_of_eit_hold_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeeds(folder.path(), &["reproduce", "eit", "--table", "exact"]);
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

#[test]
fn a_file_that_would_never_end_is_a_usage_error_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let head =
            "paper = 'mine'\nname = 'x'\nabout = 'x'\ntitle = '{x}'\narm = [{ name = 'a', label = 'a' }]\n";
        let sizes = "preset.smoke.recipe = { epochs = '1 steps', synthetic = { train = 40, test = 20 } }\n";
        fs::write(folder.path().join("own.toml"), format!("{head}{sizes}text.x = {text}")).unwrap();
        in_time(&mut program(folder.path(), &["reproduce", "own.toml", "--preset", "smoke"]))
    };
    for (text, said) in [
        ("'{x}'", "[text] names itself: x -> x"),
        ("'{mean(repeat(1, 1e30)):1}'", "whole number from 0 to 1024"),
        (&format!("'{}{}'", "{".repeat(50_000), "}".repeat(50_000)), "within each other"),
    ] {
        let output = file(text);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("own.toml: ") && error.contains(said), "{said}: {error}");
        assert!(!folder.path().join("runs").exists());
    }
}

const STUDY: &str = "runs/convit-smoke-synthetic";

#[test]
fn a_study_that_is_killed_goes_on_and_ends_with_the_same_numbers() {
    let (undisturbed, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |folder: &Path, threads: &str| succeeded(&in_time(&mut reproduce(folder, threads)));
    let text = run(undisturbed.path(), "2");
    assert!(text.contains("no claim is judged") && !text.contains("undecided"), "too short to learn: {text}");

    // Kill once the second run has begun.
    let mut child = reproduce(killed.path(), "1").spawn().unwrap();
    wait_for(&killed.path().join(STUDY).join("deit-50pct-s0/env.json"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.path().join(STUDY).join("report.md").exists());
    run(killed.path(), "1");

    let read = |folder: &Path, file: &str| fs::read(folder.join(STUDY).join(file)).unwrap();
    for cell in ["convit-50pct-s0", "deit-50pct-s0", "convit-100pct-s0", "deit-100pct-s0"] {
        let file = format!("{cell}/last.safetensors");
        let (a, b) = (read(undisturbed.path(), &file), read(killed.path(), &file));
        assert!(a == b, "{cell}: the weights differ");
    }
    let report = String::from_utf8(read(killed.path(), "report.md")).unwrap();
    assert!(report.contains("What differs from the paper"), "{report}");
    // A finished study prints its report again.
    assert!(run(killed.path(), "1").contains("no claim is judged"));
}
