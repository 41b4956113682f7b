//! Results of runs that nobody made: numbers that are drawn from the names of the runs, the same every time.

use inductive_papers::experiments::{Cell, CellResult};
use inductive_train::{Best, Inside, Metrics, RunResult};
use serde_json::{Value, json};

/// A number in `[0, 1)` that the words decide (FNV-1a, stirred).
pub fn number(words: &str) -> f64 {
    let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let stirred = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((stirred ^ (stirred >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Layers of a network, and heads of each.
const LAYERS: usize = 6;
const HEADS: usize = 9;
/// Evaluations of a run.
const EVALUATIONS: usize = 4;

/// A run that has ended. Runs of an arm lie together: between the seeds is little.
pub fn run(cell: &Cell) -> CellResult {
    let arm = format!("{} {}", cell.variant, cell.fraction);
    let draw =
        |what: &str| number(&format!("{arm} {what}")) + 0.05 * number(&format!("{arm} {} {what}", cell.seed));
    let list =
        |what: &str| -> Vec<f64> { (0..LAYERS).map(|layer| draw(&format!("{what} {layer}"))).collect() };
    let point = |at: usize, when: &str| -> Value {
        let attends = !cell.variant.starts_with("never");
        let kind = match at {
            0 => "stem",
            _ if at.is_multiple_of(2) => "mlp",
            _ if attends => "attention",
            _ => "convolution",
        };
        let of = |what: &str| draw(&format!("{when} {what} {at}")) - 0.5;
        let mut point = json!({ "name": format!("operator {at}"), "kind": kind, "downsamples": at == 4, "stream": of("stream") });
        if at > 0 {
            point["branch"] = of("branch").into();
            point["change"] = of("change").into();
        }
        point
    };
    let inside = |when: &str| -> Value {
        let lists =
            ["nonlocality", "head_diversity", "high_frequency", "target_mass", "stable_rank", "nuclear_rank"];
        let mut inside: Value =
            lists.map(|name| (name.to_owned(), json!(list(&format!("{when} {name}"))))).into_iter().collect();
        if cell.recipe.init.is_none() {
            inside["target_mass"] = json!([]);
        }
        inside["fourier"] = (0..LAYERS).map(|at| point(at, when)).collect();
        inside
    };
    let metrics = |at: usize| -> Metrics {
        let when = format!("at {at}");
        let of = |what: &str| draw(&format!("{when} {what}"));
        let top1 = 35.0 + 10.0 * of("top1") + at as f64;
        let mut line = inside(&when);
        let switched: Vec<Option<u64>> = (0..LAYERS)
            .map(|layer| {
                (draw("switched") < 0.8).then_some(((draw("time") * 100.0) as u64 + layer as u64).min(399))
            })
            .collect();
        let positions: Vec<Vec<[f64; 3]>> = (0..LAYERS)
            .map(|layer| {
                let head = |head: usize| {
                    ["dx", "dy", "alpha"].map(|it| 4.0 * of(&format!("{it} {layer} {head}")) - 1.0)
                };
                (0..HEADS).map(head).collect()
            })
            .collect();
        let more = json!({
            "epoch": 2.5 * (at + 1) as f64,
            "step": 100 * (at + 1),
            "train_loss": of("train_loss"),
            "train_top1": 30.0 + of("train_top1"),
            "test_loss": 1.0 + of("test_loss"),
            "test_top1": top1,
            "test_top5": top1 + 40.0 + of("top5"),
            "lr": 1e-3,
            "images_per_s": 100.0,
            "seconds": 10.0 * (at + 1) as f64,
            "gates": list(&format!("{when} gates")),
            "switched": if cell.recipe.switch.is_some() { json!(switched) } else { json!([]) },
            "head_positions": positions,
        });
        for (key, value) in more.as_object().unwrap() {
            line[key] = value.clone();
        }
        serde_json::from_value(line).unwrap()
    };
    let start: Inside = serde_json::from_value(inside("start")).unwrap();
    let metrics: Vec<Metrics> = (0..EVALUATIONS).map(metrics).collect();
    let last = &metrics[EVALUATIONS - 1];
    let best = Best { step: last.step, epoch: last.epoch, top1: last.test_top1 };
    let result = RunResult { metrics, start: Some(start), best, folder: "a-folder".into() };
    CellResult { cell: cell.clone(), result }
}
