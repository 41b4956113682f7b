//! What is not a run's is not touched, and what comes from outside is not believed: files in the folder, recipes, weights.

use inductive_nn::ModuleExt;
use std::{fs, path::Path};

use crate::common::{run, run_to_end, run_until, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_data::{Loader, LoaderConfig, Pipeline};
use inductive_models::{Model, build};
use inductive_schedule::Duration;
use inductive_train::{Error, Init, Recipe, Silent, TrainOptions, check_logits, evaluate, evaluate_finite};

fn short() -> Recipe {
    Recipe { epochs: Duration::Steps(2), eval_every: Duration::Steps(1), ema: None, ..tiny_recipe() }
}

fn refused(folder: &Path) -> Error {
    run(&short(), folder, &TrainOptions::default(), &mut Silent).unwrap_err()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_no_run_has_written_is_named_and_stays() {
    for name in [
        "recipe.toml",
        "metrics.jsonl",
        "env.json",
        "start.json",
        "last.safetensors",
        "best.safetensors",
        "ema.safetensors",
        "state.safetensors",
    ] {
        // A recipe as a person writes it says the same run, but is theirs.
        let texts = [
            "somebody's own".to_owned(),
            "# by hand\n".to_owned() + &toml::to_string(&short().resolve().unwrap()).unwrap(),
        ];
        for text in texts {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            fs::write(&path, &text).unwrap();
            let error = refused(folder.path());
            assert!(matches!(&error, Error::Foreign { path: named } if *named == path), "{name}: {error}");
            let message = error.to_string();
            assert!(message.contains(name) && message.contains("move it away"), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), [name]);
        }
    }
}

#[test]
fn a_recipe_of_ours_beside_somebodys_files_does_not_make_them_ours() {
    let run_folder = tempfile::tempdir().unwrap();
    run_to_end(&short(), run_folder.path());
    let recipe = run_folder.path().join("recipe.toml");
    let files = ["metrics.jsonl", "env.json", "start.json", "last.safetensors", "best.safetensors"]
        .map(|name| (name, "{}"));
    for (name, text) in files.into_iter().chain([("metrics.jsonl", "\n"), ("env.json", "[1]")]) {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(&recipe, folder.path().join("recipe.toml")).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let error = refused(folder.path());
        assert!(matches!(&error, Error::Foreign { path } if path.ends_with(name)), "{name}: {error}");
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text);
    }
    // A run that was killed before its first state has such files of its own.
    for name in ["metrics.jsonl", "env.json", "start.json", "last.safetensors", "best.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["recipe.toml", name] {
            fs::copy(run_folder.path().join(name), folder.path().join(name)).unwrap();
        }
        run_to_end(&short(), folder.path());
    }
}

#[test]
fn files_of_other_names_do_not_matter_and_a_lock_keeps_its_content() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["notes.md", ".lock", "data.csv"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    run_to_end(&short(), folder.path());
    for name in ["notes.md", ".lock", "data.csv"] {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
}

#[test]
fn a_run_is_known_by_its_recipe_or_by_its_state() {
    let whole = tempfile::tempdir().unwrap();
    let expected = run_to_end(&short(), whole.path());
    for lost in ["recipe.toml", "state.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        run_until(&short(), folder.path(), 1);
        fs::remove_file(folder.path().join(lost)).unwrap();
        assert_eq!(run_to_end(&short(), folder.path()), expected, "without {lost}");
    }
    // Nothing of what it wrote says any more that it was a run's.
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    fs::remove_file(folder.path().join("recipe.toml")).unwrap();
    fs::remove_file(folder.path().join("state.safetensors")).unwrap();
    assert!(matches!(refused(folder.path()), Error::Foreign { .. }));
}

#[cfg(unix)]
#[test]
fn pipes_are_not_waited_for_and_links_of_others_stay() {
    let fifo = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("a.toml");
    fifo(&recipe);
    for error in
        [Recipe::read(&recipe).unwrap_err(), Init::<inductive_init::Strategy>::read(&recipe).unwrap_err()]
    {
        let text = error.to_string();
        assert!(text.contains("a.toml") && text.contains("a pipe"), "{text}");
    }
    for name in [".lock", "recipe.toml", "metrics.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        fifo(&folder.path().join(name));
        let text = refused(folder.path()).to_string();
        assert!(text.contains(name), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("metrics.jsonl")).unwrap();
    assert!(matches!(refused(folder.path()), Error::Foreign { .. }));
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn what_stands_in_a_recipe_neither_steers_the_terminal_nor_forges_a_line() {
    let hostile = r"a\u001b[31m\nerror: b\r\u202e";
    let shown = r"a\u{1b}[31m\nerror: b\r\u{202e}";
    let read = |text: &str| Recipe::from_toml(text, "a\u{1b}\nerror: b.toml");
    let errors = [
        read(&format!("\"{hostile}\" = 1")).unwrap_err(),
        read(&format!("subset = \"{hostile}\"")).unwrap_err(),
        read(&format!("model = \"{hostile}\"")).unwrap().validate().unwrap_err(),
        read(&format!("init = \"{hostile}\"")).unwrap().validate().unwrap_err(),
        read(&format!("data = \"{hostile}\"")).unwrap().load_data().unwrap_err(),
        // As it stands in the file: the excerpt shows the line.
        read("lr = \"\u{202e}\"").unwrap_err(),
        read("lr = 1 # \u{1b}[31m\u{9b}").unwrap_err(),
    ];
    for (index, error) in errors.iter().enumerate() {
        let text = error.to_string();
        assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error")), "{text:?}");
        assert!(text.contains(if index < 5 { shown } else { r"\u{" }), "{index}: {text:?}");
    }
    let other = Recipe { data: "folder:a\u{1b}\nb\u{202e}".to_owned(), ..short() };
    let difference = short().differences(&other).unwrap()[0].to_string();
    assert!(!difference.contains(|c: char| c.is_control() || c == '\u{202e}'), "{difference:?}");
}

/// `convit_micro` with one value of a parameter replaced.
fn spoiled(name: &str, value: f32) -> Box<dyn Model<f32, Cpu>> {
    let options = inductive_models::BuildOptions { classes: 10, ..Default::default() };
    let mut model = build(&Cpu::default(), "convit_micro", &options).unwrap().model;
    model
        .for_each_parameter_mut(&mut |p| {
            let mut values = p.to_vec();
            if p.name() == name {
                values[0] = value;
            }
            p.copy_from(&values)
        })
        .unwrap();
    model
}

#[test]
fn weights_that_are_not_finite_have_no_accuracy() {
    let set = short().load_data().unwrap().test;
    let loader = Loader::new(set.clone(), Pipeline::eval(set.info()), LoaderConfig::eval(8)).unwrap();
    let device = Cpu::default();
    let sound = spoiled("head.bias", 1.0);
    assert_eq!(
        evaluate_finite(&device, &*sound, &loader).unwrap(),
        evaluate(&device, &*sound, &loader).unwrap()
    );
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = evaluate_finite(&device, &*spoiled("blocks.1.mlp.fc1.bias", value), &loader).unwrap_err();
        assert!(
            matches!(&error, Error::WeightsNotFinite { parameter } if parameter == "blocks.1.mlp.fc1.bias"),
            "{error}"
        );
        assert!(error.to_string().contains("`blocks.1.mlp.fc1.bias`"), "{error}");
    }
    // A finite weight whose products are not.
    let error = evaluate_finite(&device, &*spoiled("norm.weight", f32::MAX), &loader).unwrap_err();
    let Error::LogitsNotFinite { bad, images } = error else { panic!("{error}") };
    assert!(bad > 0 && bad <= images && images == set.len(), "{bad} of {images}");
}

#[test]
fn images_whose_logits_are_no_numbers_are_counted() {
    let logits = [0.0, 1.0, f32::NAN, 0.0, f32::INFINITY, f32::NAN];
    check_logits(&logits[..2], 2).unwrap();
    let error = check_logits(&logits, 2).unwrap_err();
    assert!(matches!(error, Error::LogitsNotFinite { bad: 2, images: 3 }), "{error}");
    assert!(error.to_string().contains("2 of 3 images"), "{error}");
}
