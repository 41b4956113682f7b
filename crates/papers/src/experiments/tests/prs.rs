//! PRS: the main study, gates, fractions, ablation, offsets.

use inductive_nn::OperatorKind;
use inductive_schedule::RunSize;
use inductive_train::FourierPoint;

use super::*;

/// Layers that can leave convolution.
const LAYERS: usize = 6;

#[test]
fn the_three_schedules_have_one_mean_and_mirror_each_other() {
    let run = RunSize { dataset_size: 5_000, batch_size: 64, total_steps: Some(546) };
    let cells = study("prs", "schedule", Preset::Small).cells;
    let steps = |arm: &str| -> Vec<u64> {
        let cell = cells.iter().find(|cell| cell.variant == arm).unwrap();
        let times = cell.recipe.switch.as_ref().unwrap().times.steps(LAYERS, run).unwrap();
        times.into_iter().flatten().collect()
    };
    let (uniform, late, early) = (steps("uniform-50"), steps("late-first"), steps("early-first"));
    assert_eq!(early, late.iter().rev().copied().collect::<Vec<_>>());
    assert!(late.windows(2).all(|pair| pair[0] > pair[1]), "late layers first: {late:?}");
    let mean = |steps: &[u64]| steps.iter().sum::<u64>() as f64 / steps.len() as f64;
    assert_eq!(uniform.len(), LAYERS);
    assert!((mean(&late) - mean(&uniform)).abs() <= 0.5, "{late:?} {uniform:?}");
}

#[test]
fn the_small_study_is_five_thousand_images_of_cifar_and_all_arms() {
    let request = Request { preset: Preset::Small, data: "cifar100:x".to_owned(), ..Request::new("prs") };
    let cells = Study::new(request).unwrap().cells;
    assert_eq!((cells.len(), cells[0].recipe.subset.to_string()), (9 * 5, "first 50".to_owned()));
}

/// A point of the network.
fn point(kind: OperatorKind, stream: f64, change: f64) -> FourierPoint {
    let (branch, change) = (Some(stream), Some(change));
    FourierPoint { name: "x".to_owned(), kind, downsamples: false, stream, branch, change }
}

/// A report of finished runs: accuracy by arm, level of high frequencies by the share of the run in convolution.
fn report(top1: impl Fn(&str) -> f64, level: impl Fn(f64) -> f64) -> Report {
    report_of(&study("prs", "schedule", Preset::Small), |i, cell| {
        let noise = 0.1 * cell.seed as f64 + 2.0 * noise(i);
        let share = match cell.variant.as_str() {
            "from-start" => 0.0,
            "uniform-25" => 25.0,
            "uniform-75" => 75.0,
            "never" => 100.0,
            _ => 50.0,
        };
        let (top1, level) = (top1(&cell.variant) + noise, level(share) + noise / 100.0);
        let kind = if cell.variant == "never" { OperatorKind::Convolution } else { OperatorKind::Attention };
        finished_with(cell, top1, |m| m.fourier = vec![point(kind, level, level - 0.5); 2])
    })
}

fn as_claimed(variant: &str) -> f64 {
    match variant {
        "late-first" => 40.0,
        "uniform-25" | "uniform-50" | "uniform-75" => 38.0,
        "early-first" => 35.0,
        _ => 30.0,
    }
}

const CLAIMS: [&str; 5] = ["prs.C7", "prs.C7, strictly better", "prs.C8", "prs.C3", "prs.C4"];

#[test]
fn results_as_claimed_make_the_claims_hold() {
    let report = report(as_claimed, |percent| percent / 100.0);
    for id in CLAIMS {
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
    assert!(guesses(report(|_| 5.2, |_| 0.5).markdown()), "top-5 is 20 above top-1");
    assert!(!guesses(report(as_claimed, |_| 0.5).markdown()));
}

#[test]
fn results_against_the_claims_make_them_fail() {
    let report = report(|it| 70.0 - as_claimed(it), |percent| 1.0 - percent / 100.0);
    for id in CLAIMS {
        assert_eq!(verdict(&report, id), Verdict::Fails, "{id}: {:#?}", report.claims);
    }
}

#[test]
fn arms_that_are_alike_are_not_worse_and_not_better() {
    let report = report(|_| 40.0, |_| 0.5);
    assert_eq!(verdict(&report, "prs.C7"), Verdict::Holds, "{:#?}", report.claims);
    for id in ["prs.C7, strictly better", "prs.C8", "prs.C4"] {
        assert_ne!(verdict(&report, id), Verdict::Holds, "{id}");
    }
    assert!(report.markdown().contains("seeds would decide it"), "{}", report.markdown());
}

#[test]
fn late_layers_that_leave_position_first_make_the_claim_hold() {
    let verdict = |gates: &dyn Fn(u64) -> Vec<f64>| {
        let report = report_of(&study("prs", "gates", Preset::Small), |_, cell| {
            let gates = gates(cell.seed);
            finished_with(cell, 50.0, |m| m.gates = gates.clone())
        });
        assert!(report.markdown().contains("0.92"), "the published share of a head of the first layer");
        report.claims[0].verdict
    };
    let falling = |seed: u64| vec![0.7, 0.65, 0.5, 0.55, 0.3, 0.1 + 0.05 * seed as f64];
    let rising = |seed| falling(seed).into_iter().rev().collect();
    assert_eq!(verdict(&falling), Verdict::Holds);
    assert_eq!(verdict(&rising), Verdict::Fails);
    assert_eq!(
        verdict(&|seed| if seed.is_multiple_of(2) { falling(0) } else { rising(0) }),
        Verdict::Undecided
    );
}

#[test]
fn a_gap_that_shrinks_with_data_makes_the_claim_hold_and_one_that_grows_makes_it_fail() {
    let verdict = |lead: &dyn Fn(f64) -> f64| {
        let study = study("prs", "fractions", Preset::Small);
        assert_eq!(study.cells.len(), 3 * 5 * 3);
        let report = report_of(&study, |i, cell| {
            let lead = if cell.variant == "blurred" { lead(cell.fraction) } else { 0.0 };
            finished(cell, 40.0 + lead + noise(i))
        });
        let text = report.markdown();
        for number in ["34.8", "47.8", "81.4", "37.0"] {
            assert!(text.contains(number), "ConViT's {number} stands beside: {text}");
        }
        report.claims[0].verdict
    };
    assert_eq!(verdict(&|fraction| 2.0 - 5.0 * fraction.log10()), Verdict::Holds);
    assert_eq!(verdict(&|fraction| 9.0 + 5.0 * fraction.log10()), Verdict::Fails);
}

fn ablation(top1: impl Fn(&str) -> f64) -> Verdict {
    let study = study("prs", "ablation", Preset::Small);
    assert_eq!(study.cells.len(), 7 * 3);
    let report = report_of(&study, |i, cell| {
        let top1 = top1(&cell.variant) + noise(i);
        finished(cell, top1)
    });
    for number in ["59.7", "57.4", "56.9", "54.6", "47.8", "54.3", "44.8"] {
        assert!(report.markdown().contains(number), "{number}");
    }
    report.claims[0].verdict
}

fn as_published(variant: &str) -> f64 {
    match variant {
        "a" => 59.7,
        "b" => 57.4,
        "c" => 56.9,
        "d" => 54.6,
        "e" => 47.8,
        "f" => 54.3,
        _ => 44.8,
    }
}

#[test]
fn the_papers_own_numbers_make_the_claim_hold() {
    assert_eq!(ablation(as_published), Verdict::Holds);
}

#[test]
fn attention_by_content_in_front_makes_it_fail() {
    assert_eq!(ablation(|it| if it == "e" { 62.0 } else { as_published(it) }), Verdict::Fails);
    assert_eq!(ablation(|it| 100.0 - as_published(it)), Verdict::Fails);
}

#[test]
fn frozen_random_attention_a_little_below_is_not_much_below() {
    assert_ne!(ablation(|it| if it == "g" { 53.5 } else { as_published(it) }), Verdict::Holds);
}

#[test]
fn heads_that_come_to_the_kernel_make_the_claim_hold_and_those_that_fly_apart_make_it_fail() {
    let verdict = |end: Vec<[f64; 3]>| {
        let report = report_of(&study("prs", "offsets", Preset::Small), |_, cell| {
            finished_with(cell, 50.0, |m| m.head_positions = vec![end.clone(); 6])
        });
        let paths = &report.figures[0].figure.series;
        assert!(paths.len() == 9 && paths.iter().all(|path| path.points.len() == 2), "{paths:?}");
        report.claims[0].verdict
    };
    let kernel = (0..9).map(|h| [f64::from(h / 3 - 1) + 0.2, f64::from(h % 3 - 1), 1.0]).collect();
    assert_eq!(verdict(kernel), Verdict::Holds);
    assert_eq!(verdict(vec![[9.0, 9.0, 1.0]; 9]), Verdict::Fails);
}
