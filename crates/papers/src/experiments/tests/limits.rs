//! What a file may ask for at most: rings of texts, deep nesting and huge numbers are refused, and not followed.

use super::files::{GOOD, refused, resolved};

/// The file with these lines under `[text]`, of which its report says `x`.
fn with_texts(texts: &str) -> String {
    format!("title = \"A study\"\nran = [\"{{x}}\"]\n{texts}")
}

#[test]
fn a_text_that_names_itself_is_refused_with_the_ring() {
    for (texts, said) in [
        ("text.x = \"{x}\"", "x -> x"),
        ("text.x = [\"{x}\"]", "x -> x"),
        ("text.x = { each = \"arms\", line = \"{label} {x}\" }", "x -> x"),
        ("text.x = \"{y}\"\ntext.y = [\"a\", \"{z}\"]\ntext.z = \"{y}\"", "y -> z -> y"),
        ("text.x = \"{published {x} | t | r | c}\"", "x -> x"),
    ] {
        refused(
            "title = \"A study\"",
            &with_texts(texts),
            &["[text] names itself", said, "write one of them out"],
        );
    }
}

#[test]
fn a_text_that_is_said_twice_is_no_ring() {
    let text =
        GOOD.replace("title = \"A study\"", &with_texts("text.x = \"{y} and {y}\"\ntext.y = \"{preset}\""));
    assert_eq!(resolved(&text).unwrap().measured(&[]).unwrap().what_was_run, ["smoke and smoke"]);
}

#[test]
fn texts_that_multiply_are_refused() {
    let again = |at: usize| format!("text.x{at} = \"{}\"\n", format!("{{x{}}}", at + 1).repeat(20));
    let texts: String = (0..10).map(again).collect();
    let texts = with_texts(&format!("text.x = \"{{x0}}\"\n{texts}text.x10 = \"\""));
    refused("title = \"A study\"", &texts, &["more text and numbers than any report"]);
    let chain = |at: usize| format!("text.x{at} = \"{{x{}}}\"\n", at + 1);
    let texts: String = (0..5000).map(chain).collect();
    let texts = with_texts(&format!("text.x = \"{{x0}}\"\n{texts}text.x5000 = \"\""));
    refused("title = \"A study\"", &texts, &["within each other"]);
}

#[test]
fn deep_nesting_is_refused() {
    let value = "top1(arm)";
    let deep = 100_000;
    let braces = with_texts(&format!("text.x = \"{}{}\"", "{".repeat(deep), "}".repeat(deep)));
    refused("title = \"A study\"", &braces, &["within each other"]);
    refused(
        value,
        &format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
        &["table `t`", "words; give at most 256"],
    );
    refused(value, &format!("{}top1(arm){}", "abs(".repeat(40), ")".repeat(40)), &["more than 32 brackets"]);
    refused(value, &format!("1{}", " + 1".repeat(deep)), &["words; give at most 256"]);
    let correlation = format!("{}top1(a){}", "rank_correlation(xs, ".repeat(20), ")".repeat(20));
    let rows: Vec<String> = (0..10).map(|x| format!("{{ x = {x} }}")).collect();
    let many = format!("[rows]\nxs = [{}]\n[[table]]", rows.join(", "));
    let text = GOOD.replace(value, &correlation).replace("[[table]]", &many);
    assert!(resolved(&text).err().unwrap().to_string().contains("more text and numbers"));
    refused("rows = \"arms\"", &format!("rows = \"arms{}\"", " * arms".repeat(deep)), &["there are no rows"]);
    refused("recipe = { epochs", &format!("x = {}\nrecipe = {{ epochs", "[".repeat(deep)), &["line 15"]);
}

#[test]
fn huge_numbers_are_refused_where_they_would_decide_a_size() {
    for (good, bad, said) in [
        ("top1(arm)", "repeat(1, 1e30)", &["repeat(.., ", "0 to 1024"][..]),
        ("top1(arm)", "repeat(1, 0 - 1)", &["repeat(.., -1)"]),
        ("top1(arm)", "repeat(1, 2.5)", &["repeat(.., 2.5)"]),
        ("top1(arm)", "repeat(1, 0 / 0)", &["repeat(.., NaN)"]),
        ("top1(arm)", "element(gates(arm), 0)", &["element(.., 0)", "1 to 1024"]),
        ("top1(arm)\"", "top1(arm)\", digits = 4000000000", &["`top-1`", "at most 17"]),
        ("top1(arm)\"", "gates(arm)\", layers = 4000000000", &["`top-1`", "at most 1024"]),
        ("rows = \"arms\"", "rows = [{ digits = 1000000, arm = \"a\" }]", &["1000000 decimals"]),
        ("title = \"T\"", "title = \"{top1(a):99999999}\"", &["99999999 decimals"]),
        ("seeds = 2", "seeds = 99999999999999999999", &["line 14"]),
        ("seeds = 2", "seeds = -1", &["line 14"]),
        ("{ local_up_to_layer = 0 }", "{ depth = 1000000000 }", &["arm `b`", "depth"]),
        ("{ local_up_to_layer = 0 }", "{ image_size = 1000000 }", &["arm `b`", "4096"]),
        ("{ local_up_to_layer = 0 }", "{ batch_size = 1000000000000 }", &["arm `b`", "batch_size"]),
    ] {
        refused(good, bad, said);
    }
    let rows = vec!["{ x = 1 }"; 400].join(", ");
    let text = GOOD.replacen("[[table]]", &format!("[rows]\nxs = [{rows}]\n[[table]]"), 1);
    let error = resolved(&text.replace("rows = \"arms\"", "rows = \"xs * xs\"")).err().unwrap().to_string();
    assert!(error.contains("`xs * xs`: 160000 rows"), "{error}");
}

#[test]
fn more_seeds_or_runs_than_anybody_waits_for_are_refused() {
    let asked = |text: &str| {
        let error = resolved(&GOOD.replace("seeds = 2", text)).err().unwrap();
        assert!(error.is_usage());
        error.to_string()
    };
    assert!(asked("seeds = 4000000000").contains("at most 1000"));
    let fractions: Vec<String> = (1..=100).map(|part| format!("{}", f64::from(part) / 100.0)).collect();
    let error = asked(&format!("seeds = 1000\nfractions = [{}]", fractions.join(", ")));
    assert!(error.contains("200000 runs") && error.contains("at most 100000"), "{error}");
}
