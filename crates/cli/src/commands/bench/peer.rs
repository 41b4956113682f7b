//! PyTorch beside us: which Python, and what it is started with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    error::Error,
    process::Process,
    protocol::{Missing, Ready, Task},
};

/// Builds and measures the same model in timm.
const SCRIPT: &str = include_str!("pytorch.py");
const ADVICE: &str = "\nwithout --peer, inductive is measured alone";

/// The Python that was asked for, else the first of `python3` and `python` that runs.
pub fn find_python(asked: Option<PathBuf>) -> Result<PathBuf, Error> {
    let candidates = asked.map_or_else(|| vec!["python3".into(), "python".into()], |path| vec![path]);
    let mut tried = Vec::new();
    for python in candidates {
        match try_run(&python) {
            Ok(()) => return Ok(python),
            Err(reason) => tried.push(format!("`{}` does not run ({reason})", python.display())),
        }
    }
    Err(Error::NoPython { tried: tried.join(", ") })
}

fn try_run(python: &Path) -> Result<(), String> {
    let mut command = Command::new(python);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The peer of `task`, its model built.
pub fn start(python: &Path, task: &Task, description: &str) -> Result<(Process, Ready), Error> {
    let who = format!("PyTorch ({}, {})", python.display(), task.title());
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, description]);
    let mut process = Process::start(who, ADVICE, &mut command)?;
    let line = process.line()?;
    if let Ok(Missing { missing, reason }) = serde_json::from_str(&line) {
        return Err(Error::MissingModule { python: python.to_owned(), module: missing, reason });
    }
    let ready = process.parse(&line)?;
    Ok((process, ready))
}
