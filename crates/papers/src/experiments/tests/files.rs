//! What a file can get wrong, and what is said then.

use super::*;

pub(super) const GOOD: &str = r#"
paper = "mine"
name = "width"
about = "x"
title = "A study"
[[arm]]
name = "a"
label = "A"
[[arm]]
name = "b"
label = "B"
recipe = { local_up_to_layer = 0 }
[preset.smoke]
seeds = 2
recipe = { epochs = "2 steps" }
[[table]]
name = "t"
title = "T"
rows = "arms"
columns = [{ head = "top-1", value = "top1(arm)" }]
[[figure]]
name = "f"
title = "F"
x = { label = "epochs" }
y = { label = "gates" }
lines = [
    { name = "{label}", each = "arms", over = "evaluations", x = "epoch", y = "element(over_seeds(gates(arm)), 1)" },
    { name = "{label}", each = "arms", over = "layers", x = "layer - 1", y = "gates(arm)" },
]
[[claim]]
id = "convit.1"
compare = ["a > b"]
"#;

pub(super) fn resolved(text: &str) -> Result<Study> {
    let mut registry = Registry::builtin()?;
    registry.add(Experiment::from_toml(text, "mine.toml")?)?;
    std::sync::Arc::new(registry).study(Request { preset: Preset::Smoke, ..Request::new("mine") })
}

#[test]
fn a_file_without_a_mistake_is_read() {
    let study = resolved(GOOD).unwrap();
    assert_eq!(study.cells.len(), 4);
    assert_eq!(study.folder, PathBuf::from("runs/mine-smoke-synthetic"));
}

#[test]
fn what_is_wrong_is_named_with_the_file_the_place_and_what_there_is() {
    for (good, bad, said) in [
        ("title = \"A study\"", "titel = \"A study\"", &["line 5", "titel", "title"][..]),
        ("label = \"A\"\n", "", &["line 6", "label"]),
        ("rows = \"arms\"", "rows = \"sides\"", &["table `t`", "`sides`", "fractions"]),
        ("top1(arm)", "top1(c)", &["table `t`", "`top-1`", "no arm `c`", "a, b"]),
        ("top1(arm)", "accuracy(arm)", &["`accuracy`", "test_loss", "depth_correlation"]),
        ("top1(arm)", "top1(arm", &["`)` is missing"]),
        ("top1(arm)", "gates(arm) - gates(b)", &["mean(..)"]),
        ("x = \"epoch\"", "x = \"epochs\"", &["figure `f`", "no arm `epochs`", "epoch"]),
        ("x = \"layer - 1\"", "x = \"layers\"", &["figure `f`", "no arm `layers`", "layer"]),
        ("over_seeds(gates(arm))", "over_seeds(top1(arm))", &["figure `f`", "element(..)", "per layer"]),
        ("title = \"T\"", "title = \"{nobody}\"", &["`nobody`", "preset"]),
        ("convit.1", "convit.77", &["convit.77", "convit.10"]),
        ("\"a > b\"", "\"a\"", &["claim `convit.1`", "left > right"]),
        ("\"a > b\"", "\"mean(gates(a)) > gates(b)\"", &["claim `convit.1`", "mean(..)"]),
        ("\"a > b\"", "{ compare = \"a > b\", say = \"x\" }", &["line 32", "`say`", "`says`"]),
        ("local_up_to_layer", "local_up_to", &["arm `b`", "local_up_to", "local_up_to_layer"]),
        ("{ local_up_to_layer = 0 }", "{ seed = 3 }", &["arm `b`", "`seed`", "--seeds"]),
        ("{ local_up_to_layer = 0 }", "{ model = \"convit_micr\" }", &["arm `b`", "convit_micro"]),
        ("seeds = 2", "fractions = [0.0]", &["preset.smoke", "above 0"]),
        ("[preset.smoke]", "[preset.quick]", &["[preset.smoke]"]),
        ("[preset.smoke]", "[preset.smok]", &["line 13", "smok", "smoke"]),
        ("about = \"x\"", "about = \"x\"\ncompute = [\"magic\"]", &["`magic`", "prs"]),
        ("about = \"x\"", "about = \"x\"\nbase = \"other.toml\"", &["base", "in place"]),
        (
            "paper = \"mine\"\nname = \"width\"",
            "paper = \"convit\"\nname = \"table2\"",
            &["convit.toml", "another `name`"],
        ),
    ] {
        refused(good, bad, said);
    }
}

#[test]
fn names_that_would_fail_when_the_report_is_written_are_refused_before_anything_runs() {
    let figure =
        "[[figure]]\nname = \"f\"\ntitle = \"F\"\nx = { label = \"\" }\ny = { label = \"\" }\nlines = []\n";
    for (good, bad, said) in [
        ("paper = \"mine\"", "paper = \"my own\"", &["paper `my own`", "`-` and `_`"][..]),
        ("name = \"width\"", "name = \"../width\"", &["name `../width`"]),
        ("name = \"width\"", "name = \"\"", &["name ``", "1 to 64"]),
        ("name = \"b\"", "name = \"b/c\"", &["arm `b/c`", "names files"]),
        ("name = \"b\"", "name = \"A\"", &["arm `A`", "two of this name"]),
        ("name = \"b\"", "name = \"1e3\"", &["arm `1e3`", "no number"]),
        ("name = \"b\"", "name = \"nan\"", &["arm `nan`", "no number"]),
        ("name = \"b\"", "name = \"-b\"", &["arm `-b`", "begin with a letter"]),
        ("name = \"t\"", "name = \"t t\"", &["table `t t`"]),
        (
            "[[figure]]",
            "[[table]]\nname = \"T\"\ntitle = \"\"\n[[figure]]",
            &["table `T`", "two of this name"],
        ),
        ("[[figure]]", &format!("{figure}[[figure]]"), &["figure `f`", "two of this name"]),
        ("name = \"f\"", "name = \"f.svg\"", &["figure `f.svg`"]),
        ("[[table]]", "[rows]\narms = []\n[[table]]", &["[rows] arms", "another name"]),
        ("[[table]]", "[text]\ndata = \"x\"\n[[table]]", &["[text] data", "another name"]),
        ("seeds = 2", "arms = [\"a\", \"c\"]", &["preset.smoke", "no arm `c`", "a, b"]),
        ("seeds = 2", "arms = [\"a\", \"a\"]", &["preset.smoke", "`a` stands there twice"]),
        ("seeds = 2", "fractions = [0.12341, 0.12342]", &["preset.smoke", "12.34%"]),
        ("[[table]]", "[preset.small]\narms = [\"c\"]\n[[table]]", &["preset.small", "no arm `c`"]),
    ] {
        refused(good, bad, said);
    }
}

#[test]
fn what_is_said_only_after_some_results_is_read_before_the_runs_too() {
    let text = |text: &str| format!("title = \"A study\"\nran = [\"{{x}}\"]\ntext.x = {text}");
    let next = |next: &str| format!("title = \"A study\"\nnext = [{next}]");
    let title = "title = \"A study\"";
    for (good, bad, said) in [
        (title, &*text("\"{top1(a):1} and {nobody}\""), &["`nobody`"][..]),
        (
            title,
            &text("{ alike = [\"a\", \"b\"], within = 1.0, yes = \"\", no = \"{nobody}\", open = \"\" }"),
            &["`nobody`"],
        ),
        (
            title,
            &text("{ best = \"arms\", value = \"arm\", line = \"{nobody}\", none = \"\" }"),
            &["`nobody`", "value"],
        ),
        (title, &next("{ say = \"{nobody}\", sees = \"a > b\" }"), &["`nobody`"]),
        (title, &next("{ say = \"x\", undecided = \"which\" }"), &["next", "`which`"]),
        (
            "columns = [{",
            "only-with = \"gates(arm)\"\ncolumns = [{ head = \"\", value = \"top1(c)\" }, {",
            &["no arm `c`"],
        ),
        (
            "y = \"gates(arm)\"",
            "begin = [0.0, \"over_seeds(top1(arm))\"], y = \"gates(c)\"",
            &["figure `f`", "no arm `c`"],
        ),
    ] {
        refused(good, bad, said);
    }
}

/// Asserts that the file with `bad` in place of `good` is refused before anything runs, in these words.
pub(super) fn refused(good: &str, bad: &str, said: &[&str]) {
    assert!(GOOD.contains(good), "{good}");
    let error = resolved(&GOOD.replacen(good, bad, 1)).err().unwrap_or_else(|| panic!("{bad}"));
    let text = error.to_string();
    assert!(error.is_usage() && text.starts_with("mine.toml: "), "{text}");
    assert!(said.iter().all(|part| text.contains(part)), "{said:?}: {text}");
}
