//! What is claimed of the time at which layers leave convolution, as comparisons of runs.

use super::{
    super::{
        Result,
        results::{alike, comparisons, seeds_needed},
    },
    arms::{
        Arm, EARLY_FIRST, FROM_START, HELD, LATE_FIRST, NEVER, RANDOM, UNIFORM_25, UNIFORM_50, UNIFORM_75,
    },
    tables::Measured,
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison, Judged, Verdict},
};

/// What may be lost and still count as not worse, points.
const NEGLIGIBLE: f64 = 1.0;

/// Top-5 accuracy over top-1 from which on the classes are guessed.
const GUESSING: f64 = 4.5;

/// Adds the verdicts, and the comparisons that no claim is judged by.
pub(super) fn add(report: &mut Report, measured: &Measured<'_>) -> Result<()> {
    let published = Published::embedded()?;
    let top1 = |arm: Arm| measured.top1(arm);
    let better = |a: Arm, b: Arm| {
        Comparison::new(format!("{} > {}", a.variant, b.variant), "points", top1(a), top1(b))
    };

    let order = published.claim("prs.C7")?;
    let mut at_least = ClaimTest::new(order);
    let mut strictly = ClaimTest { id: format!("{}, strictly better", order.id), ..ClaimTest::new(order) };
    let not_worse = |a: Arm, b: Arm| {
        let shifted = top1(a).iter().map(|(seed, value)| (seed, value + NEGLIGIBLE)).collect();
        let statement = format!("{} + {NEGLIGIBLE} point > {}", a.variant, b.variant);
        Comparison::new(statement, "points", shifted, top1(b))
    };
    for (a, b) in [(LATE_FIRST, UNIFORM_50), (UNIFORM_50, EARLY_FIRST)] {
        at_least = at_least.piece(not_worse(a, b));
        strictly = strictly.piece(better(a, b));
    }
    // Three arms that do not differ pass in any order.
    let reverse = [(EARLY_FIRST, UNIFORM_50), (UNIFORM_50, LATE_FIRST)].map(|(a, b)| not_worse(a, b).judge());
    let measured_reverse = reverse.iter().all(|it| it.n > 1);
    at_least = at_least.observe(
        "the reverse order, early-first at least as good, passes the same test",
        measured_reverse.then(|| reverse.iter().all(|it| it.verdict == Verdict::Holds)),
    );
    report.claim(at_least.judge()).claim(strictly.judge());

    // The 50 % were chosen before the runs: the best of three interior times would beat the ends by luck.
    let above = |a: &Seeded, b: Arm| a.minus(&top1(b)).summary().map(|difference| difference.mean > 0.0);
    let interior = interior(measured);
    report.claim(
        ClaimTest::new(published.claim("prs.C8")?)
            .piece(better(UNIFORM_50, NEVER))
            .piece(better(UNIFORM_50, FROM_START))
            .observe(
                "the mean of the switches at 25, 50 and 75 % is above convolution throughout",
                above(&interior, NEVER),
            )
            .observe("and above attention from the start", above(&interior, FROM_START))
            .observe(best(measured), None)
            .judge(),
    );

    let mut questions: Vec<(&str, Judged)> = Vec::new();
    for (group, a, b) in [
        ("order of depth", LATE_FIRST, UNIFORM_50),
        ("order of depth", UNIFORM_50, EARLY_FIRST),
        ("order of depth", LATE_FIRST, EARLY_FIRST),
        ("against the ends", LATE_FIRST, NEVER),
        ("against the ends", LATE_FIRST, FROM_START),
        ("against the ends", UNIFORM_25, NEVER),
        ("against the ends", UNIFORM_50, NEVER),
        ("against the ends", UNIFORM_75, NEVER),
        ("against the ends", FROM_START, NEVER),
        ("initialised as convolution", FROM_START, RANDOM),
        ("the switch alone", HELD, NEVER),
    ] {
        questions.push((group, better(a, b).judge()));
    }
    let mut table = comparisons("Controls, paired by seed", "points", &questions);
    if let Some((_, held)) = questions.last().filter(|(_, held)| held.n > 0) {
        let same = match alike(held, NEGLIGIBLE) {
            Some(true) => "it is: the 95 % interval is within it",
            Some(false) => "it is not",
            None => "the seeds cannot say",
        };
        table.note(format!(
            "Whether \"held\", which switches as the others but stays with positions, is within {NEGLIGIBLE} point of \
             convolution throughout: {same}. What differs between the two is what the switch does to the optimizer, and \
             trained positions.",
        ));
    }
    report.table("controls", table);
    next_steps(report, measured, &questions);
    Ok(())
}

/// Mean of the arms that switch all layers within the run, by seed.
fn interior(measured: &Measured<'_>) -> Seeded {
    let [a, b, c] = [UNIFORM_25, UNIFORM_50, UNIFORM_75].map(|arm| measured.top1(arm));
    a.paired_with(&b, |a, b| a + b).paired_with(&c, |ab, c| (ab + c) / 3.0)
}

/// Which of the times was best in the mean: said, not judged.
fn best(measured: &Measured<'_>) -> String {
    let arms = super::arms::SWEEP
        .iter()
        .filter_map(|(percent, arm)| Some((percent, measured.top1(*arm).summary()?.mean)));
    match arms.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((percent, mean)) => {
            format!("the best mean over seeds is at {percent} % ({mean:.1} %), whether by luck")
        }
        None => "no time was measured".to_owned(),
    }
}

/// What would decide what is undecided.
fn next_steps(report: &mut Report, measured: &Measured<'_>, questions: &[(&str, Judged)]) {
    for (_, judged) in questions.iter().filter(|(group, _)| *group == "order of depth") {
        let Some(difference) = judged.difference else { continue };
        if let Some(seeds) = seeds_needed(judged) {
            report.next_step(format!(
                "{}: {difference:+.1} points so far, undecided; at this mean and spread {seeds} paired seeds would decide \
                 it (`--seeds {seeds}`; finished runs are kept)",
                judged.statement
            ));
        }
    }
    // Who guesses is right five times as often with five guesses.
    let guesses = measured.of(NEVER, |m| m.test_top5 / m.test_top1).summary();
    if guesses.is_some_and(|times| times.mean > GUESSING) {
        report.next_step(
            "data or length from which the network learns: here it guesses (top-5 is nearly five times top-1), so no \
             comparison of accuracies says anything",
        );
    }
    let share = measured.of(LATE_FIRST, |m| m.gates.iter().sum::<f64>() / m.gates.len() as f64);
    if let Some(share) = share.summary() {
        report.next_step(format!(
            "more freedom after the switch: with late layers first the share of position at the end is still {:.3} (mean \
             over layers and seeds), so the arms differ in little but the time; an initial gate below 1 or softer \
             positions leave convolution sooner, at the price of the function",
            share.mean
        ));
    }
    report.next_step(
        "longer runs: the effect of a switch that comes in early training may not be that of one in 300 epochs",
    );
    report.next_step(
        "the paper's own architecture, switch times and CIFAR-100 protocol, once its text is at hand; until then no number \
         of it stands beside these",
    );
}
