//! GELU by the error function: `x * Phi(x)`, `Phi(x) = (1 + erf(x / sqrt 2)) / 2`.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{Gelu, value, with_derivative};

/// dfdx's value is right; its derivative, on CPU and CUDA, is `Phi(x) + sqrt(2) x phi(x)`: a factor too much on the
/// density phi. The second term has the value 0 and the derivative that is missing, `(1 - sqrt(2)) x phi(x)`.
pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let (constant, tape) = x.split_tape();
    let number = |v: f64| E::from_f64(v).unwrap_or_default();
    let density = constant.clone().try_square()?.try_mul(number(-0.5))?.try_exp()?;
    let missing = (1.0 - std::f64::consts::SQRT_2) / (2.0 * std::f64::consts::PI).sqrt();
    let correction = density.try_mul(constant.clone())?.try_mul(number(missing))?;
    let zero = constant.retaped::<T>().try_add(constant.clone().try_negate()?)?;
    let value = constant.put_tape(tape).try_accurate_gelu()?;
    value.try_add(zero.try_mul(correction)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    struct OfGelu;

    impl Case for OfGelu {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (inputs[0].len(),), &inputs[0]);
            let (y, mut g) = differentiate(dev, dev.gelu(x.leaky_trace()).unwrap());
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        let x: Vec<f64> = random(1000, 1).iter().map(|v| v * 6.0).collect();
        check_case(&OfGelu, &[x]);
        // More than one task computes.
        let x: Vec<f64> = random(40_000, 1).iter().map(|v| v * 6.0).collect();
        check_kernel(&OfGelu, &[x]);
    }

    #[test]
    fn it_is_not_the_tanh_approximation() {
        // torch.nn.functional.gelu(torch.tensor(1.5)); the tanh form gives 1.3995717
        let y = Cpu::default().gelu(Cpu::default().tensor([1.5f32])).unwrap();
        assert!((y.array()[0] - 1.399_789_2).abs() < 1e-6, "{:?}", y.array());
    }
}
