//! How fast one model computes: rounds of steps on one fixed batch.
//!
//! A step is what training or evaluation does between two batches, without loading data. Where an operation is done when its call
//! returns, each step is timed by phase. A GPU computes on while the clock is read: there [`GROUP`] steps follow each other
//! without a pause, as in a run, the images come from the host's memory every time, and what is told is the mean of a group.

use inductive_nn::ModuleExt;
use std::time::Instant;

use dfdx::prelude::*;
use inductive_models::{BuildOptions, Images, Logits, Model, ModelSpec, Zoo, build};
use inductive_ops::{Backend, DropPath};
use serde::{Deserialize, Serialize};

use crate::{
    AdamW, AdamWConfig, Error, Learner, Recipe, Result, decays, evaluate::to_device, smooth_targets,
    switching::Roles,
};

/// Steps at the beginning of every round that are not counted: caches and the pool of buffers fill up.
pub const WARM_UP: usize = 2;
/// Steps between two looks at the clock where an operation is not done when its call returns.
pub const GROUP: usize = 10;
/// Fewest steps, or groups of them, that a round counts, however long they take.
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
    /// Images to logits; in training also the loss. The whole step where it has no other phase.
    pub forward: Vec<f64>,
    /// Loss to gradients; empty in inference, and on a device that computes on.
    pub backward: Vec<f64>,
    /// Update of the parameters, and freeing the gradients; empty as `backward` is.
    pub optimizer: Vec<f64>,
}

impl Round {
    /// Milliseconds of each whole step.
    pub fn steps(&self) -> Vec<f64> {
        let later = |phase: &[f64], at: usize| phase.get(at).copied().unwrap_or(0.0);
        let step = |(at, forward)| forward + later(&self.backward, at) + later(&self.optimizer, at);
        self.forward.iter().enumerate().map(step).collect()
    }

    /// Whether this can be what was measured: a step at least, all phases of every step, and times that are positive numbers.
    /// phased: whether the phases of a step are told apart.
    pub fn is_sound(&self, phased: bool) -> bool {
        let steps = self.forward.len();
        let later = if phased { steps } else { 0 };
        let times = self.forward.iter().chain(&self.backward).chain(&self.optimizer);
        steps > 0
            && [self.backward.len(), self.optimizer.len()] == [later; 2]
            && times.into_iter().all(|ms| ms.is_finite() && *ms >= 0.0)
            && self.steps().iter().all(|ms| *ms > 0.0)
    }
}

/// A model with new weights, and a batch of images to measure it on.
pub struct Bench<D: Zoo> {
    device: D,
    what: What<D>,
}

enum What<D: Zoo> {
    Inference {
        model: Box<dyn Model<f32, D>>,
        images: Images<f32, D>,
    },
    Training {
        model: Box<dyn Model<f32, D>>,
        images: Images<f32, D>,
        optimizer: AdamW<D>,
        targets: Logits<f32, D>,
    },
    Following {
        learner: Box<Learner<D>>,
        images: Vec<f32>,
        labels: Vec<u32>,
    },
}

/// Whether the phases of a step in `mode` are told apart on `D`.
pub fn has_phases<D: Backend<f32>>(mode: Mode) -> bool {
    mode == Mode::Training && D::WAITS
}

impl<D: Zoo> Bench<D> {
    /// The model `name`, about to be measured on batches of `batch` images.
    ///
    /// # Errors
    /// For a batch of no image or more than [`MOST_BATCH`]; as [`build`].
    pub fn new(device: D, name: &str, batch: usize, classes: usize, mode: Mode) -> Result<Self> {
        let refuse = || {
            let expected = format!("a batch of 1 to {MOST_BATCH} images");
            Error::Batch { of: "bench", expected, got: batch.to_string() }
        };
        if !(1..=MOST_BATCH).contains(&batch) {
            return Err(refuse());
        }
        let spec = ModelSpec { classes, ..inductive_models::find(name)?.spec };
        let (height, width) = spec.image;
        // That a batch is small enough does not say that its pixels can be counted, on a machine of 32 bits.
        let pixels = batch.checked_mul(3 * height * width).ok_or_else(refuse)?;
        let images: Vec<f32> = (0..pixels).map(|at| (at as f32 * 0.37).sin()).collect();
        let labels: Vec<u32> = (0..batch).map(|image| (image % classes) as u32).collect();
        if mode == Mode::Training && !D::WAITS {
            let recipe = Recipe {
                model: name.to_owned(),
                label_smoothing: SMOOTHING,
                drop_path: 0.0,
                ..Recipe::default()
            };
            let learner = Box::new(Learner::new(&device, &recipe, classes)?);
            return Ok(Self { device, what: What::Following { learner, images, labels } });
        }
        let model = build(&device, name, &BuildOptions { classes, ..BuildOptions::default() })?.model;
        let images = to_device(&device, images, batch, spec.image)?;
        let what = match mode {
            Mode::Inference => What::Inference { model, images },
            Mode::Training => {
                let mut optimizer = AdamW::new(&device, &*model, AdamWConfig::default(), decays, |_| false)?;
                optimizer.set_idle(&device, &Roles::of(&*model)?.idle)?;
                let targets = device
                    .try_tensor_from_vec(smooth_targets(&labels, classes, SMOOTHING), (batch, classes))
                    .map_err(|e| Error::device("targets", e))?;
                What::Training { model, images, optimizer, targets }
            }
        };
        Ok(Self { device, what })
    }

    fn model(&self) -> &dyn Model<f32, D> {
        match &self.what {
            What::Inference { model, .. } | What::Training { model, .. } => &**model,
            What::Following { learner, .. } => learner.model(),
        }
    }

    /// Trainable numbers of the model.
    pub fn num_params(&self) -> usize {
        self.model().num_params()
    }

    /// Measures for about `seconds`, after [`WARM_UP`] steps, or groups of them.
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

    /// A step, or a group of them.
    fn step(&mut self, round: &mut Round) -> Result<()> {
        let mut clock = Clock(Instant::now());
        match &mut self.what {
            What::Inference { model, images } => {
                let steps = if D::WAITS { 1 } else { GROUP };
                for step in 1..=steps {
                    let logits = model.forward(images.clone(), None)?;
                    if step == steps && !D::WAITS {
                        // Waits for all of them.
                        logits.as_vec();
                    }
                }
                round.forward.push(clock.lap() / steps as f64);
            }
            What::Training { model, images, optimizer, targets } => {
                let logits = model.forward_train(images.clone().leaky_traced(), DropPath::default())?;
                let loss = self.device.cross_entropy(logits, targets)?;
                round.forward.push(clock.lap());
                let mut gradients = loss.try_backward().map_err(|e| Error::device("backward", e))?;
                round.backward.push(clock.lap());
                optimizer.update(&mut **model, &mut gradients, LR)?;
                drop(gradients);
                round.optimizer.push(clock.lap());
            }
            What::Following { learner, images, labels } => {
                for _ in 0..GROUP {
                    learner.start(images.clone(), labels, LR)?;
                }
                learner.reports()?;
                round.forward.push(clock.lap() / GROUP as f64);
            }
        }
        Ok(())
    }
}

impl<D: Zoo> std::fmt::Debug for Bench<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("model", self.model().spec()).finish()
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
            let mut bench = Bench::new(Cpu::default(), "convit_micro", 2, 10, mode).unwrap();
            let round = bench.round(0.0).unwrap();
            assert_eq!((round.forward.len(), round.backward.len()), (FEWEST, later));
            assert!(round.is_sound(has_phases::<Cpu>(mode)), "{round:?}");
        }
    }

    #[test]
    fn batches_that_cannot_be_meant_are_refused() {
        for batch in [0, MOST_BATCH + 1, usize::MAX] {
            let error = Bench::new(Cpu::default(), "convit_micro", batch, 10, Mode::Inference)
                .unwrap_err()
                .to_string();
            assert!(error.contains("1 to 65536 images") && error.contains(&batch.to_string()), "{error}");
        }
    }

    #[test]
    fn a_training_step_changes_the_weights_and_an_inference_step_does_not() {
        for (mode, changes) in [(Mode::Inference, false), (Mode::Training, true)] {
            let mut bench = Bench::new(Cpu::default(), "deit_micro", 2, 10, mode).unwrap();
            let logits = |bench: &Bench<Cpu>| match &bench.what {
                What::Inference { model, images } | What::Training { model, images, .. } => {
                    model.forward(images.clone(), None).unwrap().as_vec()
                }
                What::Following { .. } => panic!("the CPU waits"),
            };
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
        assert!(round(&[1.0], &[2.0]).is_sound(true));
        assert_eq!(round(&[1.0], &[2.0]).steps(), [5.0]);
        assert!(!round(&[], &[]).is_sound(false));
        assert!(!round(&[1.0], &[]).is_sound(true));
        assert!(!round(&[1.0], &[2.0]).is_sound(false));
        assert!(!round(&[f64::NAN], &[]).is_sound(false));
        assert!(!round(&[0.0], &[]).is_sound(false));
    }
}
