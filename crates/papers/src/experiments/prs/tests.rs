//! Tests of the main study: its recipes, and its verdicts on made-up results.

use std::collections::HashSet;

use inductive_nn::OperatorKind;
use inductive_schedule::RunSize;
use inductive_train::{FourierPoint, Metrics, Recipe};

use super::{super::Cell, *};
use crate::{Verdict, experiments::results::finished};

pub(super) fn request(preset: Preset) -> Request {
    Request {
        paper: "prs".to_owned(),
        table: None,
        data: "synthetic".to_owned(),
        preset,
        seeds: None,
        runs: "runs".into(),
        command: String::new(),
    }
}

/// A finished run with this accuracy and what `change` makes of its last line.
pub(super) fn finished_with(cell: Cell, top1: f64, change: impl Fn(&mut Metrics)) -> CellResult {
    let mut run = finished(cell, top1);
    run.result.metrics.iter_mut().for_each(change);
    run
}

const TABLES: [Protocol; 5] = [SCHEDULE, GATES, FRACTIONS, ABLATION, OFFSETS];

#[test]
fn runs_of_a_seed_make_as_many_updates_and_differ_in_the_switch_alone() {
    for (table, preset) in TABLES.iter().flat_map(|table| Preset::ALL.map(|preset| (table, preset))) {
        let cells = (table.cells)(&request(preset)).unwrap();
        for cell in &cells {
            cell.recipe.validate().unwrap();
            let first = cells.iter().find(|it| (it.seed, it.fraction) == (cell.seed, cell.fraction)).unwrap();
            let same = Recipe {
                switch: first.recipe.switch.clone(),
                freeze: first.recipe.freeze.clone(),
                ..cell.recipe.clone()
            };
            assert_eq!(same, first.recipe, "{} {preset}", table.table);
            assert_eq!(cell.recipe.epochs, cells[0].recipe.epochs);
        }
        let names: HashSet<_> = cells.iter().map(|c| (&c.name, c.seed)).collect();
        assert_eq!(names.len(), cells.len(), "every cell has its own folder");
        assert!(cells.iter().map(|c| c.seed).max() > Some(0), "at least two seeds");
    }
}

#[test]
fn the_three_schedules_have_one_mean_and_mirror_each_other() {
    let run = RunSize { dataset_size: 5_000, batch_size: 64, total_steps: Some(546) };
    let steps = |arm: Arm| -> Vec<u64> {
        let times = (arm.switch)().unwrap().times.steps(arms::LAYERS, run).unwrap();
        times.into_iter().flatten().collect()
    };
    let (uniform, late, early) = (steps(arms::UNIFORM_50), steps(arms::LATE_FIRST), steps(arms::EARLY_FIRST));
    assert_eq!(early, late.iter().rev().copied().collect::<Vec<_>>());
    assert!(late.windows(2).all(|pair| pair[0] > pair[1]), "late layers first: {late:?}");
    let mean = |steps: &[u64]| steps.iter().sum::<u64>() as f64 / steps.len() as f64;
    assert_eq!(uniform.len(), arms::LAYERS);
    assert!((mean(&late) - mean(&uniform)).abs() <= 0.5, "{late:?} {uniform:?}");
}

#[test]
fn the_small_study_is_five_thousand_images_of_cifar_and_all_arms() {
    let request = Request { data: "cifar100:x".to_owned(), ..request(Preset::Small) };
    let cells = (SCHEDULE.cells)(&request).unwrap();
    assert_eq!((cells.len(), cells[0].recipe.subset.to_string()), (9 * 5, "first 50".to_owned()));
    let none = Request { seeds: Some(0), ..request };
    assert!((SCHEDULE.cells)(&none).unwrap_err().is_usage());
}

#[test]
fn paper_is_refused_with_the_reason() {
    let error = "paper".parse::<Preset>().unwrap_err().to_string();
    assert!(error.contains("PRS"), "{error}");
}

/// A point of the network.
fn point(kind: OperatorKind, stream: f64, change: f64) -> FourierPoint {
    FourierPoint {
        name: "x".to_owned(),
        kind,
        downsamples: false,
        stream,
        branch: Some(stream),
        change: Some(change),
    }
}

/// A report of finished runs: accuracy by arm, level of high frequencies by the share of the run in convolution.
fn report_of(top1: impl Fn(&str) -> f64, level: impl Fn(f64) -> f64) -> Report {
    let request = request(Preset::Small);
    let scale = schedule(Preset::Small);
    let results: Vec<CellResult> = arms::cells(&request, &scale)
        .unwrap()
        .into_iter()
        .enumerate()
        .map(|(i, cell)| {
            let noise = 0.1 * cell.seed as f64 + 0.004 * (i.pow(3) % 89) as f64;
            let (top1, sweep) =
                (top1(cell.variant) + noise, arms::SWEEP.iter().find(|(_, arm)| arm.variant == cell.variant));
            let level = level(sweep.map_or(50.0, |(percent, _)| *percent)) + noise / 100.0;
            let kind =
                if cell.variant == "never" { OperatorKind::Convolution } else { OperatorKind::Attention };
            let change = level - 0.5;
            finished_with(cell, top1, |m| m.fourier = vec![point(kind, level, change); 2])
        })
        .collect();
    trained(&request, &scale, &results).unwrap()
}

fn verdict(report: &Report, id: &str) -> Verdict {
    report.claims.iter().find(|claim| claim.id == id).unwrap().verdict
}

fn as_claimed(variant: &str) -> f64 {
    match variant {
        "late-first" => 40.0,
        "uniform-25" | "uniform-50" | "uniform-75" => 38.0,
        "early-first" => 35.0,
        _ => 30.0,
    }
}

#[test]
fn results_as_claimed_make_the_claims_hold() {
    let report = report_of(as_claimed, |percent| percent / 100.0);
    for id in ["prs.C7", "prs.C7, strictly better", "prs.C8", "prs.C3", "prs.C4"] {
        assert_eq!(verdict(&report, id), Verdict::Holds, "{id}: {:#?}", report.claims);
    }
    let text = report.markdown();
    for part in
        ["prs.N1", "prs.N2", "project choice of first and last switch time", "+1.00 (seed 0)", "Next step"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    for name in ["accuracy", "switch-times", "gates", "frequencies-over-depth", "frequencies-by-time"] {
        assert!(report.figures.iter().any(|it| it.name == name), "{name}");
    }
}

#[test]
fn a_network_that_guesses_is_said_to_guess() {
    let guesses = |text: String| text.contains("here it guesses");
    assert!(guesses(report_of(|_| 5.2, |_| 0.5).markdown()), "top-5 is 20 above top-1");
    assert!(!guesses(report_of(as_claimed, |_| 0.5).markdown()));
}

#[test]
fn results_against_the_claims_make_them_fail() {
    let report = report_of(|it| 70.0 - as_claimed(it), |percent| 1.0 - percent / 100.0);
    for id in ["prs.C7", "prs.C7, strictly better", "prs.C8", "prs.C3", "prs.C4"] {
        assert_eq!(verdict(&report, id), Verdict::Fails, "{id}: {:#?}", report.claims);
    }
}

#[test]
fn arms_that_are_alike_are_not_worse_and_not_better() {
    let report = report_of(|_| 40.0, |_| 0.5);
    assert_eq!(verdict(&report, "prs.C7"), Verdict::Holds, "{:#?}", report.claims);
    for id in ["prs.C7, strictly better", "prs.C8", "prs.C4"] {
        assert_ne!(verdict(&report, id), Verdict::Holds, "{id}");
    }
    assert!(report.markdown().contains("seeds would decide it"), "{}", report.markdown());
}
