//! Training: from a [`Recipe`] to a folder with weights and metrics.
//!
//! | item | what it does |
//! |---|---|
//! | [`Recipe`] | everything that decides a run's result, as TOML |
//! | [`Run`] | a run of a recipe, or of parts: model, data, transforms, schedule, [`Hook`]s and [`Gauge`]s |
//! | [`train`] | makes or continues the run of a recipe in a folder; [`finished`] reads a stored result |
//! | [`Initial`] | the weights that a run begins with |
//! | [`load_weights`] | weights of a file, with positions of another grid resampled |
//! | [`Learner`] | model, optimizer and average: one update at a time, without files |
//! | [`AdamW`], [`Ema`], [`decays`] | the parts of an update |
//! | [`Plan`] | lengths in steps and the learning rate of every step |
//! | [`evaluate`] | loss, top-1 and top-5 on a set; [`evaluate_finite`] refuses weights that give none |
//! | [`Probe`] | a fixed batch of test images, and what the layers do to it |
//! | [`frequencies()`] | which frequencies every operator of a model leaves and adds |
//! | [`Progress`] | what a run tells while it runs |
//! | [`mod@bench`] | how fast a model computes, without data and files |
//!
//! Invariants:
//! - A run is a function of (recipe, data). It does not depend on the number of threads, and a run that was stopped or
//!   killed at any moment and continued has the bits of one that was not.
//! - A checkpoint is never overwritten by weights that are not finite.
//!
//! ```no_run
//! use dfdx::prelude::Cpu;
//! use inductive_train::{Outcome, Recipe, Silent, TrainOptions, train};
//!
//! let recipe = Recipe::from_toml("model = \"convit_micro\"\nepochs = 5", "recipe.toml")?;
//! let data = recipe.load_data()?;
//! let options = TrainOptions::default();
//! match train(&Cpu::default(), &recipe, &data, "runs/first", &options, &mut Silent)? {
//!     Outcome::Finished(result) => println!("best top-1 {:.1} %", result.best.top1),
//!     Outcome::Interrupted { step, folder, .. } => println!("{step} updates are kept in {}", folder.display()),
//!     _ => {}
//! }
//! # Ok::<(), inductive_train::Error>(())
//! ```

#[cfg(test)]
mod batch_norm_tests;
pub mod bench;
mod by_name;
mod course;
mod data;
mod diagnose;
mod ema;
mod environment;
mod error;
mod evaluate;
mod folder;
mod freeze;
mod frequencies;
mod groups;
mod hook;
mod initial;
mod learner;
mod loss;
mod metrics;
mod optimizer;
mod outcome;
mod plan;
mod probe;
mod progress;
mod recipe;
mod repeat;
mod run;
mod seeds;
mod spread;
mod state;
mod switching;
#[cfg(test)]
mod switching_tests;
mod weights;

pub use data::check_size;
pub use diagnose::check_weights;
pub use ema::Ema;
pub use environment::Environment;
pub use error::{Error, Result};
pub use evaluate::{Evaluation, check_logits, evaluate, evaluate_finite};
pub use frequencies::{FourierPoint, frequencies};
pub use groups::decays;
pub use hook::{Gauge, Hook, HookState, Now};
pub use initial::Initial;
pub use learner::{Learner, StepReport};
pub use loss::smooth_targets;
pub use metrics::{Metrics, read_metrics};
pub use optimizer::{AdamW, AdamWConfig, clip_coefficient, global_norm};
pub use outcome::{Outcome, RunResult, SaveEvery, TrainOptions, finished};
pub use plan::Plan;
pub use probe::{Inside, Probe, mass_on_targets};
pub use progress::{Progress, RunInfo, Silent, StepInfo, SwitchInfo};
pub use recipe::{
    Augment, Choice, Difference, ImageSize, Init, Keep, Named, Recipe, SubsetSpec, SwitchRecipe, Synthetic,
};
pub use run::{Run, train};
pub use state::Best;
pub use weights::{build_options_of, load_file, load_weights};
