//! Tells the crate its compiler and the revision of its source, for `env.json`. What is not known is left out.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(version) = output(Command::new(rustc).arg("--version")) {
        println!("cargo:rustc-env=INDUCTIVE_RUSTC={version}");
    }
    // Grows with every commit and checkout. Watched only where it exists: a missing file would mean to run every time.
    let log = "../../.git/logs/HEAD";
    if Path::new(log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    if let Some(revision) = output(Command::new("git").args(describe)) {
        println!("cargo:rustc-env=INDUCTIVE_GIT={revision}");
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
}
