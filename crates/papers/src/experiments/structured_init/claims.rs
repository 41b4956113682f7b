//! What the papers claim of trained models, as comparisons of runs.

use super::{
    super::{
        Result,
        results::{alike, comparisons},
    },
    arms::{
        ANYWHERE, Arm, DEFAULT, DEFAULT_V, IMPULSE, IMPULSE_GRADIENT, MIMETIC, MIMETIC_V, POOLED_DEFAULT,
        POOLED_IMPULSE, POOLED_MIMETIC, POOLED_MIMETIC_V, POOLED_SCRAMBLED, POOLED_TRUNC, SCALED, SCRAMBLED,
        TRUNC,
    },
    tables::{Measured, When},
};
use crate::{
    Published, Report,
    verdict::{Check, ClaimTest, Comparison, Judged},
};
use inductive_report::table::Table;

/// Adds the verdicts, and the comparisons that no claim is judged by.
pub(super) fn add(report: &mut Report, measured: &Measured<'_>) -> Result<()> {
    let published = Published::embedded()?;
    let test = |id: &str| Ok::<_, crate::Error>(ClaimTest::new(published.claim(id)?));
    let better = |a: Arm, b: Arm, when: When| {
        let statement = format!("{}: {} > {}{}", kind(a), a.label, b.label, when.suffix());
        Comparison::new(statement, "points", measured.top1(a, when), measured.top1(b, when))
    };

    let mut both = test("si.5")?;
    for when in [When::End, When::Early] {
        for (designed, plain) in [
            (POOLED_MIMETIC, POOLED_DEFAULT),
            (POOLED_IMPULSE, POOLED_DEFAULT),
            (MIMETIC, DEFAULT),
            (IMPULSE, DEFAULT),
            (POOLED_MIMETIC, POOLED_TRUNC),
            (POOLED_IMPULSE, POOLED_TRUNC),
            (MIMETIC, TRUNC),
            (IMPULSE, TRUNC),
        ] {
            both = both.piece(better(designed, plain, when));
        }
    }
    let mut questions = Vec::new();
    // Said before the runs: the two are not told apart at this size.
    for (impulse, mimetic) in [(POOLED_IMPULSE, POOLED_MIMETIC), (IMPULSE, MIMETIC)] {
        let judged = better(impulse, mimetic, When::End).judge();
        both = match alike(&judged, ALIKE) {
            Some(alike) => both.check(Check {
                statement: format!(
                    "{}: impulse and mimetic are within {ALIKE} point of each other",
                    kind(impulse)
                ),
                computed: judged.difference.map_or_else(String::new, |it| format!("{it:+.1} points")),
                expected: format!("a 95 % interval within +-{ALIKE}"),
                agrees: alike,
            }),
            None => both.observe(format!("{}: impulse and mimetic are alike", kind(impulse)), None),
        };
        questions.push(("impulse against mimetic", judged));
    }
    if measured.scale.fraction < 1.0 {
        report.claim(both.judge());
    }

    // Either is enough to confound, so each is judged by itself.
    for (part, what) in [(MIMETIC_V, "V and projection"), (SCALED, "positions x 18")] {
        if measured.scale.arms.contains(&part) {
            let claim = test("si.7")?.piece(better(part, DEFAULT, When::End));
            report.claim(ClaimTest { id: format!("si.7, {what}"), ..claim }.judge());
        }
    }
    let parts = "parts of 2505.19985's impulse";
    let local = "whether it has to be local";
    for (group, a, b) in [
        (parts, DEFAULT_V, DEFAULT),
        (parts, IMPULSE, DEFAULT_V),
        (parts, IMPULSE, MIMETIC_V),
        (parts, IMPULSE, SCALED),
        (parts, MIMETIC, MIMETIC_V),
        (parts, POOLED_MIMETIC_V, POOLED_DEFAULT),
        (parts, POOLED_MIMETIC, POOLED_MIMETIC_V),
        (parts, POOLED_IMPULSE, POOLED_MIMETIC_V),
        ("the other solver", IMPULSE_GRADIENT, DEFAULT),
        ("the other solver", IMPULSE_GRADIENT, DEFAULT_V),
        (local, IMPULSE, SCRAMBLED),
        (local, IMPULSE, ANYWHERE),
        ("impulse against little sharper than uniform", POOLED_IMPULSE, POOLED_SCRAMBLED),
    ] {
        questions.push((group, better(a, b, When::End).judge()));
    }
    report.table("controls", controls(&questions));

    let mut low = test("si.3")?;
    for arm in measured.scale.arms {
        for (when, name, seeded) in measured.largest_ranks(*arm) {
            let bound = seeded.iter().map(|(seed, _)| (seed, MUCH_SMALLER * arm.smaller_side())).collect();
            let statement =
                format!("{}, {}: {} > largest {name}, {when}", kind(*arm), arm.label, bound_text(*arm));
            low = low.piece(Comparison::new(statement, "directions", bound, seeded));
        }
    }
    report.claim(low.judge());
    Ok(())
}

/// How near impulse and mimetic weights have to be to count as alike, points.
const ALIKE: f64 = 1.0;

/// What counts as "much smaller": a quarter.
const MUCH_SMALLER: f64 = 0.25;

fn bound_text(arm: Arm) -> String {
    format!("a quarter of min(N, D) = {}", arm.smaller_side())
}

/// Which of the two models.
fn kind(arm: Arm) -> &'static str {
    if arm.model == super::arms::POOLED { "average pooling" } else { "class token" }
}

/// What is asked beside the claims.
fn controls(questions: &[(&str, Judged)]) -> Table {
    let mut table = comparisons("Controls, and impulse against mimetic, paired by seed", "points", questions);
    table.note(
        "The scrambled pattern of the gradient solve is not sharp: sines and cosines cannot express it, and attention stays nearly \
         uniform. At offsets from the whole grid about half of the patches have no target, inside the window nine in ten do.",
    );
    table
}
