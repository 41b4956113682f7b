//! Runs documented commands with the program that was built for the tests, each in a folder of its own.

use std::{
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use crate::{
    common::{INTERRUPTED, STARTED_AS, program, send},
    table::Entry,
};

/// No command takes longer.
const LONGEST: Duration = Duration::from_secs(300);
/// The package of the program.
pub const PACKAGE: &str = "inductive-cli";

/// Whether the command does what its entry says; else what is wrong.
pub fn check(entry: &Entry, inputs: &Path) -> Result<(), String> {
    let problem = |what: String| format!("`{}` in documented.toml: {what}", entry.line);
    let folder = tempfile::tempdir().unwrap();
    for input in fs::read_dir(inputs).unwrap() {
        let input = input.unwrap();
        symlink(input.path(), folder.path().join(input.file_name())).unwrap();
    }
    for line in &entry.before {
        let output = run(line, folder.path(), End::Itself).map_err(problem)?;
        if !output.status.success() {
            return Err(problem(format!("`{line}`, which comes before it, ends with {}", shown(&output))));
        }
    }
    let line = entry.small().map_err(problem)?;
    let end = match (&entry.until, entry.stop) {
        (Some(text), _) => End::Killed(text),
        (None, true) => End::Interrupted,
        (None, false) => End::Itself,
    };
    let output = run(&line, folder.path(), end).map_err(problem)?;
    let ended = match end {
        End::Itself => output.status.success(),
        End::Interrupted => output.status.code() == Some(INTERRUPTED),
        End::Killed(_) => output.status.signal().is_some(),
    };
    if !ended {
        return Err(problem(format!("`{line}` ends with {}", shown(&output))));
    }
    let text = text(&output);
    if let Some(part) = entry.says.iter().find(|part| !text.contains(part.as_str())) {
        return Err(problem(format!("`{line}` does not say `{part}`:\n{text}")));
    }
    match entry.writes.iter().find(|name| !folder.path().join(name).exists()) {
        Some(name) => Err(problem(format!("`{line}` does not write {name}:\n{text}"))),
        None if entry.says.is_empty() && entry.writes.is_empty() => Err(problem(
            "an entry needs `says`, `writes` or `until`: what tells that the command did its work?"
                .to_owned(),
        )),
        None => Ok(()),
    }
}

/// How a command comes to its end.
#[derive(Clone, Copy)]
enum End<'a> {
    Itself,
    /// By an interrupt, once a run has begun.
    Interrupted,
    /// Once it has said this.
    Killed(&'a str),
}

fn run(line: &str, folder: &Path, end: End<'_>) -> Result<Output, String> {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (started_as, words) = match words[..] {
        ["cargo", "xtask", ref words @ ..] => ("cargo xtask", words),
        ["cargo", "run", ref words @ ..] if words.contains(&PACKAGE) => {
            let after = words.iter().position(|word| *word == "--").map_or(words.len(), |at| at + 1);
            ("", &words[after..])
        }
        [program, ref words @ ..] if program.rsplit('/').next() == Some("inductive") => ("", words),
        _ => {
            return Err(format!(
                "`{line}` is no command of this project: give a reason in `not-run`, or teach run.rs to run it"
            ));
        }
    };
    let [out, errors] = ["out", "errors"].map(|name| tempfile::NamedTempFile::with_prefix(name).unwrap());
    let mut child = program(folder, words)
        .env(STARTED_AS, started_as)
        .stdout(out.reopen().unwrap())
        .stderr(errors.reopen().unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let said = |text: &str| {
        [&out, &errors]
            .into_iter()
            .any(|it| String::from_utf8_lossy(&fs::read(it.path()).unwrap()).contains(text))
    };
    let mut sent = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LONGEST {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(format!("`{line}` is not done after {} s: make it smaller", LONGEST.as_secs()));
        }
        // Not SIGINT, which is ignored where the tests run in the background.
        let signal = match end {
            End::Interrupted if has_begun(&folder.join("runs"), 3) => Some("TERM"),
            End::Killed(text) if said(text) => Some("KILL"),
            _ => None,
        };
        if let Some(signal) = signal.filter(|_| !sent) {
            send(&child, signal);
            sent = true;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ok(Output { status, stdout: fs::read(out.path()).unwrap(), stderr: fs::read(errors.path()).unwrap() })
}

/// Whether a run in this folder, or in one so deep in it, has written what it begins with.
fn has_begun(folder: &Path, depth: usize) -> bool {
    folder.join("env.json").exists()
        || depth > 0
            && fs::read_dir(folder)
                .is_ok_and(|it| it.flatten().any(|entry| has_begun(&entry.path(), depth - 1)))
}

/// The words that a shell makes of a line.
fn words(line: &str) -> Vec<String> {
    let output = Command::new("bash").args(["-c", &format!("printf '%s\\0' {line}")]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", text(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn shown(output: &Output) -> String {
    format!("{}:\n{}", output.status, text(output))
}
