//! Wrong requests as a user would make them: each ends with the right exit code and says what to do.

mod common;

use std::{fs, path::Path};

use common::{FAILURE, USAGE, refuses, refuses_recipe, succeeds, write_recipe};

/// A `.tar.gz` with empty files of these names.
fn archive(path: &Path, names: &[&str]) {
    let file = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(file);
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_cksum();
        tar.append_data(&mut header, name, &b"abc"[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn unknown_papers_tables_presets_and_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    refuses(d, &["reproduce"], USAGE, &["reproduce convit"]);
    refuses(d, &["reproduce", "convit3"], USAGE, &["no experiment for `convit3`", "convit"]);
    refuses(d, &["reproduce", "convit", "--table", "table9"], USAGE, &["table9", "table2"]);
    refuses(d, &["reproduce", "eit", "--table", "table2"], USAGE, &["table2", "claims, exact"]);
    refuses(d, &["reproduce", "convit", "--preset", "huge"], USAGE, &["smoke, quick or small"]);
    refuses(d, &["reproduce", "convit", "--preset", "somke"], USAGE, &["; did you mean `smoke`?"]);
    refuses(d, &["reproduce", "convitt"], USAGE, &["; did you mean `convit`?"]);
    refuses(d, &["reproduce", "convit", "--table", "tabel2"], USAGE, &["; did you mean `table2`?"]);
    refuses(d, &["reproduce", "convit", "--preset", "paper"], USAGE, &["not built"]);
    refuses(d, &["reproduce", "convit", "--seeds", "0"], USAGE, &["at least 1"]);
    refuses(d, &["reproduce", "convit", "--resume"], USAGE, &["nothing to go on with"]);
    refuses(d, &["reproduce", "nowhere.toml"], USAGE, &["nowhere.toml", "cannot be read"]);
    refuses(d, &["--device", "tpu", "inspect"], USAGE, &["choose cpu, cuda"]);
    assert!(fs::read_dir(d).unwrap().next().is_none(), "nothing was written");
}

#[test]
fn experiments_that_cannot_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let reproduce = |text: &str, says: &[&str]| {
        fs::write(d.join("mine.toml"), text).unwrap();
        refuses(d, &["reproduce", "mine.toml", "--preset", "smoke"], USAGE, says);
    };
    let good = include_str!("../../papers/tests/own-experiment.toml");
    reproduce("paper = 3", &["mine.toml: line 1", "expected a string"]);
    reproduce(&good.replace("title =", "titel ="), &["mine.toml: line ", "unknown field `titel`", "`title`"]);
    reproduce(
        &good.replace("local_up_to_layer", "gates"),
        &["arm `plain`", "unknown field `gates`", "local_up_to_layer"],
    );
    reproduce(
        &good.replace("gates(arm)", "gate(arm)"),
        &["table `accuracy`", "column `gates`", "no measure", "gates"],
    );
    reproduce(
        &format!("base = \"mine.toml\"\n{good}"),
        &["mine.toml: line ", "unknown field", "`statement`"],
    );
    fs::write(d.join("mine.toml"), good).unwrap();
    refuses(d, &["reproduce", "mine.toml", "--table", "gates"], USAGE, &["leave --table out"]);
    refuses(d, &["reproduce", "mine.toml", "--preset", "small"], USAGE, &["mine.toml", "[preset.small]"]);
    assert_eq!(fs::read_dir(d).unwrap().count(), 1, "nothing was written");
}

#[test]
fn data_that_are_not_there_or_not_what_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let reproduce = |data: &str, code: i32, says: &[&str]| {
        refuses(d, &["reproduce", "convit", "--preset", "smoke", "--data", data], code, says);
    };
    reproduce("cifar100:nowhere", FAILURE, &["nowhere", "does not exist"]);
    reproduce("cifar100", USAGE, &["cifar100:PATH"]);
    reproduce("mnist:x", USAGE, &["mnist", "cifar10:PATH"]);
    reproduce("cifar1000:x", USAGE, &["; did you mean `cifar100`?"]);
    archive(
        &d.join("python.tar.gz"),
        &["cifar-100-python/meta", "cifar-100-python/test", "cifar-100-python/train"],
    );
    reproduce("cifar100:python.tar.gz", FAILURE, &["python", "binary"]);
    archive(
        &d.join("ten.tar.gz"),
        &["cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin"],
    );
    reproduce("cifar100:ten.tar.gz", FAILURE, &["CIFAR-10", "cifar10:"]);
    let whole = fs::read(d.join("ten.tar.gz")).unwrap();
    fs::write(d.join("cut.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    reproduce("cifar100:cut.tar.gz", FAILURE, &["cut.tar.gz", "download it again"]);
    fs::create_dir(d.join("cut")).unwrap();
    fs::write(d.join("cut/train.bin"), vec![0; 3074 + 100]).unwrap();
    fs::write(d.join("cut/test.bin"), vec![0; 3074]).unwrap();
    reproduce("cifar100:cut", FAILURE, &["train.bin", "3074"]);
}

#[test]
fn recipes_that_cannot_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let train = |recipe: &str, code: i32, says: &[&str]| drop(refuses_recipe(d, recipe, code, says));
    refuses(d, &["train", "missing.toml"], FAILURE, &["missing.toml"]);
    refuses(d, &["train", "deit_micro"], USAGE, &["`inductive recipe deit_micro > deit_micro.toml`"]);
    train("modell = \"convit_micro\"", USAGE, &["modell", "recipe.toml", "; did you mean `model`?"]);
    train("lr = -1.0", USAGE, &["`lr`"]);
    refuses(d, &["train", "recipe.toml", "--out", "recipe.toml"], USAGE, &["recipe.toml: this is a file"]);
    train("batch_size = 0", USAGE, &["`batch_size`"]);
    train("model = \"convit_mikro\"", USAGE, &["did you mean `convit_micro`?"]);
    train("local_up_to_layer = 4", USAGE, &["class token", "at most 3"]);
    train("model = \"convit_tiny\"", FAILURE, &["224", "32"]);
    assert!(!d.join("runs").exists(), "nothing was written");
}

#[test]
fn weights_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let eval = |weights: &str, says: &[&str]| {
        refuses(d, &["eval", "convit_micro", "--weights", weights, "--data", "synthetic"], FAILURE, says);
    };
    eval("missing.safetensors", &["missing.safetensors"]);
    fs::write(d.join("empty.safetensors"), b"").unwrap();
    eval("empty.safetensors", &["empty.safetensors"]);
    fs::write(d.join("hostile.safetensors"), [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    eval("hostile.safetensors", &["hostile.safetensors"]);
    fs::write(d.join("model.pth"), b"PK\x03\x04 and so on").unwrap();
    eval("model.pth", &["save_file"]);
    write_recipe(d, "deit_micro", 1, "batch_size = 8\n");
    succeeds(d, &["train", "recipe.toml", "--out", "run"]);
    eval("run/last.safetensors", &["missing", "unused"]);
}

#[test]
fn a_model_that_does_not_exist_has_a_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["inspect", "recipe"] {
        refuses(dir.path(), &[command, "convit_tini"], USAGE, &["did you mean `convit_tiny`?"]);
    }
}

/// What `recipe` prints is what `train` takes.
#[test]
fn a_printed_recipe_can_be_trained() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let printed = succeeds(d, &["recipe", "vit_micro_gap"]);
    assert!(
        printed.contains("\nmodel = \"vit_micro_gap\"\n") && printed.contains("inductive train FILE.toml"),
        "{printed}"
    );
    let smaller = [
        ("epochs = 20.0", "epochs = \"2 steps\""),
        ("train = 10000", "train = 200"),
        ("test = 2000", "test = 20"),
    ];
    let text = smaller.iter().fold(printed, |text, (from, to)| {
        assert!(text.contains(from), "{from}: {text}");
        text.replacen(from, to, 1)
    });
    fs::write(d.join("recipe.toml"), text).unwrap();
    assert!(succeeds(d, &["train", "recipe.toml", "--out", "run"]).contains("finished"));
}

/// What `--help` prints.
fn help(command: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    succeeds(dir.path(), &[command, "--help"][usize::from(command.is_empty())..])
}

const COMMANDS: [&str; 10] =
    ["reproduce", "init", "reparameterize", "recipe", "train", "eval", "fourier", "inspect", "data", "bench"];

#[test]
fn help_is_as_it_was() {
    /// Lists at the end, which the next test checks.
    const LISTS: [&str; 5] = [
        "\nModels:",
        "\nStrategies:",
        "\nPapers that can be reproduced:",
        "\nWhat can be reproduced:",
        "\nFields of a recipe:",
    ];
    let before_lists = |command: &str| {
        let text = help(command);
        let end = LISTS.iter().filter_map(|list| text.find(list)).min().unwrap_or(text.len());
        text[..end].trim_end().to_owned()
    };
    insta::assert_snapshot!("help", before_lists(""));
    for command in COMMANDS {
        insta::assert_snapshot!(format!("help-{command}"), before_lists(command));
    }
}

#[test]
fn help_lists_whatever_there_is_to_choose_from() {
    let has = |command: &str, names: &[String]| {
        let text = help(command);
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || "`,()".contains(c)).collect();
        for name in names {
            assert!(words.contains(&name.as_str()), "{command} --help does not have `{name}`: {text}");
        }
        text
    };
    let strings = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();

    let registry = inductive_papers::experiments::Registry::shared().unwrap();
    let papers = registry.papers();
    assert!(papers.iter().any(|it| it == "convit"));
    has("", &papers);
    let text = has("reproduce", &papers);
    let paper = text.split_once("The paper: ").unwrap().1.split("Options:").next().unwrap();
    assert!(papers.iter().all(|it| paper.contains(&format!("`{it}`"))), "{paper}");
    for experiment in registry.experiments() {
        let line = format!("  {} --table {} ", experiment.paper, experiment.name);
        assert!(
            text.contains(&line) && text.contains(experiment.about.split(' ').next().unwrap()),
            "{line}: {text}"
        );
    }
    let presets = inductive_papers::experiments::Preset::ALL.map(|it| it.to_string());
    has("reproduce", &presets);

    let models: Vec<String> = inductive_models::entries().into_iter().map(|it| it.spec.name).collect();
    assert!(models.len() > 30, "{models:?}");
    for command in ["init", "recipe", "eval", "fourier", "inspect", "bench"] {
        has(command, &models);
    }
    let can: Vec<&String> =
        models.iter().filter(|it| inductive_models::find_switchable(it).is_ok()).collect();
    assert!(!can.is_empty() && can.len() < models.len());
    let text = help("reparameterize");
    let listed = text.split_once("Models:").unwrap().1.split([',', '\n']).map(str::trim);
    assert_eq!(listed.filter(|it| !it.is_empty()).collect::<Vec<_>>(), can);

    has("init", &strings(&inductive_init::Strategy::NAMES));
    let printed = succeeds(tempfile::tempdir().unwrap().path(), &["recipe", "--reference"]);
    let fields = printed.split("\n## ").nth(1).unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
    let fields: Vec<String> = fields.map(|line| line.split('`').next().unwrap().to_owned()).collect();
    assert!(fields.len() > 30, "{fields:?}");
    has("train", &fields);
    let forms: Vec<String> = inductive_data::sources().forms().iter().map(ToString::to_string).collect();
    for command in ["reproduce", "init", "reparameterize", "train", "eval", "fourier", "data"] {
        has(command, &forms);
    }
}
