//! Structured initialization: the comparison, heads, frozen filters, contradictions.

use inductive_report::table::Cell as Entry;

use super::*;

#[test]
fn a_tenth_of_cifar_is_five_thousand_images_wherever_the_rest_is() {
    let subset = |data: &str| {
        let request =
            Request { preset: Preset::Small, data: data.to_owned(), ..Request::new("structured-init") };
        Study::new(request).unwrap().cells[0].recipe.subset.to_string()
    };
    assert_eq!(subset("cifar10:x"), "first 500");
    assert_eq!(subset("cifar100:x"), "first 50");
    assert_eq!(subset("folder:x"), "first 10%");
}

/// A report of finished runs whose accuracy is `top1` of the arm, with a little noise.
fn report(top1: impl Fn(&str) -> f64) -> Report {
    report_of(&study("structured-init", "claims", Preset::Small), |i, cell| {
        let top1 = top1(&cell.variant) + 0.1 * cell.seed as f64 + 2.0 * noise(i);
        finished(cell, top1)
    })
}

#[test]
fn results_as_the_papers_claim_them_make_the_claims_hold() {
    let report = report(|variant| match variant {
        v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 40.0,
        "token-default-mimetic-v" | "token-default-scaled-position" => 45.0,
        _ => 50.0,
    });
    assert!(report.claims.iter().any(|it| it.id == "si.3"));
    for id in ["si.5", "si.7, V and projection", "si.7, positions x 18"] {
        assert_eq!(verdict(&report, id), Verdict::Holds, "{id}: {:#?}", report.claims);
    }
}

#[test]
fn plain_weights_in_front_make_the_claims_fail() {
    let report = report(|variant| match variant {
        v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 60.0,
        _ => 50.0,
    });
    for id in ["si.5", "si.7, V and projection", "si.7, positions x 18"] {
        assert_eq!(verdict(&report, id), Verdict::Fails, "{id}");
    }
}

#[test]
fn one_confound_alone_is_told_from_the_other() {
    let report = report(|variant| if variant == "token-default-mimetic-v" { 55.0 } else { 50.0 });
    assert_eq!(verdict(&report, "si.7, V and projection"), Verdict::Holds);
    assert_ne!(verdict(&report, "si.7, positions x 18"), Verdict::Holds);
}

#[test]
fn impulse_clearly_above_mimetic_contradicts_what_was_expected() {
    let report = report(|variant| match variant {
        v if v.ends_with("-default") || v.ends_with("-trunc-normal") => 40.0,
        v if v.ends_with("-impulse") => 55.0,
        _ => 50.0,
    });
    assert_eq!(verdict(&report, "si.5"), Verdict::Fails);
    let text = report.markdown();
    for part in ["manual overrides", "SVHN", "Food-101", "impulse (closed form) > mimetic"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn every_published_number_that_is_looked_up_is_there() {
    let report = report(|_| 50.0);
    let table = &report.tables.iter().find(|it| it.name == "contradictions").unwrap().table;
    let empty = |row: &Vec<Entry>| row.iter().filter(|cell| **cell == Entry::Empty).count();
    // Only the first two rows have no default.
    assert_eq!(table.rows.iter().map(empty).collect::<Vec<_>>(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in ["91.62 and 90.75", "94.67 and 94.6", "77.02 and 76.5", "76.25 as submitted, 81.24"] {
        assert!(table.notes.iter().any(|note| note.contains(number)), "{number}: {:?}", table.notes);
    }
}

/// The verdict on the first claim of a study with accuracies by arm, whose report has these numbers.
fn first_verdict(table: &str, cells: usize, numbers: &[&str], top1: impl Fn(&str) -> f64) -> Verdict {
    let study = study("structured-init", table, Preset::Small);
    assert_eq!(study.cells.len(), cells);
    let report = report_of(&study, |i, cell| {
        let top1 = top1(&cell.variant) + noise(i);
        finished(cell, top1)
    });
    for number in numbers {
        assert!(report.markdown().contains(number), "{number}");
    }
    report.claims[0].verdict
}

#[test]
fn a_margin_that_grows_and_mimetic_weights_that_lose_make_the_claim_hold() {
    let verdict = |top1: &dyn Fn(&str) -> f64| first_verdict("heads", 27, &["72.72"], top1);
    let as_published = |variant: &str| match variant {
        "12heads-impulse" => 60.0,
        "3heads-impulse" => 55.0,
        "12heads-mimetic" => 52.0,
        "3heads-mimetic" => 57.0,
        _ => 50.0,
    };
    assert_eq!(verdict(&as_published), Verdict::Holds);
    assert_eq!(verdict(&|variant| 110.0 - as_published(variant)), Verdict::Fails);
}

#[test]
fn filters_are_frozen_but_where_they_are_trained() {
    for cell in study("structured-init", "convmixer", Preset::Small).cells {
        assert_eq!(cell.recipe.freeze.is_empty(), cell.variant.ends_with("trained"), "{}", cell.name);
    }
}

#[test]
fn small_gaps_that_shrink_with_width_and_grow_with_the_filters_make_the_claim_hold_and_large_ones_fail() {
    let verdict =
        |top1: &dyn Fn(&str) -> f64| first_verdict("convmixer", 60, &["92.82", "92.2", "0.5", "1.8"], top1);
    let as_published = |variant: &str| match variant {
        it if it.ends_with("box") => 40.0,
        it if it.ends_with("trained") => 50.0,
        it if it.starts_with("128") => 49.8,
        it if it.starts_with("64k3") => 49.3,
        _ => 48.7,
    };
    assert_eq!(verdict(&as_published), Verdict::Holds);
    assert_eq!(verdict(&|it| if it.ends_with("box") { 55.0 } else { as_published(it) }), Verdict::Fails);
    let far = |it: &str| as_published(it) + if it.ends_with("trained") { 5.0 } else { 0.0 };
    assert_eq!(verdict(&far), Verdict::Fails);
}
