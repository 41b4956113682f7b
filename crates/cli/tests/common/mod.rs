//! Starting the program as a user does, and what must come of it.

// Every test is a program of its own and needs a part of this.
#![allow(dead_code)]

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub const USAGE: i32 = 2;
pub const FAILURE: i32 = 1;
/// Nothing that is tested here takes as long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn inductive(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inductive"));
    in_time(command.args(args).current_dir(folder))
}

/// Waits for the end; fails if it does not come.
#[track_caller]
pub fn end(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it did not end: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

#[track_caller]
pub fn in_time(command: &mut Command) -> Output {
    end(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[track_caller]
pub fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = inductive(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn refuses(folder: &Path, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = inductive(folder, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{args:?} does not say `{part}`: {text}");
    }
    text
}
