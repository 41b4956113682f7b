//! Combinators: constant, linear, warm-up, chain, delay.

use serde::{Deserialize, Serialize};

use crate::{Result, Schedule, error::setting};

/// The same value at every time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// The value.
    pub value: f64,
}

impl Schedule for Constant {
    fn value(&self, _t: f64) -> f64 {
        self.value
    }
}

/// A straight line from `from` at time 0 to `to` at time `over`, and `to` afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Value up to time 0.
    pub from: f64,
    /// Value from time `over` on.
    pub to: f64,
    /// Length of the line.
    pub over: f64,
}

impl Schedule for Linear {
    fn value(&self, t: f64) -> f64 {
        match t {
            t if t >= self.over => self.to,
            t if t <= 0.0 => self.from,
            t => self.from + (self.to - self.from) * (t / self.over),
        }
    }
}

/// A line from `from` up to the first value of another schedule, which then starts.
///
/// This is a warm-up as prefix: it meets `then` without a jump and delays it by `over`. timm's warm-up over the
/// beginning of a cosine is part of [`CosineWarmup`](crate::CosineWarmup).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup<S> {
    /// Value at time 0.
    pub from: f64,
    /// Length of the warm-up.
    pub over: f64,
    /// What follows, on its own clock from 0.
    pub then: S,
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn value(&self, t: f64) -> f64 {
        if t < self.over {
            let line = Linear { from: self.from, to: self.then.value(0.0), over: self.over };
            line.value(t)
        } else {
            self.then.value(t - self.over)
        }
    }
}

/// One piece of a [`Chain`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment<S> {
    /// How long it is in force.
    pub length: f64,
    /// What is in force, on its own clock from 0.
    pub schedule: S,
}

/// Schedules one after another; the last one holds for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain<S> {
    /// The pieces before the last, in order.
    pub segments: Vec<Segment<S>>,
    /// What follows them.
    pub last: S,
}

impl<S: Schedule> Schedule for Chain<S> {
    fn value(&self, t: f64) -> f64 {
        let mut since = t;
        for segment in &self.segments {
            if since < segment.length {
                return segment.schedule.value(since);
            }
            since -= segment.length;
        }
        self.last.value(since)
    }
}

/// A schedule that starts later and holds its first value until then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delayed<S> {
    /// When it starts.
    pub by: f64,
    /// What starts, on its own clock from 0.
    pub schedule: S,
}

impl<S: Schedule> Schedule for Delayed<S> {
    fn value(&self, t: f64) -> f64 {
        self.schedule.value((t - self.by).max(0.0))
    }
}

/// Refuses a length that is negative or not finite.
pub(crate) fn check_length(schedule: &'static str, field: &'static str, length: f64) -> Result<()> {
    setting(schedule, field, length, length.is_finite() && length >= 0.0, "a finite length, 0 or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Linear = Linear { from: 1.0, to: 3.0, over: 4.0 };

    #[test]
    fn linear_holds_its_ends_and_is_a_step_when_it_has_no_length() {
        assert_eq!([-1.0, 0.0, 1.0, 4.0, 9.0].map(|t| UP.value(t)), [1.0, 1.0, 1.5, 3.0, 3.0]);
        let step = Linear { over: 0.0, ..UP };
        assert_eq!([-1.0, 0.0, 1.0].map(|t| step.value(t)), [1.0, 3.0, 3.0]);
    }

    #[test]
    fn warmup_meets_what_follows_without_a_jump() {
        let warm = Warmup { from: 0.0, over: 2.0, then: UP };
        assert_eq!([0.0, 1.0, 2.0, 6.0].map(|t| warm.value(t)), [0.0, 0.5, 1.0, 3.0]);
        assert!((warm.value(2.0 - 1e-9) - warm.value(2.0)).abs() < 1e-8);
    }

    #[test]
    fn chain_starts_every_piece_on_its_own_clock() {
        let chain = Chain {
            segments: vec![Segment { length: 4.0, schedule: UP }, Segment { length: 2.0, schedule: UP }],
            last: UP,
        };
        assert_eq!([0.0, 3.0, 4.0, 5.0, 6.0, 100.0].map(|t| chain.value(t)), [1.0, 2.5, 1.0, 1.5, 1.0, 3.0]);
    }
}
