//! EIT's claims.

use super::*;

/// A report of finished runs whose accuracy is `top1` of the arm, with a little noise.
fn report(top1: impl Fn(&str) -> f64) -> Report {
    report_of(&study("eit", "claims", Preset::Small), |i, cell| {
        let top1 = top1(&cell.variant) + 0.1 * cell.seed as f64 + 0.001 * (i * i % 97) as f64;
        finished(cell, top1)
    })
}

const TRAINED: [&str; 6] = ["eit.C1", "eit.C2", "eit.C3", "eit.C4", "eit.C5", "eit.C6"];

#[test]
fn results_as_the_paper_claims_them_make_every_claim_hold() {
    let report = report(|variant| match variant {
        "eit" => 60.0,
        "eit-pos" => 60.1,
        "p" | "t" => 50.0,
        "constant-mean" | "constant-half" => 55.0,
        "increasing" | "p-pos" | "t-pos" => 52.0,
        "resnet" => 58.0,
        "vit-pos" => 45.0,
        "vit" => 40.0,
        other => panic!("{other}"),
    });
    for id in TRAINED {
        assert_eq!(verdict(&report, id), Verdict::Holds, "{id}: {:#?}", report.claims);
    }
}

#[test]
fn results_the_other_way_round_make_every_claim_fail() {
    let report = report(|variant| match variant {
        "eit" => 40.0,
        "eit-pos" => 50.0,
        "p" | "t" => 45.0,
        "vit" | "vit-pos" => 60.0,
        _ => 55.0,
    });
    for id in TRAINED {
        assert_eq!(verdict(&report, id), Verdict::Fails, "{id}");
    }
}

#[test]
fn the_report_names_what_is_not_available_and_what_is_a_proxy() {
    let mut report = report(|_| 50.0);
    study("eit", "claims", Preset::Small).compute(&mut report).unwrap();
    let text = report.markdown();
    let ratio =
        "17.4 % of the parameters of this ResNet, which has 5.73 times EIT's; the paper names 17.7 (arXiv";
    for part in ["not available", "proxies", "70.026", ratio] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
