//! Residual addition with stochastic depth (drop path): `residual + scale[b] * branch`.

mod cpu;

use dfdx::prelude::*;
use inductive_random::nth;

pub(crate) use cpu::{accumulate, add, backward, forward};

use crate::{Error, Result};

/// Stochastic depth: each sample skips the branch with probability `rate`, the others scale it by `1 / (1 - rate)`.
///
/// Which samples skip is a function of the seed alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropPath {
    /// Probability to skip, in [0, 1).
    pub rate: f64,
    /// Seed of this use: differs between layers and steps.
    pub seed: u64,
}

impl DropPath {
    /// The factor of each sample's branch; `None` where none is skipped (rate 0).
    pub fn scales(&self, batch: usize) -> Option<Vec<f32>> {
        if self.rate <= 0.0 {
            return None;
        }
        let keep = (1.0 / (1.0 - self.rate)) as f32;
        let uniform = |sample: usize| (nth(self.seed, sample as u64) >> 11) as f64 / (1u64 << 53) as f64;
        Some((0..batch).map(|sample| if uniform(sample) < self.rate { 0.0 } else { keep }).collect())
    }

    /// The same rate under another seed, for the `index`-th use inside a step.
    pub fn fork(&self, index: u64) -> Self {
        Self { seed: nth(self.seed, index ^ 0x5851_f42d_4c95_7f2d), ..*self }
    }
}

/// Batch and numbers per sample.
pub(crate) fn check<S: Shape>(branch: &S, residual: &S, scale: Option<&[f32]>) -> Result<(usize, usize)> {
    let batch = branch.concrete().into_iter().next().unwrap_or(1);
    if branch.concrete() != residual.concrete() || branch.num_elements() == 0 {
        return Err(Error::shape(
            "add_residual",
            format!("{:?}, not empty", branch.concrete()),
            residual.concrete(),
        ));
    }
    if let Some(scale) = scale.filter(|s| s.len() != batch) {
        return Err(Error::shape("add_residual", format!("{batch} factors"), scale.len()));
    }
    Ok((batch, branch.num_elements() / batch))
}

pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: (usize, usize),
    branch: Tensor<S, E, D, T>,
    residual: &Tensor<S, E, D>,
    scale: Option<&[f32]>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let shape = *branch.shape();
    let mut branch = branch.try_reshape_like(&dims)?;
    if let Some(scale) = scale {
        let scale = scale.iter().map(|v| E::from_f32(*v).unwrap_or_default()).collect();
        let scale = residual.device().try_tensor_from_vec(scale, (dims.0,))?;
        branch = branch.try_mul(scale.try_broadcast_like::<_, Axis<1>>(&dims)?)?;
    }
    branch.try_add(residual.retaped::<T>().try_reshape_like(&dims)?)?.try_reshape_like(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Residual(Option<Vec<f32>>);

    impl Case for Residual {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let shape = (3, 2, inputs[0].len() / 6);
            let (branch, residual) = (leaf(dev, shape, &inputs[0]), leaf(dev, shape, &inputs[1]));
            let y = dev.add_residual(branch.leaky_trace(), &residual, self.0.as_deref()).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &branch), gradient(&mut g, &residual)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for scale in [None, Some(vec![0.0, 1.25, 2.0])] {
            check_case(&Residual(scale.clone()), &[random(30, 1), random(30, 2)]);
            // More than one task computes.
            check_kernel(&Residual(scale), &[random(72_000, 1), random(72_000, 2)]);
        }
    }

    #[test]
    fn a_permuted_residual_is_copied_and_gets_its_gradient() {
        let dev = Cpu::default();
        let branch: Tensor<Rank2<2, 3>, f32, _> = leaf(&dev, Default::default(), &random(6, 1));
        let turned: Tensor<Rank2<3, 2>, f32, _> = leaf(&dev, Default::default(), &random(6, 2));
        let run = |residual: &Tensor<Rank2<2, 3>, f32, Cpu>| {
            let y = dev.add_residual(branch.leaky_trace(), residual, Some(&[2.0, 0.5])).unwrap();
            let (y, mut g) = differentiate(&dev, y);
            (y, gradient(&mut g, &branch), gradient(&mut g, residual))
        };
        let view = turned.permute::<Rank2<2, 3>, _>();
        let (y, dbranch, dresidual) = run(&view.clone().contiguous());
        assert_eq!(run(&view), (y, dbranch, dresidual));
    }

    #[test]
    fn drop_path_skips_the_asked_share_and_keeps_the_mean() {
        let scales = DropPath { rate: 0.3, seed: 7 }.scales(20_000).unwrap();
        let skipped = scales.iter().filter(|s| **s == 0.0).count() as f64 / 20_000.0;
        let mean = scales.iter().sum::<f32>() as f64 / 20_000.0;
        assert!((skipped - 0.3).abs() < 0.01 && (mean - 1.0).abs() < 0.015, "{skipped} {mean}");
        assert_eq!(DropPath { rate: 0.0, seed: 7 }.scales(4), None);
    }

    #[test]
    fn forks_of_a_drop_path_differ() {
        let drop = DropPath { rate: 0.5, seed: 1 };
        assert_ne!(drop.fork(0).scales(64), drop.fork(1).scales(64));
        assert_eq!(drop.fork(3), drop.fork(3));
    }
}
