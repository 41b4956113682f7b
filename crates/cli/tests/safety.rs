//! What the program must not do to others: take a signal that is not meant for it, replace what is no file of its own, wait for
//! ever, let names steer the terminal, or call it an accuracy when there is none.
#![cfg(unix)]

mod common;

use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use common::{
    FAILURE, INTERRUPTED, USAGE, end, inductive, refuses, send, succeeds, text, wait_for, write_recipe,
};
use inductive_checkpoint::{TensorFile, TensorWriter};

fn fifo(path: impl AsRef<Path>) {
    assert!(Command::new("mkfifo").arg(path.as_ref()).status().unwrap().success());
}

fn recipe(folder: &Path, steps: usize) {
    write_recipe(folder, "deit_micro", steps, "batch_size = 8\n");
}

const INIT: [&str; 6] = ["init", "deit_micro", "--strategy", "own", "--classes", "10"];

fn weights(folder: &Path, name: &str) {
    succeeds(folder, &[&INIT[..], &["--no-pictures", "--out", name]].concat());
}

/// `name` with one value of a parameter replaced, under another name.
fn spoil(folder: &Path, name: &str, parameter: &str, value: f32, to: &str) {
    let file = TensorFile::open(folder.join(name)).unwrap();
    let mut writer = TensorWriter::new();
    for (key, value) in file.metadata() {
        writer.add_metadata(key, value);
    }
    for entry in file.entries() {
        let mut values = file.values::<f32>(entry.name).unwrap();
        if entry.name == parameter {
            values[0] = value;
        }
        writer.add(entry.name, entry.shape, &values).unwrap();
    }
    writer.write(folder.join(to)).unwrap();
}

// ----- signals -----

fn shell(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).args(args);
    command
}

/// Whether the tests were started with a signal ignored, as by `cargo test &` in a script: what they start inherits it.
fn is_ignored_here(signal: &str) -> bool {
    let output = shell("kill -s \"$0\" $$; echo alive", &[signal]).output().unwrap();
    output.stdout.starts_with(b"alive")
}

/// A run that a signal has reached, started by a shell's script in its place.
fn train_and_send(folder: &Path, script: &str, signal: &str) -> Output {
    recipe(folder, STEPS);
    let mut command = shell(script, &[env!("CARGO_BIN_EXE_inductive")]);
    command.current_dir(folder);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&folder.join("run/env.json"), &mut child);
    send(&child, signal);
    end(child)
}

/// A signal that is sent when a run begins meets it long before its end.
const STEPS: usize = 80;

const TRAIN: &str = "exec \"$0\" train recipe.toml --out run";

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    for (shell, signal) in [
        (format!("trap '' HUP; {TRAIN}"), "HUP"),
        (format!("trap '' INT; {TRAIN}"), "INT"),
        (format!("trap '' TERM; {TRAIN}"), "TERM"),
        (format!("exec nohup {}", &TRAIN[5..]), "HUP"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = train_and_send(dir.path(), &shell, signal);
        let text = text(&output.stdout);
        assert!(output.status.success() && text.contains("finished:"), "{shell}: {output:?}");
    }
}

#[test]
fn a_signal_that_nobody_ignores_stops_the_run_with_everything_saved() {
    for (shell, signal) in [
        (TRAIN.to_owned(), "HUP"),
        (TRAIN.to_owned(), "INT"),
        (TRAIN.to_owned(), "TERM"),
        (format!("trap '' HUP; {TRAIN}"), "TERM"),
    ] {
        if is_ignored_here(signal) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let output = train_and_send(dir.path(), &shell, signal);
        let text = text(&output.stdout);
        assert_eq!(output.status.code(), Some(INTERRUPTED), "{shell} {signal}: {output:?}");
        assert!(text.contains(&format!("of {STEPS} updates")), "{text}");
        let state = TensorFile::open(dir.path().join("run/state.safetensors")).unwrap();
        assert!(state.entries().any(|entry| entry.name.starts_with("exp_avg/")));
    }
}

// ----- what is written -----

#[test]
fn results_go_through_links_and_replace_no_pipe_or_device() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::create_dir(d.join("other")).unwrap();
    symlink("other/weights.safetensors", d.join("link.safetensors")).unwrap();
    for _ in 0..2 {
        weights(d, "link.safetensors");
        assert!(fs::symlink_metadata(d.join("link.safetensors")).unwrap().is_symlink());
        TensorFile::open(d.join("other/weights.safetensors")).unwrap();
    }
    fifo(d.join("pipe"));
    fifo(d.join("pipe.svg"));
    symlink("pipe", d.join("link")).unwrap();
    let to_init = |out| [&INIT[..], &["--no-pictures", "--out", out]].concat();
    let to_fourier = |out| ["fourier", "deit_micro", "--data", "synthetic", "--images", "1", "--out", out];
    let bench = |option, out| {
        ["bench", "convit_micro", "--batch", "1", "--rounds", "1", "--seconds", "0.01", option, out]
    };
    for out in ["pipe", "link"] {
        refuses(d, &to_init(out), FAILURE, &[out, "got a pipe"]);
        refuses(d, &bench("--json", out), FAILURE, &[out, "got a pipe"]);
        refuses(d, &bench("--csv", out), FAILURE, &[out, "got a pipe"]);
    }
    refuses(d, &to_fourier("pipe.svg"), FAILURE, &["pipe.svg", "got a pipe"]);
    refuses(d, &to_init("/dev/null"), FAILURE, &["/dev/null", "got a device"]);
    refuses(d, &bench("--json", "/dev/null"), FAILURE, &["/dev/null", "got a device"]);
    refuses(d, &to_init("other"), FAILURE, &["other", "got a folder"]);
    for pipe in ["pipe", "pipe.svg"] {
        assert!(fs::symlink_metadata(d.join(pipe)).unwrap().file_type().is_fifo(), "{pipe}");
    }
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    // Through a link they are one file.
    symlink("a.json", d.join("b.json")).unwrap();
    let both = [&bench("--json", "a.json")[..], &["--csv", "b.json"]].concat();
    refuses(d, &both, USAGE, &["the same file"]);
}

#[test]
fn reparameterized_weights_replace_no_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let init = ["init", "resnet_micro", "--strategy", "own", "--classes", "10", "--no-pictures", "--out"];
    succeeds(d, &[&init[..], &["w.safetensors"]].concat());
    fifo(d.join("pipe"));
    let args = ["reparameterize", "w.safetensors", "--layers", "all", "--out"];
    refuses(d, &[&args[..], &["pipe"]].concat(), FAILURE, &["pipe", "got a pipe"]);
    assert!(fs::symlink_metadata(d.join("pipe")).unwrap().file_type().is_fifo());
    spoil(d, "w.safetensors", "fc.bias", f32::NAN, "nan.safetensors");
    let args = ["reparameterize", "nan.safetensors", "--layers", "all", "--out", "out.safetensors"];
    refuses(d, &args, FAILURE, &["nan.safetensors: ", "no numbers", "`fc.bias`"]);
    assert!(!d.join("out.safetensors").exists());
}

#[test]
fn files_that_others_have_written_are_named_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    recipe(d, 1);
    let theirs = |name: &str| {
        let path = d.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "somebody's own").unwrap();
    };
    theirs("run/metrics.jsonl");
    theirs("runs/eit-exact/report.md");
    theirs("runs/convit-smoke-synthetic/tables.json");
    theirs("model.attention.png");
    theirs("figures/fourier.stream.svg");
    theirs("plot.branch.svg");
    let away = "move it away";
    refuses(d, &["train", "recipe.toml", "--out", "run"], FAILURE, &["run/metrics.jsonl", away]);
    // A recipe in the folder that a person has written.
    refuses(d, &["train", "recipe.toml", "--out", "."], FAILURE, &["recipe.toml", away]);
    refuses(d, &["reproduce", "eit", "--table", "exact"], FAILURE, &["eit-exact/report.md", away]);
    let smoke = ["reproduce", "convit", "--preset", "smoke", "--seeds", "1"];
    refuses(d, &smoke, FAILURE, &["convit-smoke-synthetic/tables.json", away]);
    let init = [&INIT[..], &["--out", "model.safetensors"]].concat();
    refuses(d, &init, FAILURE, &["model.attention.png", "--no-pictures"]);
    let fourier = |out| ["fourier", "deit_micro", "--data", "synthetic", "--images", "1", "--out", out];
    refuses(d, &fourier("figures"), FAILURE, &["figures/fourier.stream.svg", away]);
    refuses(d, &fourier("plot.svg"), FAILURE, &["plot.branch.svg", away]);
    for name in [
        "run/metrics.jsonl",
        "runs/eit-exact/report.md",
        "runs/convit-smoke-synthetic/tables.json",
        "model.attention.png",
        "figures/fourier.stream.svg",
        "plot.branch.svg",
    ] {
        assert_eq!(fs::read_to_string(d.join(name)).unwrap(), "somebody's own", "{name}");
        assert_eq!(
            fs::read_dir(d.join(name).parent().unwrap()).unwrap().count(),
            if name.contains('/') { 1 } else { 6 }
        );
    }
    // Our own are replaced, and so is what the command names.
    fs::remove_file(d.join("model.attention.png")).unwrap();
    theirs("model.safetensors");
    theirs("figure.svg");
    for _ in 0..2 {
        assert!(succeeds(d, &init).contains("in place of an earlier file"));
        succeeds(d, &fourier("figure.svg"));
        succeeds(d, &fourier("drawn"));
        succeeds(d, &["reproduce", "eit", "--table", "exact", "--runs", "others"]);
    }
    TensorFile::open(d.join("model.safetensors")).unwrap();
}

// ----- what is read -----

#[test]
fn pipes_and_devices_are_refused_at_once_wherever_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for pipe in ["pipe", "pipe.toml", "pipe.safetensors"] {
        fifo(d.join(pipe));
    }
    fs::create_dir_all(d.join("cifar")).unwrap();
    fifo(d.join("cifar/train.bin"));
    fs::write(d.join("cifar/test.bin"), vec![0; 3074]).unwrap();
    for split in ["train", "val"] {
        fs::create_dir_all(d.join("images").join(split).join("a")).unwrap();
        fifo(d.join("images").join(split).join("a/1.png"));
    }
    let pipe = "got a pipe";
    refuses(d, &["train", "pipe.toml"], FAILURE, &["pipe.toml", pipe]);
    refuses(d, &["train", "/dev/zero"], FAILURE, &["/dev/zero", "got a device"]);
    for data in ["cifar10:pipe", "cifar100:pipe", "cifar100:cifar", "folder:images"] {
        refuses(d, &["data", data], FAILURE, &[pipe]);
    }
    refuses(d, &["data", "cifar10:/dev/zero"], FAILURE, &["/dev/zero", "got a device"]);
    for weights in ["pipe", "pipe.safetensors"] {
        let eval = ["eval", "deit_micro", "--data", "synthetic", "--weights", weights];
        refuses(d, &eval, FAILURE, &[weights, pipe]);
        refuses(d, &["inspect", weights], FAILURE, &[weights, pipe]);
        refuses(d, &["fourier", weights, "--data", "synthetic"], FAILURE, &[weights, pipe]);
        refuses(d, &["reparameterize", weights], FAILURE, &[weights, pipe]);
    }
    refuses(d, &["inspect", "/dev/zero"], FAILURE, &["/dev/zero", "got a device"]);
    for strategy in ["pipe", "pipe.toml"] {
        let init = ["init", "deit_micro", "--strategy", strategy, "--out", "w.safetensors"];
        refuses(d, &init, FAILURE, &[strategy, pipe]);
    }
}

// ----- what is printed -----

/// Steers a terminal, forges a line, turns writing around.
const NAME: &str = "a\u{1b}[31m\nerror: forged\r\u{202e}";
const SHOWN: &str = r"a\u{1b}[31m\nerror: forged\r\u{202e}";

/// That a text of the program has the name, and nothing of what it could do.
#[track_caller]
fn harmless(text: &str) {
    assert!(text.contains(SHOWN), "{text:?}");
    assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    assert!(!text.contains("\nerror: forged"), "{text:?}");
}

#[test]
fn names_and_values_from_outside_reach_the_terminal_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // Words that are refused before any command sees them.
    for args in [&["train", "a.toml", NAME][..], &[NAME], &["reproduce", "convit", "--preset", NAME]] {
        let output = inductive(d, args);
        assert_eq!(output.status.code(), Some(USAGE));
        harmless(&String::from_utf8(output.stderr).unwrap());
    }
    let file = format!("{NAME}.safetensors");
    // In a recipe: a key, a value, a comment of the line that is shown, and the recipe's own name.
    let escaped = r"a\u001b[31m\nerror: forged\r\u202e";
    for text in [
        format!("\"{escaped}\" = 1"),
        format!("model = \"{escaped}\""),
        format!("data = \"{escaped}\""),
        format!("subset = \"{escaped}\""),
        format!("init = \"{escaped}\""),
    ] {
        fs::write(d.join("recipe.toml"), text).unwrap();
        harmless(&refuses(d, &["train", "recipe.toml"], USAGE, &["error: "]));
    }
    fs::write(d.join("recipe.toml"), "modell = 1").unwrap();
    fs::rename(d.join("recipe.toml"), d.join(NAME)).unwrap();
    harmless(&refuses(d, &["train", NAME], USAGE, &["modell"]));

    // In a checkpoint: a tensor, the metadata, the file's name.
    let mut writer = TensorWriter::new();
    writer.add(NAME, &[1], &[1.0_f32]).unwrap().add_metadata("model", NAME);
    writer.write(d.join(&file)).unwrap();
    harmless(&succeeds(d, &["inspect", &file]));
    let eval = ["eval", "deit_micro", "--data", "synthetic", "--weights", &file];
    harmless(&refuses(d, &eval, FAILURE, &["unused"]));
    harmless(&refuses(d, &["fourier", &file, "--data", "synthetic"], USAGE, &["no model"]));
    harmless(&refuses(d, &["reparameterize", &file], USAGE, &["no model"]));

    // In a folder of images: a class, an image; and where results are.
    for path in ["train/b", "val/b"] {
        fs::create_dir_all(d.join("images").join(path)).unwrap();
    }
    fs::create_dir(d.join("images/train").join(NAME)).unwrap();
    harmless(&refuses(d, &["data", "folder:images"], FAILURE, &["has a folder"]));
    fs::remove_dir(d.join("images/train").join(NAME)).unwrap();
    fs::write(d.join("images/train/b").join(format!("{NAME}.png")), "no image").unwrap();
    fs::write(d.join("images/val/b/1.png"), "no image").unwrap();
    harmless(&refuses(d, &["data", "folder:images"], FAILURE, &["decode"]));
}

#[test]
fn results_under_such_a_name_are_told_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    recipe(d, 1);
    harmless(&succeeds(d, &["train", "recipe.toml", "--out", NAME]));
    harmless(&succeeds(d, &["fourier", "deit_micro", "--data", "synthetic", "--images", "1", "--out", NAME]));
    harmless(&succeeds(d, &[&INIT[..], &["--out", &format!("{NAME}/w.safetensors")]].concat()));
    let file = format!("{NAME}/last.safetensors");
    let args = ["fourier", &file, "--data", "synthetic", "--images", "1", "--out", "figures"];
    harmless(&succeeds(d, &args));
    let figure = fs::read_to_string(d.join("figures/fourier.svg")).unwrap();
    assert!(figure.contains(r"\u{1b}[31m") && figure.contains(r"\u{202e}"), "{figure}");
    assert!(!figure.contains(['\u{1b}', '\r', '\u{202e}']), "{figure}");
}

// ----- what is no number -----

#[test]
fn weights_and_logits_that_are_no_numbers_end_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    weights(d, "w.safetensors");
    spoil(d, "w.safetensors", "blocks.1.mlp.fc1.bias", f32::NAN, "nan.safetensors");
    spoil(d, "w.safetensors", "blocks.0.attn.qkv.weight", f32::INFINITY, "inf.safetensors");
    spoil(d, "w.safetensors", "norm.weight", f32::MAX, "large.safetensors");
    let eval = |file| ["eval", "deit_micro", "--data", "synthetic", "--weights", file];
    let fourier = |file| ["fourier", file, "--data", "synthetic", "--images", "2", "--out", "figures"];
    for (file, parameter) in
        [("nan.safetensors", "`blocks.1.mlp.fc1.bias`"), ("inf.safetensors", "`blocks.0.attn.qkv.weight`")]
    {
        for args in [&eval(file)[..], &fourier(file)] {
            let output = inductive(d, args);
            assert!(!String::from_utf8_lossy(&output.stdout).contains("top-1"), "{output:?}");
            refuses(d, args, FAILURE, &[&format!("{file}: "), "no numbers", parameter]);
        }
    }
    let file = "large.safetensors";
    refuses(d, &eval(file), FAILURE, &[&format!("{file}: "), "of 2000 images", "no numbers"]);
    refuses(d, &fourier(file), FAILURE, &[file, "no numbers"]);
    assert!(!d.join("figures").exists());
    assert!(succeeds(d, &eval("w.safetensors")).contains("top-1"));
}
