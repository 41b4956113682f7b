//! Decay of an exponential moving average of the weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Result, Schedule, error::setting};

/// The decay `d` of `average = d average + (1 - d) weights`; time is the number of updates ([`Clock::Step`](crate::Clock)).
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaDecay {
    /// Decay in the long run; timm's `--model-ema-decay`, .99996 in DeiT.
    pub decay: f64,
    /// Whether the decay starts low, so that a short run forgets its initial weights:
    /// `min(decay, (1 + step) / (10 + step))`, TensorFlow's `num_updates` form. It reaches `decay` after about
    /// `9 / (1 - decay)` updates.
    #[serde(default)]
    pub warmup: bool,
}

impl EmaDecay {
    /// The same decay at every update.
    pub fn constant(decay: f64) -> Self {
        Self { decay, warmup: false }
    }

    /// A decay that starts at 1/10 and grows to `decay`.
    pub fn warmup(decay: f64) -> Self {
        Self { decay, warmup: true }
    }

    /// Refuses a decay outside `0 <= decay < 1`.
    pub fn check(&self) -> Result<()> {
        setting("EMA", "decay", self.decay, (0.0..1.0).contains(&self.decay), "0 or more, and less than 1")
    }
}

impl Schedule for EmaDecay {
    fn value(&self, step: f64) -> f64 {
        if self.warmup { self.decay.min((1.0 + step) / (10.0 + step)) } else { self.decay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_starts_at_a_tenth_grows_and_stops_at_the_decay() {
        let ema = EmaDecay::warmup(0.99);
        assert_eq!(ema.value(0.0), 0.1);
        assert_eq!(ema.value(8.0), 0.5);
        assert!((0..2000).map(|step| ema.value(step.into())).is_sorted());
        assert!(ema.value(880.0) < 0.99 && ema.value(890.0) == 0.99);
        assert_eq!(EmaDecay::constant(0.99).value(0.0), 0.99);
    }

    #[test]
    fn a_decay_of_one_would_never_learn_and_is_refused() {
        assert!(EmaDecay::constant(0.99996).check().is_ok());
        for decay in [1.0, -0.5, f64::NAN] {
            assert!(EmaDecay::constant(decay).check().is_err());
        }
    }
}
