//! ReLU: `max(x, 0)`, where a NaN stays one.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::Relu;

/// dfdx's own turns a NaN into 0, which would hide it. The derivative at 0 is 0, as in PyTorch.
pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let (x, tape) = x.split_tape();
    let zeros = x.device().try_zeros_like(x.shape())?;
    (!x.try_le(E::default())?).try_choose(x.put_tape(tape), zeros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct OfRelu;

    impl Case for OfRelu {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (inputs[0].len(),), &inputs[0]);
            let (y, mut g) = differentiate(dev, dev.relu(x.leaky_trace()).unwrap());
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        check_case(&OfRelu, &[random(1000, 1)]);
        // More than one task computes.
        check_kernel(&OfRelu, &[random(40_000, 1)]);
    }

    #[test]
    fn zero_has_no_gradient_and_a_nan_is_kept() {
        fn of<E: Dtype>(device: &Cpu)
        where
            Cpu: Backend<E>,
        {
            let x = leaf(device, (3,), &[-1.0, 0.0, f64::NAN]);
            let y = device.relu::<_, _>(x.leaky_trace()).unwrap();
            let values = to_f64::<E>(y.as_vec());
            assert!(values[..2] == [0.0; 2] && values[2].is_nan(), "{values:?}");
            let mut gradients = y.sum::<Rank0, _>().backward();
            assert_eq!(gradient(&mut gradients, &x), [0.0, 0.0, 1.0]);
        }
        of::<f32>(&Cpu::default());
        of::<f64>(&Cpu::default());
    }
}
