//! What `bench` and its measuring processes tell each other: one line of JSON each, the same for ours and for PyTorch.
//!
//! A process is given a [`Task`], says [`Ready`] when the model is built, answers every line [`RUN`] of its input with an
//! [`Answer`], and ends with its input.

use std::time::Duration;

use inductive_models::ModelSpec;
use inductive_train::{
    AdamWConfig,
    bench::{FEWEST, GROUP, LR, Mode, Round, SMOOTHING, WARM_UP},
};
use serde::{Deserialize, Serialize};

use crate::device::Kind;

/// Asks for a round.
pub const RUN: &str = "run";

/// What a process measures. A peer needs no names of models: the numbers say what to build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub spec: ModelSpec,
    pub batch: usize,
    pub mode: Mode,
    pub threads: usize,
    /// `cpu` or `cuda:0`
    pub device: String,
    /// How the peer computes: `eager`, `compiled`, or `amp`, compiled with operands in bf16.
    pub variant: String,
    /// Steps between two looks at the clock: 1, or more on a device that computes on while it is read.
    pub group: usize,
    /// Length of a round.
    pub seconds: f64,
    /// Steps before a round that are not counted.
    pub warm_up: usize,
    /// Steps that a round counts at least.
    pub fewest: usize,
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    pub smoothing: f64,
}

impl Task {
    /// On the CPU; [`Task::on`] is for others.
    pub fn new(spec: ModelSpec, batch: usize, mode: Mode, threads: usize, seconds: f64) -> Self {
        let AdamWConfig { betas, eps, weight_decay, .. } = AdamWConfig::default();
        Self {
            spec,
            batch,
            mode,
            threads,
            device: "cpu".to_owned(),
            variant: "eager".to_owned(),
            group: 1,
            seconds,
            warm_up: WARM_UP,
            fewest: FEWEST,
            lr: LR,
            betas,
            eps,
            weight_decay,
            smoothing: SMOOTHING,
        }
    }

    /// On this device.
    pub fn on(self, device: Kind) -> Self {
        let group = if device == Kind::Cpu { 1 } else { GROUP };
        Self { device: device.to_string(), group, ..self }
    }

    /// Whether the phases of a step are told apart.
    pub fn has_phases(&self) -> bool {
        self.mode == Mode::Training && self.group == 1
    }

    /// How long a process may take for an answer: far longer than any that works needs.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(600) + Duration::from_secs_f64(20.0 * self.seconds)
    }

    /// `convit_micro batch 128 training`
    pub fn title(&self) -> String {
        format!("{} batch {} {}", self.spec.name, self.batch, self.mode.name())
    }
}

/// The model is built.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Trainable numbers.
    pub parameters: usize,
    /// What computes, with versions.
    pub software: String,
}

/// One round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    #[serde(flatten)]
    pub round: Round,
    /// The most memory the process has had; `None` where the system does not say.
    pub peak_rss_mib: Option<f64>,
}

/// In place of [`Ready`]: a Python module that cannot be imported.
#[derive(Debug, Deserialize)]
pub struct Missing {
    /// Its name.
    pub missing: String,
    /// What Python says.
    pub reason: String,
}
