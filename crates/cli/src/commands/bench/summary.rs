//! What rounds come to: medians, spread, ratios.

use inductive_train::bench::{Mode, Round, flops_per_image};
use serde::Serialize;

use super::protocol::{Answer, Task};

/// A number measured once per round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of `values`, at least one.
    pub fn of(values: &[f64]) -> Self {
        let fold = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        Self { median: median(values), min: fold(f64::min), max: fold(f64::max) }
    }

    /// `amount / self`: what is least becomes most.
    fn divide(self, amount: f64) -> Self {
        Self { median: amount / self.median, min: amount / self.max, max: amount / self.min }
    }
}

/// The middle value, or the mean of the two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// One implementation at one task. Every number is a median over rounds of the median over a round's steps.
#[derive(Debug, Serialize)]
pub struct Side {
    pub software: String,
    pub images_per_s: Spread,
    pub step_ms: Spread,
    pub forward_ms: f64,
    /// In training on the CPU alone, as the optimizer's.
    pub backward_ms: Option<f64>,
    pub optimizer_ms: Option<f64>,
    /// Operations that the logits need per second; none for a peer, which may make more of them.
    pub gflops: Option<f64>,
    /// `gflops` in parts of the peak of matrix products.
    pub share_of_peak: Option<f64>,
    /// The most memory the process has had; `None`: not known.
    pub peak_rss_mib: Option<f64>,
    /// All steps.
    pub rounds: Vec<Round>,
}

impl Side {
    pub fn new(task: &Task, software: String, answers: Vec<Answer>) -> Self {
        let peak_rss_mib = answers.iter().filter_map(|answer| answer.peak_rss_mib).reduce(f64::max);
        let rounds: Vec<Round> = answers.into_iter().map(|answer| answer.round).collect();
        let of = |phase: fn(&Round) -> Vec<f64>| {
            rounds.iter().map(|round| median(&phase(round))).collect::<Vec<f64>>()
        };
        let step_ms = Spread::of(&of(Round::steps));
        let images_per_s = step_ms.divide(task.batch as f64 * 1e3);
        Self {
            software,
            images_per_s,
            step_ms,
            forward_ms: median(&of(|round| round.forward.clone())),
            backward_ms: task.has_phases().then(|| median(&of(|round| round.backward.clone()))),
            optimizer_ms: task.has_phases().then(|| median(&of(|round| round.optimizer.clone()))),
            gflops: None,
            share_of_peak: None,
            peak_rss_mib,
            rounds,
        }
    }
}

/// We divided by the peer.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// Images per second, round by round: more than 1 where we are faster.
    pub speed: Spread,
    /// Peak memory: less than 1 where we need less.
    pub memory: Option<f64>,
}

impl Ratio {
    pub fn new(ours: &Side, peer: &Side) -> Self {
        let pairs = ours.rounds.iter().zip(&peer.rounds);
        let ratios: Vec<f64> = pairs.map(|(a, b)| median(&b.steps()) / median(&a.steps())).collect();
        let memory = ours.peak_rss_mib.zip(peer.peak_rss_mib).map(|(a, b)| a / b);
        Self { speed: Spread::of(&ratios), memory }
    }
}

/// One task, measured.
#[derive(Debug, Serialize)]
pub struct Measurement {
    pub model: String,
    pub image: (usize, usize),
    pub batch: usize,
    pub mode: Mode,
    pub parameters: usize,
    pub flops_per_image: f64,
    pub inductive: Side,
    pub pytorch: Option<Side>,
    pub ratio: Option<Ratio>,
}

impl Measurement {
    pub fn new(task: &Task, parameters: usize, inductive: Side, pytorch: Option<Side>) -> Self {
        Self {
            model: task.spec.name.clone(),
            image: task.spec.image,
            batch: task.batch,
            mode: task.mode,
            parameters,
            flops_per_image: flops_per_image(&task.spec, task.mode),
            ratio: pytorch.as_ref().map(|peer| Ratio::new(&inductive, peer)),
            inductive,
            pytorch,
        }
    }

    /// Both sides by name.
    pub fn sides(&self) -> impl Iterator<Item = (&'static str, &Side)> {
        [("inductive", Some(&self.inductive)), ("pytorch", self.pytorch.as_ref())]
            .into_iter()
            .filter_map(|(name, side)| Some((name, side?)))
    }

    /// Sets what we compute per second, and what part of `peak` (GFLOP/s) that is, where one was measured.
    pub fn set_peak(&mut self, peak: Option<f64>) {
        let gflops = self.inductive.images_per_s.median * self.flops_per_image / 1e9;
        self.inductive.gflops = Some(gflops);
        self.inductive.share_of_peak = peak.map(|peak| gflops / peak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_fastest_step_gives_the_highest_rate() {
        let rate = Spread::of(&[2.0, 4.0, 8.0]).divide(8.0);
        assert_eq!(rate, Spread { median: 2.0, min: 1.0, max: 4.0 });
    }
}
