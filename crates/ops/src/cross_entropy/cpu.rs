//! Cross-entropy on the CPU: loss and gradient in one pass. Batches are small, so one thread does it.

use crate::simd::{Kernel, dispatch, dot, exp_row, max, sum_by};

/// The loss, and its gradient with respect to the logits: `(softmax(l) sum_c t_c - t) / batch`.
pub(crate) fn forward((batch, classes): (usize, usize), logits: &[f32], targets: &[f32]) -> (f32, Vec<f32>) {
    let mut gradient = logits.to_vec();
    let mut loss = 0.0f64;
    for (row, targets) in gradient.chunks_exact_mut(classes).zip(targets.chunks_exact(classes)) {
        loss += dispatch(Row { row, targets, scale: 1.0 / batch as f32 }) as f64;
    }
    ((loss / batch as f64) as f32, gradient)
}

/// One sample: returns its loss and turns its logits into their gradient.
struct Row<'a> {
    row: &'a mut [f32],
    targets: &'a [f32],
    scale: f32,
}

impl Kernel for Row<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let weight = sum_by(self.targets, |t| t);
        let top = max(self.row);
        // The loss does not depend on a shift; without it, large logits would cancel.
        self.row.iter_mut().for_each(|v| *v -= top);
        let score = dot::<FMA>(self.row, self.targets);
        let sum = exp_row::<FMA>(self.row);
        let loss = sum.ln() * weight - score;
        for (p, t) in self.row.iter_mut().zip(self.targets) {
            *p = (*p / sum * weight - t) * self.scale;
        }
        loss
    }
}
