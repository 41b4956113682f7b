//! What the papers claim of trained models, as comparisons of runs.

use super::{
    super::Result,
    arms::{
        ANYWHERE, Arm, DEFAULT, DEFAULT_V, IMPULSE, MIMETIC, MIMETIC_V, POOLED_DEFAULT, POOLED_IMPULSE,
        POOLED_MIMETIC, POOLED_SCRAMBLED, POOLED_TRUNC, SCALED, SCRAMBLED, TRUNC,
    },
    tables::{Measured, When},
};
use crate::{
    Published, Report, Verdict,
    table::{Cell as Entry, Column, Table},
    verdict::{Check, ClaimTest, Comparison, Judged},
};

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
    // Said before the runs: the two are not told apart at this size. A decision either way contradicts that.
    for (impulse, mimetic) in [(POOLED_IMPULSE, POOLED_MIMETIC), (IMPULSE, MIMETIC)] {
        let judged = better(impulse, mimetic, When::End).judge();
        if judged.n > 1 {
            let statement = format!("{}: impulse > mimetic is not decided", kind(impulse));
            both = both.check(Check::equal(statement, judged.verdict, Verdict::Undecided));
        }
        questions.push(("impulse against mimetic", judged));
    }
    report.claim(both.judge());

    let mut confounded = test("si.7")?;
    for part in [MIMETIC_V, SCALED] {
        confounded = confounded.piece(better(part, DEFAULT, When::End));
    }
    report.claim(confounded.judge());
    let parts = "parts of 2505.19985's impulse";
    let local = "whether it has to be local";
    for (group, a, b) in [
        (parts, DEFAULT_V, DEFAULT),
        (parts, IMPULSE, DEFAULT_V),
        (parts, IMPULSE, MIMETIC_V),
        (parts, IMPULSE, SCALED),
        (local, IMPULSE, SCRAMBLED),
        (local, POOLED_IMPULSE, POOLED_SCRAMBLED),
        (local, IMPULSE, ANYWHERE),
    ] {
        questions.push((group, better(a, b, When::End).judge()));
    }
    report.table("controls", controls(&questions));

    let mut low = test("si.3")?;
    for arm in measured
        .scale
        .arms
        .iter()
        .filter(|arm| arm.init.is_some_and(|init| init == "kaiming" || init.starts_with("impulse")))
    {
        for (when, seeded) in measured.largest_rank(*arm) {
            let bound = seeded.iter().map(|(seed, _)| (seed, MUCH_SMALLER * arm.smaller_side())).collect();
            let statement =
                format!("{}, {}: {} > largest stable rank, {when}", kind(*arm), arm.label, bound_text(*arm));
            low = low.piece(Comparison::new(statement, "directions", bound, seeded));
        }
    }
    report.claim(low.judge());
    Ok(())
}

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
    let columns = [
        Column::left("question"),
        Column::left("statement"),
        Column::right("difference, points"),
        Column::right("95 % interval"),
        Column::right("n"),
        Column::left("verdict"),
    ];
    let mut table = Table::new("Controls, and impulse against mimetic, paired by seed", columns);
    for (group, judged) in questions.iter().filter(|(_, judged)| judged.n > 0) {
        let interval = judged.interval.map(|it| format!("{:+.1} to {:+.1}", it.low, it.high));
        table.row([
            Entry::text(*group),
            Entry::text(&judged.statement),
            judged.difference.map_or(Entry::Empty, |it| Entry::text(format!("{it:+.1}"))),
            interval.map_or(Entry::Empty, Entry::text),
            Entry::count(judged.n),
            Entry::text(judged.verdict.to_string()),
        ]);
    }
    table.note(
        "Intervals are Student-t's and not widened for the number of comparisons: of twenty that have no effect one is expected \
         to be decided by chance.",
    );
    table
}
