//! `cargo xtask TASK`: starts the project's tasks. Links nothing of the workspace; it builds and runs the command.
//!
//! `reproduce`, `train`, `eval`, `inspect`, `data`, `bench` go to the `inductive` command, built in release mode.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

const TASKS: [&str; 6] = ["reproduce", "train", "eval", "inspect", "data", "bench"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("help" | "--help" | "-h") => {
            println!("{}", usage());
            ExitCode::SUCCESS
        }
        Some(task) if TASKS.contains(&task) => inductive(&args),
        Some(task) => {
            eprintln!("error: no task `{task}`\n\n{}", usage());
            ExitCode::from(2)
        }
        None => {
            eprintln!("{}", usage());
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    format!(
        "usage: cargo xtask TASK [ARGUMENTS]\n\n\
         tasks: {}\n\
         each is a command of `inductive`; `cargo xtask TASK --help` shows its arguments",
        TASKS.join(", ")
    )
}

/// Runs `inductive ARGS` in the folder the user stands in; the first time it is built.
fn inductive(args: &[String]) -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--package", "inductive-cli", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .args(["--bin", "inductive", "--"])
        .args(args);
    replace(command)
}

/// Becomes the command, so that an interrupt reaches it and the shell waits for it.
#[cfg(unix)]
fn replace(mut command: Command) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    eprintln!("error: cannot start cargo: {error}");
    ExitCode::FAILURE
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
