//! Softmax over the last axis.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{Softmax, rows, rows_backward};

use crate::{Error, Result};

/// Rows and their width.
pub(crate) fn check<S: Shape>(x: &S) -> Result<(usize, usize)> {
    match x.concrete().into_iter().last() {
        Some(width) if width > 0 => Ok((x.num_elements() / width, width)),
        _ => Err(Error::shape("softmax", "a last axis with at least one element", x.concrete())),
    }
}

pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: (usize, usize),
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let shape = *x.shape();
    x.try_reshape_like(&dims)?.try_softmax::<Axis<1>>()?.try_reshape_like(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct OfWidth(usize);

    impl Case for OfWidth {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (inputs[0].len() / self.0, self.0), &inputs[0]);
            let (y, mut g) = differentiate(dev, dev.softmax(x.leaky_trace()).unwrap());
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for width in [1, 9, 64] {
            let x: Vec<f64> = random(width * 30, 1).iter().map(|v| v * 20.0).collect();
            check_case(&OfWidth(width), &[x]);
        }
        // More rows than one task computes.
        let x: Vec<f64> = random(9 * 200, 1).iter().map(|v| v * 20.0).collect();
        check_kernel(&OfWidth(9), &[x]);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let dev = Cpu::default();
        let y = dev.softmax(dev.tensor([[1e4f32, 1e4 - 1.0, -1e4]])).unwrap().array();
        assert!((y[0][0] - 0.731_058_6).abs() < 1e-6 && y[0][2] == 0.0, "{y:?}");
    }
}
