//! The result as a person reads it: tables, the peak, the loader, what to do next.

use inductive_files::shown;
use inductive_ops::roof::Roof;
use inductive_report::table::{Cell, Column, Table};
use inductive_train::bench::{GROUP, Mode};

use super::{
    Outcome,
    loader::LoaderSpeed,
    plan::{CLASSES, Plan},
    summary::{Measurement, Ratio, Side, Spread},
};
use crate::{
    device::Kind,
    error::Result,
    output::{say, say_prose, say_set, terminal},
};

/// On a machine that does nothing else, no peak is below this part of the best.
const QUIET: f64 = 0.85;

/// Prints all of `outcome`.
pub fn show(plan: &Plan, outcome: &Outcome) -> Result<()> {
    say_set(format!("\n{}", speeds(plan, outcome).terminal(&terminal())))?;
    let variant = plan.tasks.first().map_or("eager", |task| &task.variant);
    if let Some(table) = comparison(&outcome.measurements, variant) {
        say_set(format!("\n{}", table.terminal(&terminal())))?;
    }
    if !outcome.peaks.is_empty() {
        say_prose(format!("\n{}", peak(outcome)))?;
    }
    if let Some(speed) = &outcome.loader {
        say_prose(loader(speed))?;
    }
    if !outcome.peaks.is_empty() && outcome.lowest_peak() < QUIET * outcome.best_peak().gflops {
        say("note: the peak fell at times: something else computed here. Measure again on a quiet machine.")?;
    }
    Ok(())
}

/// Prints which files there are.
pub fn files(plan: &Plan) -> Result<()> {
    for path in [&plan.json, &plan.csv].into_iter().flatten() {
        say(format!("written: {}", shown(path.display())))?;
    }
    Ok(())
}

/// Prints what to do next.
pub fn next(plan: &Plan) -> Result<()> {
    say(advice(plan))
}

/// The line about a finished measurement.
pub fn progress(measurement: &Measurement) -> String {
    let mut line = format!("{} images/s", range(measurement.inductive.images_per_s, 1));
    if let (Some(peer), Some(ratio)) = (&measurement.pytorch, &measurement.ratio) {
        line += &format!(", PyTorch {}, ratio {}", range(peer.images_per_s, 1), range(ratio.speed, 2));
    }
    line
}

/// `2.50 (2.41 to 2.63)`
fn range(spread: Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
}

fn speeds(plan: &Plan, outcome: &Outcome) -> Table {
    let machine = &plan.machine;
    let cpu = machine.cpu.as_deref().unwrap_or("unknown processor");
    let device = if plan.device == Kind::Cpu { String::new() } else { format!("{} beside ", plan.device) };
    let title = format!("inductive {}: {device}{} threads, {cpu}", machine.version, machine.threads);
    let heads =
        ["batch", "images/s", "forward ms", "backward ms", "update ms", "GFLOP/s", "% of peak", "MiB"];
    let columns = [Column::left("model"), Column::left("mode")].into_iter().chain(heads.map(Column::right));
    let mut table = Table::new(title, columns);
    for m in &outcome.measurements {
        let name = [Cell::text(&m.model), Cell::text(m.mode.name()), Cell::count(m.batch)];
        table.row(name.into_iter().chain(speed(&m.inductive)));
    }
    let (rounds, seconds) = (plan.rounds, plan.seconds);
    table.note(format!(
        "f32, {CLASSES} classes; medians over rounds ({rounds}, of about {seconds} s after warm-up) of a round's median \
         step; MiB: peak resident memory of the process."
    ));
    if outcome.measurements.iter().any(|m| m.mode == Mode::Training) {
        table.note(
            "training: forward pass, cross-entropy with soft targets, backward pass, AdamW; no drop path.",
        );
    }
    if plan.device != Kind::Cpu {
        table.note(format!(
            "{}: {GROUP} steps follow each other between two looks at the clock; in training the images come from the host's memory \
             in each. MiB: of the host.",
            plan.device
        ));
    }
    table
}

fn speed(side: &Side) -> [Cell; 7] {
    let number =
        |value: Option<f64>, decimals| value.map_or(Cell::Empty, |value| Cell::number(value, decimals));
    [
        rate(side.images_per_s.median),
        Cell::number(side.forward_ms, 2),
        number(side.backward_ms, 2),
        number(side.optimizer_ms, 2),
        number(side.gflops, 1),
        number(side.share_of_peak.map(|share| 100.0 * share), 1),
        memory(side.peak_rss_mib),
    ]
}

fn rate(images_per_s: f64) -> Cell {
    Cell::number(images_per_s, if images_per_s < 1000.0 { 1 } else { 0 })
}

fn memory(mib: Option<f64>) -> Cell {
    mib.map_or_else(|| Cell::text("not known"), |mib| Cell::number(mib, 0))
}

/// Ours beside the peer's; none without a peer.
fn comparison(measurements: &[Measurement], variant: &str) -> Option<Table> {
    let software = &measurements.iter().find_map(|m| m.pytorch.as_ref())?.software;
    let heads = ["batch", "images/s", "PyTorch", "ratio", "min", "max", "MiB", "PyTorch MiB", "memory ratio"];
    let columns = [Column::left("model"), Column::left("mode")].into_iter().chain(heads.map(Column::right));
    let mut table = Table::new(format!("inductive beside {software}"), columns);
    for m in measurements {
        let (Some(peer), Some(Ratio { speed, memory: less })) = (&m.pytorch, &m.ratio) else { continue };
        table.row([
            Cell::text(&m.model),
            Cell::text(m.mode.name()),
            Cell::count(m.batch),
            rate(m.inductive.images_per_s.median),
            rate(peer.images_per_s.median),
            Cell::number(speed.median, 2),
            Cell::number(speed.min, 2),
            Cell::number(speed.max, 2),
            memory(m.inductive.peak_rss_mib),
            memory(peer.peak_rss_mib),
            less.map_or(Cell::Empty, |ratio| Cell::number(ratio, 2)),
        ]);
    }
    table.note("ratio: inductive / PyTorch, above 1 where inductive is faster; median, min and max over rounds in alternation.");
    table.note(
        "PyTorch: the same model in timm, EIT in our own code; as many threads, the same targets, AdamW in torch's default \
         implementation.",
    );
    table.note(match variant {
        "compiled" => "f32 on both sides, PyTorch by torch.compile.",
        "amp" => "inductive in f32; PyTorch by torch.compile with operands in bf16.",
        _ => "f32 on both sides, PyTorch eager.",
    });
    table.note(
        "PyTorch computes all tokens of the last block, inductive the class token's alone (the same logits and gradients); \
         GFLOP/s count the operations that the logits need.",
    );
    Some(table)
}

fn peak(outcome: &Outcome) -> String {
    let Roof { gflops, shape: [m, n, k], threads } = outcome.best_peak();
    let (count, lowest) = (outcome.peaks.len(), outcome.lowest_peak());
    format!(
        "peak: {gflops:.0} GFLOP/s in matrix products of {m} x {k} x {n} on {threads} threads, the best of {count} looks \
         around the models (lowest: {lowest:.0})"
    )
}

fn loader(speed: &LoaderSpeed) -> String {
    let line = format!("loader alone: {} images/s", range(speed.images_per_s, 0));
    let beside = match &speed.beside {
        Some(b) => {
            format!(
                "{:.0} times the {:.0} that {} batch {} trains on",
                b.times, b.images_per_s, b.model, b.batch
            )
        }
        None => "no training at 32 pixels to compare with".to_owned(),
    };
    format!("{line}, {beside}\n    ({})", speed.data)
}

fn advice(plan: &Plan) -> String {
    if plan.machine.build != "release" {
        return "next: measure a release build (`cargo xtask bench`); this one is slow".to_owned();
    }
    match (&plan.python, &plan.json) {
        (None, _) => {
            "next: the same command with --peer pytorch measures PyTorch beside it (needs Python with torch and timm)".to_owned()
        }
        (_, None) => "next: the same command with --json FILE keeps every step's time, with --csv FILE the medians".to_owned(),
        _ => "next: the same command after a change, with another --json FILE, shows what it did".to_owned(),
    }
}
