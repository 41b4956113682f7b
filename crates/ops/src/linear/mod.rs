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

pub(crate) use cpu::{add_bias, backward, column_sums, forward, transposed};

pub(crate) fn check<X: Shape, W: Shape, B: Shape, Y: Shape>(
    x: &X,
    weight: &W,
    bias: Option<&B>,
    out: &Y,
) -> Result<Dims> {
    let inner = x.concrete().into_iter().last().unwrap_or(1).max(1);
    let (rows, outer) = (x.num_elements() / inner, weight.num_elements() / inner);
    let fits = outer * inner == weight.num_elements()
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

    struct Linear(usize, bool);

    impl Case for Linear {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, Const::<20>), &inputs[0]);
            let w = leaf(dev, (Const::<3>, Const::<11>, Const::<20>), &inputs[1]);
            let b = leaf(dev, (Const::<33>,), &inputs[2]);
            let out = (self.0, Const::<33>);
            let y = dev.linear(x.leaky_trace(), &w, self.1.then_some(&b), out).unwrap();
            let (y, mut g) = differentiate(dev, y);
            let grads = vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)];
            (y, grads)
        }
    }

    #[test]
    fn kernel_and_composition_agree() {
        for rows in [1, 7, 300] {
            for bias in [true, false] {
                check_case(&Linear(rows, bias), &[random(rows * 20, 1), random(33 * 20, 2), random(33, 3)]);
            }
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
