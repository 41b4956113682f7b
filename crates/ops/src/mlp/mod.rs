//! The transformer's MLP: linear, GELU, linear.

mod cpu;
mod kernel;

use dfdx::prelude::*;

pub(crate) use cpu::{Parameters, on_cpu};

use crate::{Backend, Branch, Erase, Error, Result, branch, linear};

/// x, y: `[rows, width]`, in between `[rows, hidden]`; `sample_rows` rows are a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) sample_rows: usize,
}

impl Dims {
    pub(crate) fn new<S: Shape, const C: usize, const HIDDEN: usize>(x: &S) -> Result<Self> {
        let bias: Option<&(Const<HIDDEN>,)> = None;
        let out = (x.num_elements() / C.max(1), HIDDEN);
        let dims = linear::check(x, &(Const::<HIDDEN>, Const::<C>), bias, &out)?;
        if dims.rows == 0 {
            return Err(Error::shape("mlp", "x not empty", x.concrete()));
        }
        let samples = if S::NUM_DIMS > 1 { x.concrete().into_iter().next().unwrap_or(1) } else { 1 };
        Ok(Self { rows: dims.rows, width: C, hidden: HIDDEN, sample_rows: dims.rows / samples })
    }
}

/// Two linear layers: `[HIDDEN, C]` and `[C, HIDDEN]`, with biases.
#[derive(Debug)]
pub struct MlpWeights<'a, const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> {
    /// `fc1.weight`, `[HIDDEN, C]`
    pub weight1: &'a Tensor<Rank2<HIDDEN, C>, E, D>,
    /// `fc1.bias`, `[HIDDEN]`
    pub bias1: &'a Tensor<Rank1<HIDDEN>, E, D>,
    /// `fc2.weight`, `[C, HIDDEN]`
    pub weight2: &'a Tensor<Rank2<C, HIDDEN>, E, D>,
    /// `fc2.bias`, `[C]`
    pub bias2: &'a Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> Clone for MlpWeights<'_, C, HIDDEN, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, const HIDDEN: usize, E: Dtype, D: Device<E>> Copy for MlpWeights<'_, C, HIDDEN, E, D> {}

pub(crate) fn composition<
    S: Erase,
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
    branch: Option<Branch<'_, C, E, D>>,
) -> Result<Tensor<S, E, D, T>> {
    let shape = *x.shape();
    branch::around(device, x, branch, |x| {
        let hidden = device.linear(x, weights.weight1, Some(weights.bias1), (dims.rows, Const::<HIDDEN>))?;
        device.linear(device.gelu(hidden)?, weights.weight2, Some(weights.bias2), shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// Samples, rows of each, whether there is a branch, its drop path.
    struct Mlp<const C: usize, const HIDDEN: usize>(usize, usize, bool, Option<Vec<f32>>);

    impl<const C: usize, const HIDDEN: usize> Case for Mlp<C, HIDDEN> {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, self.1, Const::<C>), &inputs[0]);
            let weight1 = leaf(dev, (Const::<HIDDEN>, Const::<C>), &inputs[1]);
            let bias1 = leaf(dev, (Const::<HIDDEN>,), &inputs[2]);
            let weight2 = leaf(dev, (Const::<C>, Const::<HIDDEN>), &inputs[3]);
            let bias2 = leaf(dev, (Const::<C>,), &inputs[4]);
            let (norm_weight, norm_bias) =
                (leaf(dev, (Const::<C>,), &inputs[5]), leaf(dev, (Const::<C>,), &inputs[6]));
            let weights = MlpWeights { weight1: &weight1, bias1: &bias1, weight2: &weight2, bias2: &bias2 };
            let branch =
                Branch { weight: &norm_weight, bias: &norm_bias, eps: 1e-6, scale: self.3.as_deref() };
            let y = dev.mlp(x.leaky_trace(), weights, self.2.then_some(branch)).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let mut grads = vec![
                gradient(&mut g, &x),
                gradient(&mut g, &weight1),
                gradient(&mut g, &bias1),
                gradient(&mut g, &weight2),
                gradient(&mut g, &bias2),
            ];
            grads.extend([gradient(&mut g, &norm_weight), gradient(&mut g, &norm_bias)]);
            (y, grads)
        }
    }

    fn inputs(rows: usize, c: usize, hidden: usize) -> [Vec<f64>; 7] {
        [rows * c, hidden * c, hidden, hidden * c, c, c, c]
            .iter()
            .enumerate()
            .map(|(i, len)| random(*len, i as u64 + 1))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    #[test]
    fn kernel_and_composition_agree() {
        for (samples, rows) in [(1, 1), (3, 1), (5, 60)] {
            let inputs = inputs(samples * rows, 6, 20);
            check_case(&Mlp::<6, 20>(samples, rows, false, None), &inputs);
            check_case(&Mlp::<6, 20>(samples, rows, true, None), &inputs);
            let scale = (0..samples).map(|i| [1.25, 0.0, 2.0][i % 3]).collect();
            check_case(&Mlp::<6, 20>(samples, rows, true, Some(scale)), &inputs);
        }
        // So many rows that there are more and longer shards, and chunks end inside a sample.
        // More than one panel, the last incomplete; rows with and without panels for the weights.
        for samples in [4, 9] {
            let inputs = inputs(samples * 67, 70, 150);
            check_kernel(&Mlp::<70, 150>(samples, 67, false, None), &inputs);
            check_kernel(&Mlp::<70, 150>(samples, 67, true, None), &inputs);
        }
        let scale: Vec<f32> = (0..85).map(|i| [1.25, 0.0, 2.0][i % 3]).collect();
        for scale in [None, Some(scale)] {
            check_kernel(&Mlp::<6, 20>(85, 101, true, scale), &inputs(85 * 101, 6, 20));
        }
    }

    #[test]
    fn inference_gives_the_same_bits_as_training() {
        let dev = Cpu::default();
        let inputs = inputs(300, 6, 20);
        let x: Tensor<_, f32, Cpu> = leaf(&dev, (5, 60, Const::<6>), &inputs[0]);
        let weight1 = leaf(&dev, (Const::<20>, Const::<6>), &inputs[1]);
        let bias1 = leaf(&dev, (Const::<20>,), &inputs[2]);
        let weight2 = leaf(&dev, (Const::<6>, Const::<20>), &inputs[3]);
        let bias2 = leaf(&dev, (Const::<6>,), &inputs[4]);
        let weights = MlpWeights { weight1: &weight1, bias1: &bias1, weight2: &weight2, bias2: &bias2 };
        let branch = Branch { weight: &bias2, bias: &bias2, eps: 1e-6, scale: None };
        let train = dev.mlp(x.leaky_trace(), weights, Some(branch)).unwrap();
        assert_eq!(train.as_vec(), dev.mlp(x, weights, Some(branch)).unwrap().as_vec());
    }

    #[test]
    fn a_wrong_number_of_drop_path_factors_is_an_error() {
        let dev = Cpu::default();
        let (weight1, bias1, weight2, bias2) = (dev.zeros(), dev.zeros(), dev.zeros(), dev.zeros());
        let weights = MlpWeights::<'_, 6, 20, f32, _> {
            weight1: &weight1,
            bias1: &bias1,
            weight2: &weight2,
            bias2: &bias2,
        };
        let branch = Branch { weight: &bias2, bias: &bias2, eps: 1e-6, scale: Some(&[1.0; 3]) };
        let x: Tensor<(usize, usize, Const<6>), f32, _> = dev.zeros_like(&(2, 3, Const));
        assert!(dev.mlp(x, weights, Some(branch)).is_err());
    }
}
