//! A learning rate that goes up and down again.

use inductive_schedule::Schedule;

/// From 0 to `top` in the middle and back to 0; time is the fraction of the run.
#[derive(Debug)]
pub struct Triangle {
    pub top: f64,
}

impl Schedule for Triangle {
    fn value(&self, fraction: f64) -> f64 {
        self.top * (1.0 - (2.0 * fraction - 1.0).abs())
    }
}
