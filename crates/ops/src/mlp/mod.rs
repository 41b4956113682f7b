//! The transformer's MLP: linear, GELU, linear.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{Gradients as MlpGradients, Weights, backward, forward};

use crate::{Backend, Result, linear};

/// x, y: `[rows, width]`, in between `[rows, hidden]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) hidden: usize,
}

impl Dims {
    pub(crate) fn new<S: Shape, const C: usize, const HIDDEN: usize>(x: &S) -> Result<Self> {
        let bias: Option<&(Const<HIDDEN>,)> = None;
        let out = (x.num_elements() / C.max(1), HIDDEN);
        let dims = linear::check(x, &(Const::<HIDDEN>, Const::<C>), bias, &out)?;
        Ok(Self { rows: dims.rows, width: C, hidden: HIDDEN })
    }
}

/// Two linear layers: `[HIDDEN, C]` and `[C, HIDDEN]`, with biases.
#[derive(Debug)]
pub struct MlpWeights<'a, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> {
    /// `fc1.weight`
    pub weight1: &'a Tensor<Rank2<HIDDEN, C>, E, D>,
    /// `fc1.bias`
    pub bias1: &'a Tensor<Rank1<HIDDEN>, E, D>,
    /// `fc2.weight`
    pub weight2: &'a Tensor<Rank2<C, HIDDEN>, E, D>,
    /// `fc2.bias`
    pub bias2: &'a Tensor<Rank1<C>, E, D>,
}

pub(crate) fn composition<
    S: Shape,
    const C: usize,
    const HIDDEN: usize,
    E: Dtype,
    D: Backend<E>,
    T: Tape<E, D>,
>(
    device: &D,
    dims: Dims,
    x: Tensor<S, E, D, T>,
    weights: MlpWeights<'_, C, HIDDEN, E, D>,
) -> Result<Tensor<S, E, D, T>> {
    let shape = *x.shape();
    let hidden = device.linear(x, weights.weight1, Some(weights.bias1), (dims.rows, Const::<HIDDEN>))?;
    device.linear(device.gelu(hidden)?, weights.weight2, Some(weights.bias2), shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    struct Mlp(usize);

    impl Case for Mlp {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, 1, Const::<6>), &inputs[0]);
            let weight1 = leaf(dev, (Const::<20>, Const::<6>), &inputs[1]);
            let bias1 = leaf(dev, (Const::<20>,), &inputs[2]);
            let weight2 = leaf(dev, (Const::<6>, Const::<20>), &inputs[3]);
            let bias2 = leaf(dev, (Const::<6>,), &inputs[4]);
            let weights = MlpWeights { weight1: &weight1, bias1: &bias1, weight2: &weight2, bias2: &bias2 };
            let (y, mut g) = differentiate(dev, dev.mlp(x.leaky_trace(), weights).unwrap());
            let grads = vec![
                gradient(&mut g, &x),
                gradient(&mut g, &weight1),
                gradient(&mut g, &bias1),
                gradient(&mut g, &weight2),
                gradient(&mut g, &bias2),
            ];
            (y, grads)
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for rows in [1, 300, 1100] {
            let inputs = [random(rows * 6, 1), random(120, 2), random(20, 3), random(120, 4), random(6, 5)];
            check_case(&Mlp(rows), &inputs);
        }
        // So many rows that the shards of the backward pass grow.
        let rows = 8500;
        let inputs = [random(rows * 6, 1), random(120, 2), random(20, 3), random(120, 4), random(6, 5)];
        check_kernel(&Mlp(rows), &inputs);
    }
}
