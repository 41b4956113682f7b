//! Cross-entropy with soft targets, mean over the batch.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::forward;

use crate::{Error, Result};

/// Batch and number of classes.
pub(crate) fn check<L: Shape>(logits: &L, targets: &(usize, usize)) -> Result<(usize, usize)> {
    let dims: Vec<usize> = logits.concrete().into_iter().collect();
    if dims != [targets.0, targets.1] || logits.num_elements() == 0 {
        return Err(Error::shape("cross_entropy", format!("targets {dims:?}, not empty"), targets));
    }
    Ok(*targets)
}

pub(crate) fn composition<L: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: (usize, usize),
    logits: Tensor<L, E, D, T>,
    targets: &Tensor<(usize, usize), E, D>,
) -> Result<Tensor<Rank0, E, D, T>, D::Err> {
    let log_probabilities = logits.try_reshape_like(&dims)?.try_log_softmax::<Axis<1>>()?;
    log_probabilities
        .try_mul(targets.clone())?
        .try_sum::<Rank0, Axes2<0, 1>>()?
        .try_negate()?
        .try_div(E::from_usize(dims.0).unwrap_or(E::ONE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Loss(usize);

    impl Case for Loss {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let classes = inputs[0].len() / self.0;
            let logits = leaf(dev, (self.0, classes), &inputs[0]);
            let targets: Vec<f64> = random(inputs[0].len(), 5).iter().map(|v| v.abs()).collect();
            let loss =
                dev.cross_entropy(logits.leaky_trace(), &leaf(dev, (self.0, classes), &targets)).unwrap();
            let (y, mut g) = differentiate(dev, loss);
            (y, vec![gradient(&mut g, &logits)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for (batch, classes) in [(1, 2), (5, 10), (3, 100)] {
            let logits: Vec<f64> = random(batch * classes, 1).iter().map(|v| v * 9.0).collect();
            check_case(&Loss(batch), &[logits]);
        }
    }

    #[test]
    fn large_logits_do_not_cost_precision() {
        // Numbers that `f32` represents.
        let logits: Vec<f64> =
            random(50, 1).iter().map(|v| (v * 9.0 * 64.0).round() / 64.0 + 1000.0).collect();
        check_kernel(&Loss(5), &[logits]);
    }

    #[test]
    fn targets_of_another_shape_are_an_error() {
        let dev = Cpu::default();
        let logits: Tensor<Rank2<2, 3>, f32, _> = dev.zeros();
        assert!(dev.cross_entropy(logits, &dev.zeros_like(&(2, 4))).is_err());
    }
}
