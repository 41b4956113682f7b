//! What README.md and the other documents tell a user to type works: every command line in them is run here at a small size, as
//! `documented.toml` says, every recipe is read, every piece of Rust is compiled and every diff adds what stands in the file.
//!
//! A command line is an indented or fenced line of a document that begins with `cargo`, `inductive` or `python3`; ` # ..` or three
//! spaces end it. A new one needs an entry in `documented.toml`, whose head explains what an entry can say; the test prints what to
//! add.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod documents;
mod inputs;
mod run;
mod snippets;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use documents::Documents;
use inductive_papers::experiments::{Request, Study};
use table::{Entry, NotRun};

/// Commands that are run at the same time.
const WORKERS: usize = 2;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "\n\n{}\n", problems.join("\n\n"));
}

#[test]
fn every_documented_command_has_an_entry_and_every_entry_is_documented() {
    let documents = Documents::read(&workspace());
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for command in &documents.commands {
        documented.entry(&command.line).or_insert(&command.place);
    }
    assert!(!documented.is_empty(), "no document has a command");
    let entries = table::read();
    let mut known = BTreeSet::new();
    let mut problems: Vec<String> = entries
        .iter()
        .filter(|it| !known.insert(it.line.as_str()))
        .map(|it| format!("{}: twice", it.line))
        .collect();
    for (line, place) in &documented {
        if !known.contains(line) {
            problems.push(format!(
                "{place} has a command without an entry in crates/cli/tests/documented/documented.toml. Add, beside what makes it \
                 small enough for a test:\n\n[[command]]\nline = {line:?}\nsays = [\"what its output must contain\"]"
            ));
        }
    }
    for line in known.iter().filter(|line| !documented.contains_key(*line)) {
        problems
            .push(format!("no document has this command any more, take it out of documented.toml: {line}"));
    }
    fail_with(&problems);
}

#[test]
fn what_is_not_run_has_a_reason_that_holds() {
    let packages = documents::packages(&workspace());
    let problems: Vec<String> = table::read()
        .iter()
        .filter_map(|entry| Some((entry, entry.not_run?)))
        .filter_map(|(entry, reason)| {
            Some(format!("{}: {}", entry.line, not_holding(entry, reason, &packages)?))
        })
        .collect();
    fail_with(&problems);
}

/// Why an entry must be run, or what is wrong with what it names; `None` if nothing is.
fn not_holding(entry: &Entry, reason: NotRun, packages: &BTreeMap<String, PathBuf>) -> Option<String> {
    let words: Vec<&str> = entry.line.split_whitespace().collect();
    let cargo = |commands: &[&str]| {
        let at = words.iter().position(|word| *word == "cargo");
        at.and_then(|at| words.get(at + 1)).is_some_and(|word| commands.contains(word))
    };
    let holds = match reason {
        NotRun::IsTheTests => cargo(&["test"]) || words.starts_with(&["cargo", "xtask", "cuda-test"]),
        NotRun::IsABenchmark => cargo(&["bench"]),
        NotRun::BuildsDocuments => cargo(&["doc"]),
        NotRun::IsABuild => {
            cargo(&["build", "check", "clippy", "fmt", "install"])
                || cargo(&["run"]) && !words.contains(&run::PACKAGE)
                || ["cuda-build", "gpu-pack"].iter().any(|word| words.starts_with(&["cargo", "xtask", word]))
        }
        NotRun::NeedsAGpu => words.windows(2).any(|pair| pair == ["--device", "cuda"]),
        NotRun::NeedsPython => words[0].starts_with("python"),
    };
    if !holds || !entry.says.is_empty() {
        return Some(format!("{reason:?} is no reason not to run it"));
    }
    let after = |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1));
    let package = after("-p").or_else(|| after("--package"));
    let folder = match package {
        None => return None,
        Some(name) => match packages.get(*name) {
            None => return Some(format!("there is no package {name}")),
            Some(folder) => folder,
        },
    };
    let test = after("--test")?;
    let file = [
        folder.join(format!("tests/{test}.rs")),
        folder.join(format!("tests/{test}/main.rs")),
        folder.join(format!("{test}.rs")),
    ];
    (!file.iter().any(|it| it.is_file())).then(|| format!("{} has no test {test}", folder.display()))
}

#[test]
fn documented_commands_do_what_is_documented() {
    let inputs = tempfile::tempdir().unwrap();
    inputs::make(inputs.path());
    let entries: Vec<Entry> = table::read().into_iter().filter(|it| it.not_run.is_none()).collect();
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let result = run::check(entry, inputs.path());
                    eprintln!("{:6.1} s  {}", begun.elapsed().as_secs_f64(), entry.line);
                    if let Err(problem) = result {
                        problems.lock().unwrap().push(problem);
                    }
                }
            });
        }
    });
    fail_with(&problems.into_inner().unwrap());
}

#[test]
fn documented_recipes_are_recipes() {
    let documents = Documents::read(&workspace());
    let mut problems = Vec::new();
    for fence in documents.fences.iter().filter(|fence| fence.language == "toml") {
        let problem = match fence.text.contains("[[arm]]") {
            true => read_experiment(&fence.text),
            false => inductive_train::Recipe::from_toml(&fence.text, &fence.place)
                .and_then(|recipe| recipe.validate())
                .map_err(|error| error.to_string()),
        };
        problems.extend(problem.err().map(|error| format!("{}: {error}", fence.place)));
    }
    fail_with(&problems);
}

/// Reads an experiment as a user's request does, which checks all that it names.
fn read_experiment(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("experiment.toml");
    std::fs::write(&path, text).unwrap();
    let request = Request::new(path.to_str().unwrap());
    Study::new(request).map(|study| assert!(!study.cells.is_empty())).map_err(|error| error.to_string())
}

/// What a diff in a document adds is what stands in the file, line by line.
#[test]
fn documented_diffs_are_of_files_as_they_are() {
    let documents = Documents::read(&workspace());
    let mut problems = Vec::new();
    let mut lines = 0;
    for fence in documents.fences.iter().filter(|fence| fence.language == "diff") {
        let mut file = None;
        for line in fence.text.lines() {
            if let Some(name) = line.strip_prefix("+++ ") {
                file = Some((name, std::fs::read_to_string(workspace().join(name)).unwrap_or_default()));
            } else if let Some(added) = line.strip_prefix('+') {
                let (name, text) = file.as_ref().expect("a diff names its file first");
                lines += 1;
                if !text.lines().any(|it| it == added) {
                    problems.push(format!("{}: {name} has no line `{added}`", fence.place));
                }
            }
        }
    }
    assert!(lines > 20, "no diffs were found");
    fail_with(&problems);
}

/// The code map of ARCHITECTURE.md has every crate, and the files to start reading at exist.
#[test]
fn the_code_map_is_of_the_crates_as_they_are() {
    let text = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let map = text.split("\n## ").find(|it| it.starts_with("Code map")).unwrap();
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
        let (name, row) = row.split_once('`').unwrap();
        let start = row.trim_end_matches('|').rsplit('|').next().unwrap();
        (name, start.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
    });
    let rows: BTreeMap<&str, Vec<String>> = rows.collect();
    let packages = documents::packages(&workspace());
    let folders = packages.values().map(|folder| folder.file_name().unwrap().to_str().unwrap());
    // A package of its own, by its path, is no crate of the workspace.
    let crates = rows.keys().copied().filter(|name| !name.contains('/'));
    assert_eq!(crates.collect::<BTreeSet<_>>(), folders.collect::<BTreeSet<_>>());
    for (name, start) in rows {
        for path in start.iter().flat_map(|path| alternatives(path)) {
            let places = [
                format!("crates/{name}/src/{path}"),
                format!("crates/{name}/{path}"),
                format!("{name}/{path}"),
                path,
            ];
            assert!(
                places.iter().any(|it| workspace().join(it).exists()),
                "{name}: there is no {}",
                places[3]
            );
        }
    }
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(front, rest)| Some((front, rest.split_once('}')?))) {
        Some((front, (all, back))) => all.split(',').map(|one| format!("{front}{one}{back}")).collect(),
        None => vec![path.to_owned()],
    }
}

#[test]
fn documented_rust_is_compiled() {
    // However it is broken into lines.
    let spell = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let compiled = spell(include_str!("snippets.rs"));
    let documents = Documents::read(&workspace());
    let problems: Vec<String> = documents
        .fences
        .iter()
        .filter(|fence| fence.language == "rust" && !compiled.contains(&spell(&fence.text)))
        .map(|fence| {
            let place = &fence.place;
            format!("{place}: this Rust is not in crates/cli/tests/documented/snippets.rs, which compiles and runs it:\n{}", fence.text)
        })
        .collect();
    fail_with(&problems);
}
