//! timm's cosine schedule with warm-up.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Result, Schedule, error::setting};

/// Linear warm-up, then half a cosine from `lr` to `min_lr`, then `min_lr`:
///
/// ```text
/// t < warmup_epochs    warmup_lr + t (lr - warmup_lr) / warmup_epochs
/// t < end              min_lr + (lr - min_lr) (1 + cos(pi t / epochs)) / 2
/// otherwise            min_lr
/// ```
///
/// Without `warmup_prefix` the cosine runs over all epochs from 0 and the warm-up hides its beginning, so the rate jumps
/// slightly where it ends; with it the cosine starts after the warm-up and ends `warmup_epochs` later.
///
/// timm equivalent: `CosineLRScheduler(t_initial, lr_min, warmup_t, warmup_lr_init, warmup_prefix)` with one cycle.
/// DeiT and ConViT use it with 5 epochs from 1e-6 and minimum 1e-5 (main.py of facebookresearch/convit).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineWarmup {
    /// Length of the cosine, in epochs.
    pub epochs: f64,
    /// Length of the warm-up, in epochs.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Value at time 0, when there is a warm-up.
    #[serde(default)]
    pub warmup_lr: f64,
    /// Value at the top.
    pub lr: f64,
    /// Value at the end and after it.
    #[serde(default)]
    pub min_lr: f64,
    /// Whether the warm-up comes before the cosine instead of over its beginning.
    #[serde(default)]
    pub warmup_prefix: bool,
}

impl CosineWarmup {
    /// A cosine from `lr` to 0 over `epochs`, without warm-up.
    pub fn new(epochs: f64, lr: f64) -> Self {
        Self { epochs, warmup_epochs: 0.0, warmup_lr: 0.0, lr, min_lr: 0.0, warmup_prefix: false }
    }

    /// With a linear warm-up from `warmup_lr` over `warmup_epochs`.
    pub fn with_warmup(self, warmup_epochs: f64, warmup_lr: f64) -> Self {
        Self { warmup_epochs, warmup_lr, ..self }
    }

    /// With another value at the end than 0.
    pub fn with_min_lr(self, min_lr: f64) -> Self {
        Self { min_lr, ..self }
    }

    /// Epoch after which the value is `min_lr`.
    pub fn end(&self) -> f64 {
        if self.warmup_prefix { self.epochs + self.warmup_epochs } else { self.epochs }
    }

    /// Refuses settings without a meaning: lengths and rates that are negative or not finite, an empty cosine, a
    /// warm-up that leaves nothing of the cosine.
    pub fn check(&self) -> Result<()> {
        let field =
            |field, got: f64, ok: bool, expected| setting("cosine schedule", field, got, ok, expected);
        field("epochs", self.epochs, self.epochs.is_finite() && self.epochs > 0.0, "more than 0 epochs")?;
        let warmup = self.warmup_epochs;
        let fits = self.warmup_prefix || warmup <= self.epochs;
        let at_most = "0 epochs or more, and no more than the run has (unless warmup_prefix is set)";
        field("warmup_epochs", warmup, warmup.is_finite() && warmup >= 0.0 && fits, at_most)?;
        for (name, rate) in [("lr", self.lr), ("warmup_lr", self.warmup_lr), ("min_lr", self.min_lr)] {
            field(name, rate, rate.is_finite() && rate >= 0.0, "a finite rate, 0 or more")?;
        }
        Ok(())
    }
}

impl Schedule for CosineWarmup {
    fn value(&self, t: f64) -> f64 {
        let t = t.max(0.0);
        if t < self.warmup_epochs {
            return self.warmup_lr + t * ((self.lr - self.warmup_lr) / self.warmup_epochs);
        }
        let t = if self.warmup_prefix { t - self.warmup_epochs } else { t };
        if t >= self.epochs {
            return self.min_lr;
        }
        self.min_lr + 0.5 * (self.lr - self.min_lr) * (1.0 + (PI * t / self.epochs).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEIT: CosineWarmup = CosineWarmup {
        epochs: 300.0,
        warmup_epochs: 5.0,
        warmup_lr: 1e-6,
        lr: 1e-3,
        min_lr: 1e-5,
        warmup_prefix: false,
    };

    #[test]
    fn prefix_reaches_the_top_where_the_warmup_ends_and_ends_later() {
        let prefix = CosineWarmup { warmup_prefix: true, ..DEIT };
        assert_eq!(prefix.value(5.0), prefix.lr);
        assert!(DEIT.value(5.0) < DEIT.lr);
        assert_eq!(DEIT.value(300.0), DEIT.min_lr);
        assert!(prefix.value(300.0) > prefix.min_lr);
        assert_eq!(prefix.value(305.0), prefix.min_lr);
        assert_eq!(prefix.end(), 305.0);
    }

    #[test]
    fn times_outside_the_run_hold_the_first_and_the_last_value() {
        assert_eq!(DEIT.value(-3.0), DEIT.warmup_lr);
        assert_eq!(DEIT.value(1e9), DEIT.min_lr);
        let bare = CosineWarmup::new(10.0, 0.1);
        assert_eq!((bare.value(-1.0), bare.value(0.0), bare.value(10.0)), (0.1, 0.1, 0.0));
    }

    #[test]
    fn a_warmup_longer_than_the_run_is_refused_unless_it_is_a_prefix() {
        let long = DEIT.with_warmup(301.0, 1e-6);
        let error = long.check().unwrap_err().to_string();
        assert!(error.contains("warmup_epochs is 301"), "{error}");
        assert!(CosineWarmup { warmup_prefix: true, ..long }.check().is_ok());
        assert!(DEIT.check().is_ok());
        assert!(CosineWarmup { lr: f64::NAN, ..DEIT }.check().is_err());
        assert!(CosineWarmup { epochs: 0.0, ..DEIT }.check().is_err());
    }
}
