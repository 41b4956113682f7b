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

/// Adds the verdicts, and a table of every comparison.
pub(super) fn add(report: &mut Report, measured: &Measured<'_>) -> Result<()> {
    let published = Published::embedded()?;
    let test = |id: &str| Ok::<_, crate::Error>(ClaimTest::new(published.claim(id)?));
    let better = |a: Arm, b: Arm, when: When| {
        let statement = format!("{}: {} > {}{}", kind(a), a.label, b.label, when.suffix());
        Comparison::new(statement, "points", measured.top1(a, when), measured.top1(b, when))
    };

    let mut questions: Vec<(&str, Judged)> = Vec::new();
    let mut ask = |group: &'static str, comparison: &Comparison| {
        questions.push((group, comparison.judge()));
        comparison.clone()
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
            both = both.piece(ask("designed against plain", &better(designed, plain, when)));
        }
    }
    // Said before the runs: the two are not told apart at this size. A decision either way contradicts that.
    for (impulse, mimetic) in [(POOLED_IMPULSE, POOLED_MIMETIC), (IMPULSE, MIMETIC)] {
        let comparison = better(impulse, mimetic, When::End);
        let judged = ask("impulse against mimetic", &comparison).judge();
        if judged.n > 1 {
            let statement = format!("{}: impulse > mimetic is not decided", kind(impulse));
            both = both.check(Check::equal(statement, judged.verdict, Verdict::Undecided));
        }
    }
    report.claim(both.judge());

    let mut confounded = test("si.7")?;
    for part in [MIMETIC_V, SCALED] {
        confounded =
            confounded.piece(ask("parts of 2505.19985's impulse", &better(part, DEFAULT, When::End)));
    }
    for (a, b) in [(DEFAULT_V, DEFAULT), (IMPULSE, DEFAULT_V), (IMPULSE, MIMETIC_V), (IMPULSE, SCALED)] {
        let comparison = ask("parts of 2505.19985's impulse", &better(a, b, When::End));
        confounded = confounded.observe(comparison.statement.clone(), decided(&comparison));
    }
    for (local, control) in [(IMPULSE, SCRAMBLED), (POOLED_IMPULSE, POOLED_SCRAMBLED), (IMPULSE, ANYWHERE)] {
        let comparison = ask("whether it has to be local", &better(local, control, When::End));
        confounded = confounded.observe(comparison.statement.clone(), decided(&comparison));
    }
    report.claim(confounded.judge());
    report.table("comparisons", table(&questions));
    Ok(())
}

/// Which of the two models.
fn kind(arm: Arm) -> &'static str {
    if arm.model == super::arms::POOLED { "average pooling" } else { "class token" }
}

/// Whether the seeds show it; `None` where they say neither.
fn decided(comparison: &Comparison) -> Option<bool> {
    match comparison.judge().verdict {
        Verdict::Holds => Some(true),
        Verdict::Fails => Some(false),
        Verdict::Undecided => None,
    }
}

/// Every comparison that was measured.
fn table(questions: &[(&str, Judged)]) -> Table {
    let columns = [
        Column::left("question"),
        Column::left("statement"),
        Column::right("difference, points"),
        Column::right("95 % interval"),
        Column::right("n"),
        Column::left("verdict"),
    ];
    let mut table = Table::new("Every comparison, paired by seed", columns);
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
