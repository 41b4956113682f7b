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
/// As a shell reports what an interrupt has ended.
pub const INTERRUPTED: i32 = 130;
/// Nothing that is tested here takes as long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How `cargo xtask` starts the program.
pub const STARTED_AS: &str = "INDUCTIVE_STARTED_AS";

/// The program, as a shell starts it that has found it by its name.
pub fn by_name() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inductive"));
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "inductive");
    command
}

/// The program in a folder, with nothing to read and everything it says kept, in lines that are long enough for every table.
pub fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = by_name();
    command.args(args).current_dir(folder).env("COLUMNS", "120");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn inductive(folder: &Path, args: &[&str]) -> Output {
    in_time(&mut program(folder, args))
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

/// Waits until a file is there; fails if the process ends before.
#[track_caller]
pub fn wait_for(file: &Path, child: &mut Child) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < PATIENCE, "{} never came", file.display());
        assert!(child.try_wait().unwrap().is_none(), "it ended before {} was there", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal by its name.
#[cfg(unix)]
pub fn send(child: &Child, signal: &str) {
    let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed, if it succeeded.
#[track_caller]
pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
pub fn succeeds(folder: &Path, args: &[&str]) -> String {
    succeeded(&inductive(folder, args))
}

/// What it said beside its output, if it ended with this code and said all of it, without a panic.
#[track_caller]
pub fn refused(output: &Output, code: i32, says: &[&str]) -> String {
    let text = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for part in says {
        assert!(text.contains(part), "it does not say `{part}`: {text}");
    }
    text
}

#[track_caller]
pub fn refuses(folder: &Path, args: &[&str], code: i32, says: &[&str]) -> String {
    refused(&inductive(folder, args), code, says)
}

/// The same of `train` with this recipe.
#[track_caller]
pub fn refuses_recipe(folder: &Path, recipe: &str, code: i32, says: &[&str]) -> String {
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
    refuses(folder, &["train", "recipe.toml"], code, says)
}

/// Writes `recipe.toml`: so many updates of `model` on a few images of the synthetic set, with more lines before its table.
pub fn write_recipe(folder: &Path, model: &str, steps: usize, lines: &str) {
    let text = format!(
        "model = {model:?}\nepochs = \"{steps} steps\"\neval_every = \"{steps} steps\"\n{lines}\
         [synthetic]\ntrain = 100\ntest = 40\n"
    );
    std::fs::write(folder.join("recipe.toml"), text).unwrap();
}
