//! Layer normalisation over the last axis, with the `eps` that is asked for (dfdx's own has 1e-5 built in).

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{backward, forward, panels_again, rows_backward, rows_forward};

use crate::{Error, Result};

/// Number of rows of `C` elements.
pub(crate) fn check<S: Shape, const C: usize>(x: &S) -> Result<usize> {
    match x.concrete().into_iter().last() {
        Some(last) if last == C => Ok(x.num_elements() / C),
        _ => Err(Error::shape("layer_norm", format!("[.., {C}]"), x.concrete())),
    }
}

pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    rows: usize,
    x: Tensor<S, E, D, T>,
    weight: &Tensor<(usize,), E, D>,
    bias: &Tensor<(usize,), E, D>,
    eps: f64,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let (shape, flat) = (*x.shape(), (rows, weight.shape().0));
    let normal = x.try_reshape_like(&flat)?.try_normalize::<Axis<1>>(eps)?;
    let scaled = normal.try_mul(weight.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&flat)?)?;
    scaled.try_add(bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&flat)?)?.try_reshape_like(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct Norm(usize, f64);

    impl Case for Norm {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, 2, Const::<35>), &inputs[0]);
            let (w, b) = (leaf(dev, (Const::<35>,), &inputs[1]), leaf(dev, (Const::<35>,), &inputs[2]));
            let (y, mut g) = differentiate(dev, dev.layer_norm(x.leaky_trace(), &w, &b, self.1).unwrap());
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for (batch, eps) in [(1, 1e-6), (70, 1e-6), (3, 0.5)] {
            check_case(&Norm(batch, eps), &[random(batch * 70, 1), random(35, 2), random(35, 3)]);
        }
    }

    #[test]
    fn one_tensor_as_weight_and_bias_gets_both_gradients() {
        let dev = Cpu::default();
        let x: Tensor<_, f32, _> = leaf(&dev, (3, Const::<5>), &random(15, 1));
        let run = |w: &Tensor<Rank1<5>, f32, Cpu>, b: &Tensor<Rank1<5>, f32, Cpu>| {
            let (_, mut g) = differentiate(&dev, dev.layer_norm(x.leaky_trace(), w, b, 1e-6).unwrap());
            (gradient(&mut g, w), gradient(&mut g, b))
        };
        let tied = leaf(&dev, (Const::<5>,), &random(5, 2));
        let apart = run(&tied, &leaf(&dev, (Const::<5>,), &random(5, 2)));
        let (got, _) = run(&tied, &tied.clone());
        for (got, (w, b)) in got.iter().zip(apart.0.iter().zip(&apart.1)) {
            assert!((got - (w + b)).abs() < 1e-6, "{got}, want {w} + {b}");
        }
    }

    #[test]
    fn a_large_offset_does_not_cost_precision() {
        let dev = Cpu::default();
        let row: Vec<f32> = (0..64).map(|i| 1000.0 + (i % 2) as f32).collect();
        let x = dev.tensor_from_vec(row, (1, Const::<64>));
        let (w, b) = (dev.ones::<Rank1<64>>(), dev.zeros::<Rank1<64>>());
        let y = dev.layer_norm(x, &w, &b, 1e-6).unwrap().as_vec();
        assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4, "{:?}", &y[..2]);
    }
}
