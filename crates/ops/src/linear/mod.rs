//! Linear layer: `y = x W^T + b`.

mod cpu;

use dfdx::prelude::*;

use crate::{Error, Result};

/// x: `[rows, inner]`, weight: `[outer, inner]`, y: `[rows, outer]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dims {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) outer: usize,
}

pub(crate) use cpu::{
    Operand, add_bias, add_bias_columns, backward, column_sums, column_sums_of, forward, turn_rows,
};

pub(crate) fn check<X: Shape, W: Shape, B: Shape, Y: Shape>(
    x: &X,
    weight: &W,
    bias: Option<&B>,
    out: &Y,
) -> Result<Dims> {
    let inner = x.concrete().into_iter().last().unwrap_or(1);
    let (rows, outer) = (x.num_elements() / inner.max(1), weight.num_elements() / inner.max(1));
    let fits = weight.num_elements() > 0
        && weight.concrete().into_iter().last() == Some(inner)
        && out.num_elements() == rows * outer
        && bias.is_none_or(|b| b.num_elements() == outer);
    if !fits {
        return Err(Error::shape(
            "linear",
            format!(
                "weight [outer, {inner}], bias [outer] and result [{rows}, outer] for x {:?}",
                x.concrete()
            ),
            (weight.concrete(), bias.map(|b| b.concrete()), out.concrete()),
        ));
    }
    Ok(Dims { rows, inner, outer })
}

pub(crate) fn composition<X: Shape, W: Shape, B: Shape, Y: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    Dims { rows, inner, outer }: Dims,
    x: Tensor<X, E, D, T>,
    weight: &Tensor<W, E, D>,
    bias: Option<&Tensor<B, E, D>>,
    out: Y,
) -> Result<Tensor<Y, E, D, T>, D::Err> {
    let weight = weight.retaped::<T>().try_reshape_like(&(outer, inner))?;
    let weight = weight.try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let mut y = x.try_reshape_like(&(rows, inner))?.try_matmul(weight)?;
    if let Some(bias) = bias {
        let bias = bias.retaped::<T>().try_reshape_like(&(outer,))?;
        y = y.try_add(bias.try_broadcast_like::<_, Axis<0>>(&(rows, outer))?)?;
    }
    y.try_reshape_like(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    /// Rows, outer size in two factors, whether there is a bias.
    struct Linear(usize, (usize, usize), bool);

    impl Case for Linear {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, Const::<20>), &inputs[0]);
            let (parts, part) = self.1;
            let w = leaf(dev, (parts, part, Const::<20>), &inputs[1]);
            let b = leaf(dev, (parts * part,), &inputs[2]);
            let out = (self.0, parts * part);
            let y = dev.linear(x.leaky_trace(), &w, self.2.then_some(&b), out).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let grads = vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)];
            (y, grads)
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for rows in [1, 7, 300] {
            for bias in [true, false] {
                let inputs = [random(rows * 20, 1), random(33 * 20, 2), random(33, 3)];
                check_case(&Linear(rows, (3, 11), bias), &inputs);
            }
        }
        // Enough rows for the transposed weight, and several tasks for its gradient.
        let inputs = [random(600 * 20, 1), random(400 * 20, 2), random(400, 3)];
        check_kernel(&Linear(600, (4, 100), true), &inputs);
    }

    #[test]
    fn a_broadcast_input_is_copied_and_a_broadcast_bias_is_refused() {
        let dev = Cpu::default();
        let x: Tensor<Rank2<2, 1>, f32, _> = dev.tensor(2.0f32).broadcast();
        let w: Tensor<(usize, usize), f32, _> = leaf(&dev, (3, 1), &[1.0, 2.0, 3.0]);
        let b: Tensor<Rank1<3>, f32, _> = dev.tensor(0.5f32).broadcast();
        let error = dev.linear(x.clone(), &w, Some(&b), (2, 3)).unwrap_err().to_string();
        assert!(error.contains("linear") && error.contains("`contiguous()`"), "{error}");
        let y = dev.linear(x.leaky_trace(), &w, Some(&b.contiguous()), (2, 3)).unwrap();
        assert_eq!(y.as_vec(), [2.5, 4.5, 6.5, 2.5, 4.5, 6.5]);
        let (_, mut gradients) = differentiate(&dev, y);
        assert_eq!(gradients.get_or_alloc_mut(&x).unwrap().len(), 1, "one number stands for both");
    }

    #[test]
    fn a_transposed_or_empty_weight_is_an_error() {
        let dev = Cpu::default();
        let no_bias: Option<&Tensor<Rank1<3>, f32, Cpu>> = None;
        for (weight, out) in [((5, 3), (4, 3)), ((0, 5), (4, 0))] {
            let x: Tensor<(usize, usize), f32, _> = dev.zeros_like(&(4, 5));
            let w: Tensor<(usize, usize), f32, _> = dev.zeros_like(&weight);
            assert!(dev.linear(x, &w, no_bias, out).is_err(), "{weight:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let dev = Cpu::default();
        let x: Tensor<(usize, usize), f32, _> = dev.zeros_like(&(4, 5));
        let w: Tensor<(usize, usize), f32, _> = dev.zeros_like(&(3, 6));
        let no_bias: Option<&Tensor<Rank1<3>, f32, Cpu>> = None;
        let error = dev.linear(x, &w, no_bias, (4, 3)).unwrap_err();
        assert!(error.to_string().starts_with("linear: expected weight [outer, 5]"), "{error}");
    }
}
