//! Values over time: learning rate, drop path, EMA decay; and the times at which layers switch.
//!
//! A schedule is a pure function of time. It keeps no state and counts no calls, so a resumed run reads the same values
//! as one that was never stopped.
//!
//! ```
//! use inductive_schedule::{Clock, CosineWarmup, Progress, Schedule};
//!
//! let lr = CosineWarmup::new(300.0, 1e-3).with_warmup(5.0, 1e-6).with_min_lr(1e-5);
//! let progress = Progress { step: 1000, steps_per_epoch: 500, total_steps: 150_000 };
//! assert_eq!(lr.at(progress, Clock::Epoch), lr.value(2.0));
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `progress` | where a run is, and the clocks that read it |
//! | `cosine` | timm's cosine with warm-up |
//! | `drop_path`, `ema` | rates over depth, decay over updates |
//! | `duration` | "300 epochs", "5%", ... rounded once to steps |
//! | [`length`] | a duration in a recipe, where a number is epochs |
//! | `switch` | when each layer leaves convolution (PRS) |

mod cosine;
mod drop_path;
mod duration;
mod ema;
mod error;
pub mod length;
mod progress;
mod switch;

pub use cosine::CosineWarmup;
pub use drop_path::drop_path_rates;
pub use duration::{Duration, RunSize};
pub use ema::EmaDecay;
pub use error::{Error, Result};
pub use progress::{Clock, Progress};
pub use switch::SwitchTimes;

/// A pure function of time to a value.
///
/// Time is a number in the unit the schedule was written for: epochs for a learning rate, updates for an EMA, a
/// fraction of the run for anything that should stretch with it. [`Clock`] turns a run's [`Progress`] into that number.
/// Schedules are defined for every time, before their start and after their end included. Their `Debug` text tells them apart: a run
/// that goes on with another is refused.
///
/// ```
/// use inductive_schedule::{Clock, Progress, Schedule};
///
/// /// A tenth after every third of the run.
/// #[derive(Debug)]
/// struct Stairs(f64);
///
/// impl Schedule for Stairs {
///     fn value(&self, fraction: f64) -> f64 {
///         self.0 * 0.1_f64.powi((fraction * 3.0) as i32)
///     }
/// }
/// let progress = Progress { step: 50, steps_per_epoch: 10, total_steps: 100 };
/// assert_eq!(Stairs(1e-3).at(progress, Clock::Fraction), 1e-3 * 0.1);
/// ```
pub trait Schedule: std::fmt::Debug {
    /// The value at time `t`.
    fn value(&self, t: f64) -> f64;

    /// The value at this point of a run, read with `clock`.
    fn at(&self, progress: Progress, clock: Clock) -> f64 {
        self.value(clock.read(progress))
    }
}

impl<S: Schedule + ?Sized> Schedule for &S {
    fn value(&self, t: f64) -> f64 {
        (**self).value(t)
    }
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn value(&self, t: f64) -> f64 {
        (**self).value(t)
    }
}
