//! The commands that the program prints for the user to give next: pasted into a shell in the same folder they do what they are
//! printed for, whatever the paths are called and however the program was started.

#![cfg(unix)]

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use common::{
    INTERRUPTED, STARTED_AS, USAGE, end, in_time, inductive, refused, refuses, send, succeeded, succeeds,
    text, wait_for, write_recipe,
};

/// A name that a shell does not take as it is.
const ODD: &str = "it's a \"$HOME\" run";

/// The program as a user has it, started as `started_as` says.
fn program(folder: &Path, started_as: &str) -> Command {
    let mut command = common::program(folder, &[]);
    command.env(STARTED_AS, started_as);
    command
}

/// What a shell in `folder` makes of a line, with the program in its path and `cargo xtask` in front of it.
fn paste(folder: &Path, line: &str) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_inductive")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let cargo = format!(
        "cargo() {{ [ \"$1\" = xtask ] && shift && {STARTED_AS}='cargo xtask' inductive \"$@\"; }}\n"
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &(cargo + line)]).current_dir(folder).env("PATH", path).env_remove(STARTED_AS);
    in_time(&mut bash)
}

/// The command that is printed after `before`.
#[track_caller]
fn hint<'a>(shown: &'a str, before: &str) -> &'a str {
    shown
        .lines()
        .find_map(|line| line.strip_prefix(before))
        .unwrap_or_else(|| panic!("no `{before}` in {shown}"))
}

/// `top-1 .. %, top-5 .. %, loss ..`
#[track_caller]
fn accuracy(shown: &str) -> String {
    let begin = shown.find("top-1 ").unwrap_or_else(|| panic!("no accuracy in {shown}"));
    shown[begin..].split_whitespace().take(8).collect::<Vec<_>>().join(" ")
}

/// Trains `recipe` in a folder with an odd name and pastes what is printed next.
fn eval_after_train(recipe: &str, started_as: &str) {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::write(d.join("recipe.toml"), recipe).unwrap();
    let train = ["train", "recipe.toml", "--out", ODD];
    let shown = succeeded(&program(d, started_as).args(train).output().unwrap());
    let next = hint(&shown, "next: ");
    let front = if started_as.is_empty() { "inductive" } else { started_as };
    assert!(next.starts_with(&format!("{front} eval ")), "{next}");
    let evaluated = succeeded(&paste(d, next));
    assert_eq!(accuracy(&evaluated), accuracy(&shown), "{next}");
    assert!(evaluated.contains("(37 test images)"), "{evaluated}");
    // The number is the last evaluation's, as it is stored.
    let metrics = fs::read_to_string(d.join(ODD).join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert!(
        evaluated.contains(&format!("top-1 {:.2} %", last["test_top1"].as_f64().unwrap())),
        "{evaluated}"
    );
}

/// A program that no shell finds by its name is named by its path, spaces and all.
#[test]
fn started_by_its_path_it_is_named_so() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::create_dir(d.join("my bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_inductive"), d.join("my bin/other name")).unwrap();
    fs::write(d.join("recipe.toml"), format!("model = \"deit_micro\"\nepochs = 1\n{SYNTHETIC}")).unwrap();
    let train = "'my bin/other name' train recipe.toml --out run";
    let bash = || {
        let mut bash = Command::new("bash");
        bash.current_dir(d).env_remove(STARTED_AS);
        bash
    };
    let shown = succeeded(&in_time(bash().args(["-c", train])));
    let next = hint(&shown, "next: ");
    assert_eq!(next, "'my bin/other name' eval run");
    assert_eq!(accuracy(&succeeded(&in_time(bash().args(["-c", next])))), accuracy(&shown));
}

/// Synthetic images that are not the default ones, in batches that are not.
const SYNTHETIC: &str = "batch_size = 16\nlr = 3e-3\n[synthetic]\ntrain = 160\ntest = 37\nseed = 5\n";

#[test]
fn eval_after_train_measures_the_run_on_its_own_data() {
    let convit = "model = \"convit_micro\"\nlocal_up_to_layer = 0\nepochs = 3\n";
    eval_after_train(&format!("{convit}{SYNTHETIC}"), "");
    eval_after_train(&format!("{convit}{SYNTHETIC}"), "cargo xtask");
}

#[test]
fn eval_after_train_builds_the_model_as_the_recipe_has_it() {
    let simple = "model = \"simple_vit_micro\"\ncontent_share = 0.2\nepochs = 2\nema = { decay = 0.5 }\n";
    eval_after_train(&format!("{simple}{SYNTHETIC}"), "");
    let switching = "model = \"prs_nano\"\nepochs = 2\n";
    eval_after_train(&format!("{switching}{SYNTHETIC}[switch]\ntimes = {{ uniform = \"50%\" }}\n"), "");
    let strong = "model = \"convit_micro\"\nlocality_strength = 3.0\nepochs = 1\nkeep = { last = false }\n";
    eval_after_train(&format!("{strong}{SYNTHETIC}"), "");
}

#[test]
fn a_run_on_another_drawing_of_the_set_is_measured_only_on_data_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::write(d.join("recipe.toml"), format!("model = \"deit_micro\"\nepochs = 1\n{SYNTHETIC}")).unwrap();
    let inductive = |args: &[&str]| program(d, "").args(args).output().unwrap();
    succeeded(&inductive(&["train", "recipe.toml", "--out", "run"]));
    let resolved = fs::read_to_string(d.join("run/recipe.toml")).unwrap();
    let line = "data_revision = 2\n";
    assert!(resolved.contains(line), "{resolved}");
    for other in ["", "data_revision = 1\n"] {
        fs::write(d.join("run/recipe.toml"), resolved.replace(line, other)).unwrap();
        refused(&inductive(&["eval", "run"]), USAGE, &["another drawing of `synthetic`", "--data"]);
        succeeded(&inductive(&["eval", "run", "--data", "synthetic-parity"]));
    }
    let parity = ["train", "run/recipe.toml", "--data", "synthetic-parity", "--out", "other"];
    assert!(succeeded(&inductive(&parity)).contains("finished"));
}

#[test]
fn eval_takes_a_run_or_a_model_and_options_in_place_of_the_recipes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // A folder that is called as another model.
    let recipe = format!("model = \"deit_micro\"\nepochs = 1\n{SYNTHETIC}");
    fs::write(d.join("recipe.toml"), recipe).unwrap();
    let inductive = |args: &[&str]| program(d, "").args(args).output().unwrap();
    let shown = succeeded(&inductive(&["train", "recipe.toml", "--out", "convit_micro"]));
    assert_eq!(accuracy(&succeeded(&paste(d, hint(&shown, "next: ")))), accuracy(&shown));
    let best = ["eval", "./convit_micro", "--weights", "convit_micro/best.safetensors", "--batch-size", "5"];
    assert!(succeeded(&inductive(&best)).contains("deit_micro on synthetic (37 test images)"));
    let by_name = ["eval", "deit_micro", "--weights", "convit_micro/last.safetensors", "--data", "synthetic"];
    assert!(succeeded(&inductive(&by_name)).contains("(2000 test images)"));
    let by_file = succeeded(&inductive(&["eval", "convit_micro/last.safetensors", "--data", "synthetic"]));
    assert_eq!(accuracy(&by_file), accuracy(&succeeded(&inductive(&by_name))));

    let refused = |args: &[&str], code: i32, parts: &[&str]| {
        refused(&inductive(args), code, parts);
    };
    refused(&["eval"], 2, &["RUN|MODEL"]);
    refused(&["eval", "deit_micro"], 2, &["--weights FILE", "the folder of a run"]);
    refused(&["eval", "deit_micro", "--weights", "x.safetensors"], 2, &["--data"]);
    succeeded(&inductive(&["init", "convit_micro", "--strategy", "kaiming", "--out", "other.safetensors"]));
    let other = ["eval", "./convit_micro", "--weights", "other.safetensors"];
    refused(&other, 2, &["other.safetensors is of `convit_micro`", "of `deit_micro`"]);
    let goes_on = "train ./convit_micro/recipe.toml --out ./convit_micro";
    refused(&["train", "./convit_micro"], 2, &[goes_on]);
    let again = inductive(&goes_on.split(' ').collect::<Vec<_>>());
    assert!(text(&again.stderr).contains("holds this run already") && again.status.success(), "{again:?}");
    refused(&["train", "."], 2, &["this is a folder"]);
    refused(&["eval", "deit_mikro"], 2, &["did you mean `deit_micro`?"]);
    refused(&["eval", "runs/none"], 2, &["runs/none", "no such folder"]);
    refused(&["eval", "recipe.toml"], 2, &["recipe.toml", "--weights recipe.toml"]);
    refused(&["eval", "."], 1, &["kept no weights"]);
    refused(&["eval", "convit_micro", "--batch-size", "0"], 2, &["at least 1"]);
    refused(&["eval", "./convit_micro", "--data", "cifar10:nowhere"], 1, &["nowhere", "does not exist"]);
    refused(&["eval", "./convit_micro", "--local-up-to-layer", "2"], 2, &["only ConViT"]);
    fs::remove_file(d.join("recipe.toml")).unwrap();
    refused(&["eval", "."], 2, &["not the folder of a run", "recipe.toml"]);
}

/// Starts the program, interrupts it once `begun` is there, and returns what it printed.
fn interrupted(mut command: Command, begun: &Path) -> String {
    let mut child = command.spawn().unwrap();
    wait_for(begun, &mut child);
    send(&child, "TERM");
    let output = end(child);
    assert_eq!(output.status.code(), Some(INTERRUPTED), "{output:?}");
    text(&output.stdout)
}

#[test]
fn a_stopped_run_goes_on_by_the_command_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // The recipe's own data are of no use: the option's have to come again.
    let recipe = format!(
        "model = \"deit_micro\"\ndata = \"cifar10:nowhere\"\nepochs = 20\neval_every = 20\n{SYNTHETIC}"
    );
    let name = format!("{ODD}.toml");
    fs::write(d.join(&name), recipe).unwrap();
    let mut train = program(d, "cargo xtask");
    train.args(["train", &name, "--data", "synthetic", "--out", ODD, "--threads", "1"]);
    let shown = interrupted(train, &d.join(ODD).join("env.json"));
    assert!(shown.contains("of 200 updates"), "{shown}");
    let line = hint(&shown, "To go on: ");
    assert!(line.starts_with("cargo xtask train ") && line.ends_with(" --threads 1"), "{line}");
    assert!(succeeded(&paste(d, line)).contains("finished: top-1"));
    let starts: serde_json::Value =
        serde_json::from_slice(&fs::read(d.join(ODD).join("env.json")).unwrap()).unwrap();
    assert_eq!(starts.as_array().unwrap().len(), 2, "it went on in the same folder");
}

#[test]
fn a_stopped_study_goes_on_by_the_command_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut study = program(d, "");
    study.args(["reproduce", "convit", "--preset", "smoke", "--seeds", "1", "--runs", ODD]);
    let cells = d.join(ODD).join("convit-smoke-synthetic");
    let shown = interrupted(study, &cells.join("deit-50pct-s0/env.json"));
    let line = hint(&shown, "To go on: ");
    assert!(succeeded(&paste(d, line)).contains("no claim is judged"), "{line}");
    // The report's own command is the same, and prints the same report.
    let report = fs::read_to_string(cells.join("report.md")).unwrap();
    let again = report.lines().find_map(|line| line.strip_prefix("    inductive reproduce ")).unwrap();
    assert_eq!(format!("inductive reproduce {again}"), line);
}

#[test]
fn the_recipe_beside_new_weights_trains_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let init = |classes: &str| {
        let out = format!("{ODD}.safetensors");
        let args = [
            "init",
            "deit_micro",
            "--strategy",
            "mimetic",
            "--no-pictures",
            "--classes",
            classes,
            "--out",
            &out,
        ];
        succeeded(&program(d, "cargo xtask").args(args).output().unwrap())
    };
    let shown = init("10");
    let recipe = d.join(format!("{ODD}.recipe.toml"));
    let text = fs::read_to_string(&recipe).unwrap();
    assert!(text.contains("model = \"deit_micro\"") && text.contains("init = \"mimetic\""), "{text}");
    // As long as a test can wait for.
    fs::write(
        &recipe,
        format!("{text}epochs = \"1 steps\"\nbatch_size = 8\n[synthetic]\ntrain = 20\ntest = 20\n"),
    )
    .unwrap();
    let line = hint(&shown, "next: ");
    assert!(line.starts_with("cargo xtask train "), "{line}");
    let trained = succeeded(&paste(d, line));
    assert!(trained.contains("next: cargo xtask eval runs/train"), "{trained}");
    // Without data of so many classes the command says what it needs.
    let shown = init("100");
    assert!(hint(&shown, "next: ").ends_with(" --data folder:DIR"), "{shown}");
    assert!(shown.contains("with 100 classes"), "{shown}");
}

#[test]
fn weights_that_were_reparameterized_are_measured_by_the_command_that_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let run = |args: &[&str]| succeeded(&program(d, "cargo xtask").args(args).output().unwrap());
    let init = ["init", "prs_nano", "--strategy", "own", "--no-pictures", "--classes"];
    run(&[&init[..], &["10", "--out", "w.safetensors"]].concat());
    let all = ["--layers", "all", "--out", ODD];
    let shown = run(&[&["reparameterize", "w.safetensors"], &all[..]].concat());
    let line = hint(&shown, "next: ");
    assert!(line.starts_with("cargo xtask eval prs_nano --weights "), "{line}");
    assert!(succeeded(&paste(d, line)).contains("prs_nano on synthetic (2000 test images): top-1"));
    run(&[&init[..], &["100", "--out", "w.safetensors"]].concat());
    let shown = run(&[&["reparameterize", "w.safetensors"], &all[..]].concat());
    assert!(hint(&shown, "next: ").ends_with(" --data folder:DIR"), "{shown}");
}

/// Where a file of weights or a model can be named, a run's folder can be.
#[test]
fn a_run_is_inspected_measured_and_told_to_be_finished_by_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write_recipe(d, "deit_micro", 1, "batch_size = 8\n");
    let train = ["train", "recipe.toml", "--out", ODD];
    assert!(!text(&inductive(d, &train).stderr).contains("holds this run already"));
    let again = inductive(d, &train);
    assert!(
        succeeded(&again).contains("finished: top-1")
            && text(&again.stderr).contains("holds this run already")
    );
    let weights = format!("{ODD}/last.safetensors");
    let of_file = succeeds(d, &["inspect", &weights]);
    assert_eq!(succeeds(d, &["inspect", ODD]), format!("{weights}:\n{of_file}"));
    let shown = succeeds(d, &["fourier", ODD, "--images", "2"]);
    assert!(shown.contains("on synthetic (2 test images)"), "{shown}");
    refuses(d, &["fourier", "deit_micro"], USAGE, &["give --data"]);
    fs::create_dir(d.join("empty")).unwrap();
    // It has no layer that can: what matters is that the run's weights say their model.
    refuses(
        d,
        &["reparameterize", ODD, "--layers", "all", "--out", "x"],
        USAGE,
        &["deit_micro: none of its layers"],
    );
    for command in ["inspect", "fourier", "reparameterize"] {
        refuses(d, &[command, "empty"], USAGE, &["not the folder of a run"]);
    }
}

#[test]
fn frequencies_of_a_file_are_compared_by_the_command_that_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let run = |args: &[&str]| succeeded(&program(d, "").args(args).output().unwrap());
    run(&["init", "convit_micro", "--strategy", "own", "--no-pictures", "--out", ODD]);
    let options = ["--data", "synthetic", "--images", "3", "--local-up-to-layer", "0"];
    let shown = run(&[&["fourier", ODD], &options[..4]].concat());
    let line = hint(&shown, "next: ");
    assert_eq!(line, "inductive fourier convit_micro --data synthetic --images 3");
    assert!(
        succeeded(&paste(d, line))
            .contains("convit_micro, new weights (seed 0) on synthetic (3 test images)")
    );
    let shown = run(&[&["fourier", "convit_micro"], &options[..]].concat());
    let last = "inductive fourier RUN --data synthetic --images 3 --local-up-to-layer 0";
    assert!(shown.lines().any(|line| line.trim() == last), "{shown}");
}

#[test]
fn help_and_errors_say_what_was_typed() {
    let dir = tempfile::tempdir().unwrap();
    for (started_as, name) in [("", "inductive"), ("cargo xtask", "cargo xtask")] {
        let output = |args: &[&str]| program(dir.path(), started_as).args(args).output().unwrap();
        let help = succeeded(&output(&["--help"]));
        assert!(help.contains(&format!("Usage: {name} [OPTIONS] <COMMAND>")), "{help}");
        assert!(help.contains(&format!("\n  {name} reproduce convit  ")), "{help}");
        assert!(
            succeeded(&output(&["train", "--help"]))
                .contains(&format!("Usage: {name} train [OPTIONS] <RECIPE>"))
        );
        assert!(succeeded(&output(&["--version"])).starts_with("inductive "));
        for (args, part) in [
            (&[][..], "Usage: "),
            (&["no-such-command"], "unrecognized subcommand 'no-such-command'"),
            (&["train"], "<RECIPE>"),
            (&["reproduce"], "reproduce convit"),
            (&["inspect", "no_such_model_at_all"], "inspect` lists all"),
        ] {
            refused(&output(args), USAGE, &[part, name]);
        }
    }
}
