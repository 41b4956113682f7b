//! The result as files: JSON with every step's time, CSV with one line per model, mode and side.

use inductive_checkpoint::write_atomic;
use serde_json::json;

use super::{
    Outcome,
    plan::{CLASSES, Plan},
    summary::{Measurement, Side},
};
use crate::error::Result;

/// Writes the files that were asked for.
pub fn write(plan: &Plan, outcome: &Outcome) -> Result<()> {
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&document(plan, outcome)).map_err(std::io::Error::from)?;
        write_atomic(path, format!("{text}\n").as_bytes())?;
    }
    if let Some(path) = &plan.csv {
        write_atomic(path, csv(plan, outcome).as_bytes())?;
    }
    Ok(())
}

fn document(plan: &Plan, outcome: &Outcome) -> serde_json::Value {
    let best = outcome.best_peak();
    let peak = (!outcome.peaks.is_empty()).then(|| {
        json!({ "gflops": best.gflops, "lowest_gflops": outcome.lowest_peak(), "shape": best.shape, "threads": best.threads })
    });
    json!({
        "format": 1,
        "complete": outcome.complete,
        "machine": plan.machine,
        "settings": { "rounds": plan.rounds, "seconds": plan.seconds, "classes": CLASSES, "python": plan.python },
        "peak": peak,
        "measurements": outcome.measurements,
        "loader": outcome.loader,
    })
}

const HEAD: &str = "model,batch,mode,side,parameters,images_per_s,images_per_s_min,images_per_s_max,step_ms,forward_ms,\
                    backward_ms,optimizer_ms,gflops,share_of_peak,peak_rss_mib,ratio,ratio_min,ratio_max,memory_ratio,\
                    rounds,threads";

/// Names of models need no quotes. What was not measured is empty.
fn csv(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!("{HEAD}\n");
    for m in &outcome.measurements {
        for (name, side) in m.sides() {
            let (rounds, threads) = (plan.rounds, plan.machine.threads);
            text += &format!("{},{},{},{name},{}", m.model, m.batch, m.mode.name(), m.parameters);
            for value in numbers(m, side, name == "inductive") {
                text += &value.map_or_else(|| ",".to_owned(), |value| format!(",{value}"));
            }
            text += &format!(",{rounds},{threads}\n");
        }
    }
    text
}

/// The columns from `images_per_s` to `memory_ratio`. The ratios stand in our line.
fn numbers(m: &Measurement, side: &Side, is_ours: bool) -> [Option<f64>; 14] {
    let (rate, ratio) = (side.images_per_s, m.ratio.as_ref().filter(|_| is_ours));
    let speed = ratio.map(|ratio| ratio.speed);
    [
        Some(rate.median),
        Some(rate.min),
        Some(rate.max),
        Some(side.step_ms.median),
        Some(side.forward_ms),
        side.backward_ms,
        side.optimizer_ms,
        side.gflops,
        side.share_of_peak,
        side.peak_rss_mib,
        speed.map(|speed| speed.median),
        speed.map(|speed| speed.min),
        speed.map(|speed| speed.max),
        ratio.and_then(|ratio| ratio.memory),
    ]
}
