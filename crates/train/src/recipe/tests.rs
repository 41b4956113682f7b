//! Tests of recipes: what is read, what is refused, what is kept.

use inductive_schedule::RunSize;

use super::*;
use crate::Error;

fn read(text: &str) -> Result<Recipe> {
    Recipe::from_toml(text, "test.toml")
}

#[test]
fn an_empty_file_is_the_default_and_the_default_is_valid() {
    assert_eq!(read("").unwrap(), Recipe::default());
    Recipe::default().validate().unwrap();
}

#[test]
fn the_resolved_recipe_reads_back_as_the_same_run() {
    let text = r#"
        model = "convit_tiny_patch4_32"
        subset = "first 2.5%"
        epochs = 12
        eval_every = "200 steps"
        lr_base = 5e-4
        batch_size = 256
        clip_grad = 1
        clock = "whole-epoch-one-behind"
        seed = 9007199254740993
        [ema]
        decay = 0.99996
        [augment]
        flip = 0
    "#;
    let recipe = read(text).unwrap().resolve().unwrap();
    assert_eq!((recipe.lr, recipe.lr_base), (Some(2.5e-4), None));
    assert_eq!(recipe.local_up_to_layer, Some(10));
    let written = recipe.to_toml().unwrap();
    assert!(written.starts_with("# convit_tiny_patch4_32 on synthetic"), "{written}");
    assert_eq!(read(&written).unwrap(), recipe);
    assert_eq!(recipe.resolve().unwrap(), recipe);
}

/// Else a run of an earlier program would pass for one of this recipe.
#[test]
fn the_resolved_recipe_says_which_images_and_which_weights() {
    let chosen = |text: &str| {
        let resolved = read(text).unwrap().resolve().unwrap();
        (resolved.data_revision, resolved.init.map(|init| init.to_string()))
    };
    let text = |name: &str| Some(name.to_owned());
    assert_eq!(chosen(r#"model = "convit_micro""#), (Some(2), text("kaiming")));
    assert_eq!(chosen("model = \"prs_micro\"\ndata = \"synthetic-parity\""), (Some(1), text("lecun")));
    assert_eq!(chosen("model = \"resnet_micro\"\ndata = \"cifar100:x\""), (None, None));
    assert_eq!(chosen(r#"init = "trunc-normal""#), (Some(2), text("trunc-normal")));
}

#[test]
fn refusals_name_the_field_and_what_is_accepted() {
    for (text, field, expected) in [
        ("batch_size = 0", "`batch_size` is 0", "1 to"),
        ("data_revision = 1", "`data_revision` is 1", "2: `synthetic` has other images since"),
        ("data = \"folder:x\"\ndata_revision = 2", "`data_revision` is 2", "left out"),
        ("epochs = 0", "`epochs`", "more than 0"),
        ("epochs = \"5%\"", "`epochs`", "percent"),
        ("eval_every = \"0 steps\"", "`eval_every`", "more than 0"),
        ("warmup_epochs = -1.0", "`warmup_epochs`", "0 epochs or more"),
        ("lr = nan", "`lr`", "0 or more"),
        ("lr = 1.0\nlr_base = 1.0", "`lr_base`", "left out"),
        ("min_lr = -1", "`min_lr`", "0 or more"),
        ("weight_decay = inf", "`weight_decay`", "finite"),
        ("betas = [0.9, 1.0]", "`betas` is 1", "less than 1"),
        ("eps = 0", "`eps`", "above 0"),
        ("clip_grad = 0", "`clip_grad`", "above 0"),
        ("label_smoothing = 1", "`label_smoothing`", "less than 1"),
        ("drop_path = -0.1", "`drop_path`", "less than 1"),
        ("ema = { decay = 1 }", "`ema.decay`", "less than 1"),
        ("augment = { flip = 2 }", "`augment.flip`", "0 to 1"),
        ("local_up_to_layer = 4", "local_up_to_layer 4 with 4 layers", "at most 3"),
        ("locality_strength = 0", "`locality_strength`", "above 0"),
        ("model = \"convit_mikro\"", "convit_mikro", "did you mean `convit_micro`"),
        ("data = \"cifar9:x\"", "cifar9:x", "cifar10:PATH"),
        ("model = \"simple_vit_micro\"\ncontent_share = 1.5", "`content_share`", "0 to 1"),
        ("content_share = 0.5", "`content_share`", "simple_vit"),
        ("filters = \"boxes\"", "`filters` is boxes", "random, softmax, impulse, box"),
        ("init = \"impulses\"", "`init` is impulses", "; did you mean `impulse`?"),
    ] {
        let error = read(text).unwrap().validate().unwrap_err().to_string();
        assert!(error.contains(field) && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_table_of_switches_that_cannot_be_meant_names_its_field() {
    for (text, want, problem) in [
        ("times = { uniform = nan }", "switch.times", "`switch.times` is { uniform = nan }"),
        ("times = { layers = [1, inf] }", "switch.times", "time 2 of layers is inf"),
        (
            "times = \"never\"\npositions = { kernel = { alpha = 0 } }\ngate = { linear = 2 }",
            "switch.positions",
            "alpha is 0",
        ),
        (
            "times = \"never\"\ngate = { linear = 2 }",
            "switch.gate",
            "`switch.gate` is { linear = 2.0 }; expected something else: the linear gate is 2",
        ),
    ] {
        let text = format!("model = \"prs_micro\"\n[switch]\n{text}");
        let error = read(&text).unwrap().validate().unwrap_err();
        assert!(matches!(error, Error::Recipe { field, .. } if field == want), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn times_of_switches_that_do_not_fit_model_or_run_name_their_field() {
    let run = RunSize { dataset_size: 100, batch_size: 10, total_steps: None };
    for (times, problem) in [
        ("{ late-first = { earliest = 2, latest = 1 } }", "earliest, 2 epochs, is after latest, 1 epoch"),
        ("{ layers = [1, 2] }", "layers has 2 times, but the model has 3 layers"),
        ("{ uniform = \"50%\" }", "whose length is not known"),
        ("{ layers = [1, 1, 1e300] }", "time 3 of layers"),
    ] {
        let recipe = read(&format!("model = \"prs_micro\"\nswitch = {{ times = {times} }}")).unwrap();
        recipe.validate().unwrap();
        let error = recipe.switch.unwrap().steps(3, run).unwrap_err();
        assert!(matches!(error, Error::Recipe { field: "switch.times", .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn what_is_no_recipe_is_refused_with_its_place() {
    for (text, expected) in [
        ("lerning_rate = 1", "unknown field `lerning_rate`"),
        ("warmup_epoch = 1", "; did you mean `warmup_epochs`?"),
        ("clock = \"epochs\"", "; did you mean `epoch`?"),
        ("clock = \"fraction\"", "expected one of `epoch`, `whole-epoch`, `whole-epoch-one-behind`"),
        ("lr = \"fast\"", "expected a number"),
        ("seed = -1", "expected a whole number, 0 or more"),
        ("betas = 0.9", "expected two numbers"),
        ("ema = 0.99", "expected a table as { decay = 0.9999 }"),
        ("augment = 1", "expected a table"),
        ("keep = 1", "expected a table"),
        ("synthetic = 1", "expected a table"),
        ("switch = 1", "expected a table"),
        ("augment = { crop_padding = -1 }", "expected a whole number, 0 or more"),
        ("keep = { last = 1 }", "expected true or false"),
        ("model = 3", "string"),
        ("\n\nbatch_size = \"many\"", "line 3"),
        ("epochs = \"3 weeks\"", "`weeks` is not a unit"),
        ("epochs = [1]", "a number of epochs"),
        ("subset = \"last 10%\"", "`first 10%`"),
        ("ema = { decay = 0.9, rate = 1 }", "unknown field `rate`"),
        ("model = ", "line 1"),
        ("init = 3", "a name, or a table"),
        ("init = { linear = \"xavier\" }", "unknown variant `xavier`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, Error::RecipeText { .. }));
        assert!(error.to_string().contains(expected) && error.to_string().contains("test.toml"), "{error}");
    }
}

#[test]
fn subsets_are_read_as_they_are_written() {
    for text in ["all", "first 10%", "first 2.5%", "random 50", "random 100%"] {
        assert_eq!(text.parse::<SubsetSpec>().unwrap().to_string(), text);
    }
    for text in ["", "first", "first 0%", "random 101%", "first 1.5", "random -1", "first nan%", "some 5"] {
        let error = text.parse::<SubsetSpec>().unwrap_err();
        assert!(error.contains("`random 50`"), "{error}");
    }
}

#[test]
fn initial_weights_are_a_name_or_a_table() {
    let named = read("init = \"mimetic\"").unwrap();
    assert_eq!(named.init, Some("mimetic".into()));
    let strategy = inductive_init::Strategy::named("impulse-anywhere").unwrap();
    let given = Recipe { init: Some(Init::Given(Box::new(strategy))), ..named.clone() };
    let boxes = r#"model = "convmixer_micro"
        filters = { shape = { box = { places = 2 } }, distinct = 3 }"#;
    for recipe in [named, given, read(boxes).unwrap()] {
        recipe.validate().unwrap();
        assert_eq!(read(&recipe.to_toml().unwrap()).unwrap(), recipe);
    }
}

#[test]
fn differences_name_fields_of_tables_too() {
    let first = Recipe::default();
    let mut second = Recipe { lr: Some(0.5), ..Recipe::default() };
    second.augment.flip = 0.0;
    let differences: Vec<String> =
        first.differences(&second).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        differences,
        ["`augment.flip` is 0.5 there and 0.0 here", "`lr` is not set there and 0.5 here"]
    );
    assert!(first.differences(&first).unwrap().is_empty());
}

#[test]
fn the_largest_seed_survives_toml() {
    let recipe = Recipe { seed: u64::MAX, ..Recipe::default() };
    assert_eq!(read(&recipe.to_toml().unwrap()).unwrap(), recipe);
}
