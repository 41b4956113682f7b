//! How fast one model computes: rounds of steps on one fixed batch, each step timed by phase.
//!
//! A step is what training or evaluation does between two batches, without loading data. CPU only: another device would
//! compute on while the clock is read.

use inductive_nn::ModuleExt;
use std::time::Instant;

use dfdx::prelude::*;
use inductive_models::{BuildOptions, Images, Logits, Model, ModelSpec, build};
use inductive_ops::{Backend as _, DropPath};
use serde::{Deserialize, Serialize};

use crate::{
    AdamW, AdamWConfig, Error, Result, decays, evaluate::to_device, smooth_targets, switching::Roles,
};

/// Steps at the beginning of every round that are not counted: caches and the pool of buffers fill up.
pub const WARM_UP: usize = 2;
/// Fewest steps that a round counts, however long they take.
pub const FEWEST: usize = 3;
/// Most images of a batch.
pub const MOST_BATCH: usize = 1 << 16;
/// Learning rate of the updates.
pub const LR: f64 = 1e-4;
/// Label smoothing of the targets.
pub const SMOOTHING: f64 = 0.1;

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Logits of a batch, without gradients.
    Inference,
    /// Forward pass without drop path, cross-entropy with soft targets, backward pass, AdamW over all parameters.
    Training,
}

impl Mode {
    /// `inference` or `training`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Training => "training",
        }
    }
}

/// Floating-point operations that one image needs, two for a multiplication with addition, matrix products alone.
///
/// Forward: [`ModelSpec::macs_of_logits`]. Training: twice as many again for the gradients, without that of the images.
/// What is computed a second time in the backward pass instead of being kept does not count.
pub fn flops_per_image(spec: &ModelSpec, mode: Mode) -> f64 {
    let forward = 2.0 * spec.macs_of_logits() as f64;
    match mode {
        Mode::Inference => forward,
        Mode::Training => 3.0 * forward - 2.0 * spec.patch_macs() as f64,
    }
}

/// The steps of one round: milliseconds of each phase, one number per step. A step is the sum of its phases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Images to logits; in training also the loss.
    pub forward: Vec<f64>,
    /// Loss to gradients; empty in inference.
    pub backward: Vec<f64>,
    /// Update of the parameters, and freeing the gradients; empty in inference.
    pub optimizer: Vec<f64>,
}

impl Round {
    /// Milliseconds of each whole step.
    pub fn steps(&self) -> Vec<f64> {
        let later = |phase: &[f64], at: usize| phase.get(at).copied().unwrap_or(0.0);
        let step = |(at, forward)| forward + later(&self.backward, at) + later(&self.optimizer, at);
        self.forward.iter().enumerate().map(step).collect()
    }

    /// Whether this can be what was measured in `mode`: a step at least, all phases of every step, and times that are
    /// positive numbers.
    pub fn is_sound(&self, mode: Mode) -> bool {
        let steps = self.forward.len();
        let later = if mode == Mode::Training { steps } else { 0 };
        let times = self.forward.iter().chain(&self.backward).chain(&self.optimizer);
        steps > 0
            && [self.backward.len(), self.optimizer.len()] == [later; 2]
            && times.into_iter().all(|ms| ms.is_finite() && *ms >= 0.0)
            && self.steps().iter().all(|ms| *ms > 0.0)
    }
}

/// A model with new weights, and a batch of images to measure it on.
pub struct Bench {
    model: Box<dyn Model<f32, Cpu>>,
    optimizer: Option<AdamW<Cpu>>,
    images: Images<f32, Cpu>,
    targets: Logits<f32, Cpu>,
    device: Cpu,
}

impl Bench {
    /// The model `name`, about to be measured on batches of `batch` images.
    ///
    /// # Errors
    /// For a batch of no image or more than [`MOST_BATCH`]; as [`build`].
    pub fn new(name: &str, batch: usize, classes: usize, mode: Mode) -> Result<Self> {
        let refuse = || {
            let expected = format!("a batch of 1 to {MOST_BATCH} images");
            Error::Batch { of: "bench", expected, got: batch.to_string() }
        };
        if !(1..=MOST_BATCH).contains(&batch) {
            return Err(refuse());
        }
        let device = Cpu::seed_from_u64(0);
        let model = build(&device, name, &BuildOptions { classes, ..BuildOptions::default() })?.model;
        let optimizer = match mode {
            Mode::Inference => None,
            Mode::Training => {
                let mut optimizer = AdamW::new(&device, &*model, AdamWConfig::default(), decays, |_| false)?;
                optimizer.set_idle(&device, &Roles::of(&*model)?.idle)?;
                Some(optimizer)
            }
        };
        let (height, width) = model.spec().image;
        // That a batch is small enough does not say that its pixels can be counted, on a machine of 32 bits.
        let pixels = batch.checked_mul(3 * height * width).ok_or_else(refuse)?;
        let waves = (0..pixels).map(|at| (at as f32 * 0.37).sin()).collect();
        let images = to_device(&device, waves, batch, (height, width))?;
        let labels: Vec<u32> = (0..batch).map(|image| (image % classes) as u32).collect();
        let targets = device
            .try_tensor_from_vec(smooth_targets(&labels, classes, SMOOTHING), (batch, classes))
            .map_err(|e| Error::device("targets", e))?;
        Ok(Self { model, optimizer, images, targets, device })
    }

    /// Trainable numbers of the model.
    pub fn num_params(&self) -> usize {
        self.model.num_params()
    }

    /// Measures for about `seconds`, after [`WARM_UP`] steps.
    ///
    /// # Errors
    /// Those of the model's operations.
    pub fn round(&mut self, seconds: f64) -> Result<Round> {
        for _ in 0..WARM_UP {
            self.step(&mut Round::default())?;
        }
        let (start, mut round) = (Instant::now(), Round::default());
        while round.forward.len() < FEWEST || start.elapsed().as_secs_f64() < seconds {
            self.step(&mut round)?;
        }
        Ok(round)
    }

    fn step(&mut self, round: &mut Round) -> Result<()> {
        let mut clock = Clock(Instant::now());
        let Some(optimizer) = &mut self.optimizer else {
            self.model.forward(self.images.clone(), None)?;
            round.forward.push(clock.lap());
            return Ok(());
        };
        let logits = self.model.forward_train(self.images.clone().leaky_traced(), DropPath::default())?;
        let loss = self.device.cross_entropy(logits, &self.targets)?;
        round.forward.push(clock.lap());
        let mut gradients = loss.try_backward().map_err(|e| Error::device("backward", e))?;
        round.backward.push(clock.lap());
        optimizer.update(&mut *self.model, &mut gradients, LR)?;
        drop(gradients);
        round.optimizer.push(clock.lap());
        Ok(())
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("model", self.model.spec())
            .field("images", &self.images.shape())
            .finish()
    }
}

struct Clock(Instant);

impl Clock {
    /// Milliseconds since the lap before.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - self.0;
        self.0 = now;
        lap.as_secs_f64() * 1e3
    }
}

/// The most memory this process has had, in MiB (Linux's `VmHWM`); `None` where the system does not say.
pub fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_round_has_three_phases_and_an_inference_round_one() {
        for (mode, later) in [(Mode::Inference, 0), (Mode::Training, FEWEST)] {
            let mut bench = Bench::new("convit_micro", 2, 10, mode).unwrap();
            let round = bench.round(0.0).unwrap();
            assert_eq!((round.forward.len(), round.backward.len()), (FEWEST, later));
            assert!(round.is_sound(mode), "{round:?}");
        }
    }

    #[test]
    fn batches_that_cannot_be_meant_are_refused() {
        for batch in [0, MOST_BATCH + 1, usize::MAX] {
            let error = Bench::new("convit_micro", batch, 10, Mode::Inference).unwrap_err().to_string();
            assert!(error.contains("1 to 65536 images") && error.contains(&batch.to_string()), "{error}");
        }
    }

    #[test]
    fn a_training_step_changes_the_weights_and_an_inference_step_does_not() {
        for (mode, changes) in [(Mode::Inference, false), (Mode::Training, true)] {
            let mut bench = Bench::new("deit_micro", 2, 10, mode).unwrap();
            let logits = |bench: &Bench| bench.model.forward(bench.images.clone(), None).unwrap().as_vec();
            let before = logits(&bench);
            bench.step(&mut Round::default()).unwrap();
            assert_eq!(logits(&bench) != before, changes, "{mode:?}");
        }
    }

    #[test]
    fn rounds_that_cannot_have_been_measured_are_not_sound() {
        let round = |forward: &[f64], backward: &[f64]| Round {
            forward: forward.to_vec(),
            backward: backward.to_vec(),
            optimizer: backward.to_vec(),
        };
        assert!(round(&[1.0], &[2.0]).is_sound(Mode::Training));
        assert_eq!(round(&[1.0], &[2.0]).steps(), [5.0]);
        assert!(!round(&[], &[]).is_sound(Mode::Inference));
        assert!(!round(&[1.0], &[]).is_sound(Mode::Training));
        assert!(!round(&[1.0], &[2.0]).is_sound(Mode::Inference));
        assert!(!round(&[f64::NAN], &[]).is_sound(Mode::Inference));
        assert!(!round(&[0.0], &[]).is_sound(Mode::Inference));
    }
}
