//! Agreements of numbers that are not whole, and of none.

use super::*;

const OWN: &str = r#"
paper = "mine"
name = "agree"
about = "x"
title = "T"
arm = [{ name = "a", label = "A" }, { name = "b", label = "B" }]
preset = { quick = { seeds = 2, recipe = { epochs = "2 steps" } } }

[[claim]]
id = "convit.1"
compare = ["a > b"]
agree = [
    { compare = "over_seeds(top1(b)) < 3.7", says = "below" },
    { compare = "over_seeds(top1(b)) > 3", says = "above" },
    { compare = "over_seeds(top1(b)) < 3.5", says = "not below" },
]
"#;

fn judged(top1: f64) -> crate::verdict::ClaimVerdict {
    let mut registry = Registry::builtin().unwrap();
    registry.add(Experiment::from_toml(OWN, "agree.toml").unwrap()).unwrap();
    let study = std::sync::Arc::new(registry).study(Request::new("mine")).unwrap();
    let report = report_of(&study, |i, cell| {
        let top1 = if cell.variant == "b" { top1 } else { 50.0 + noise(i) };
        finished(cell, top1)
    });
    report.claims.into_iter().next().unwrap()
}

#[test]
fn a_fraction_decides_an_agreement() {
    let claim = judged(3.6);
    let agree: Vec<_> = claim.checks.iter().map(|check| (check.statement.as_str(), check.agrees)).collect();
    assert_eq!(agree, [("below", true), ("above", true), ("not below", false)]);
    assert_eq!((claim.checks[0].computed.as_str(), claim.checks[0].expected.as_str()), ("3.6", "below 3.7"));
    assert_eq!(claim.verdict, Verdict::Fails);
}

#[test]
fn a_run_that_diverged_agrees_with_nothing_and_contradicts_nothing() {
    let claim = judged(f64::NAN);
    assert!(claim.checks.is_empty());
    assert!(claim.observations.iter().all(|observation| observation.seen.is_none()));
    assert_eq!((claim.observations.len(), claim.verdict), (3, Verdict::Undecided));
}
