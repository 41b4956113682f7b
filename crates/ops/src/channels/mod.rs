//! Parts of the channels: taking some of them, and putting two parts side by side.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{concat_on_cpu, slice_on_cpu};

use crate::{Error, Result};

/// Refuses channels beyond the last, and an empty x.
pub(crate) fn check_slice<const C: usize, const P: usize>(
    x: &(usize, usize, Const<C>),
    first: usize,
) -> Result<()> {
    if P == 0 || x.num_elements() == 0 || first.checked_add(P).is_none_or(|end| end > C) {
        let expected = format!("[batch, tokens, C], not empty, with C at least {first} + {P}");
        return Err(Error::shape("slice_channels", expected, x.concrete()));
    }
    Ok(())
}

/// A copy of `x` to be sliced: dfdx 0.13 overwrites the gradient of what it slices, so nothing else may read it.
pub(crate) fn sliceable<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<S, E, D, T>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    x.try_mul(E::ONE)
}

pub(crate) fn slice<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    first: usize,
    taken: usize,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    sliceable(x)?.try_slice((.., .., first..first + taken))
}

/// Batch and tokens.
pub(crate) fn check_concat<const A: usize, const B: usize, const C: usize>(
    a: &(usize, usize, Const<A>),
    b: &(usize, usize, Const<B>),
) -> Result<(usize, usize)> {
    if A + B != C || (a.0, a.1) != (b.0, b.1) || a.num_elements() == 0 || b.num_elements() == 0 {
        let expected = format!("two parts of the same tokens with {C} channels together, not empty");
        return Err(Error::shape("concat_channels", expected, (a.concrete(), b.concrete())));
    }
    Ok((a.0, a.1))
}

pub(crate) fn concat<E: Dtype, D: Device<E>, TA: Tape<E, D> + Merge<TB>, TB: Tape<E, D>>(
    a: Tensor<(usize, usize, usize), E, D, TA>,
    b: Tensor<(usize, usize, usize), E, D, TB>,
) -> Result<Tensor<(usize, usize, usize), E, D, TA>, D::Err> {
    (a, b).try_concat_along(Axis::<2>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    type Tokens<const C: usize, E, D, T = NoneTape> = Tensor<(usize, usize, Const<C>), E, D, T>;

    /// Takes two overlapping parts of 7 channels and puts them side by side.
    struct Parts(usize);

    impl Case for Parts {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (self.0, 3, Const::<7>), &inputs[0]);
            let (x, tape) = x.leaky_trace().split_tape();
            let a: Tokens<2, E, D, OwnedTape<E, D>> =
                dev.slice_channels(x.clone().put_tape(tape), 1).unwrap();
            let b: Tokens<5, E, D, OwnedTape<E, D>> =
                dev.slice_channels(x.retaped::<OwnedTape<E, D>>(), 2).unwrap();
            let y: Tokens<7, E, D, OwnedTape<E, D>> = dev.concat_channels(a, b).unwrap();
            let (y, mut g) = differentiate(dev, y);
            (y, vec![gradient(&mut g, &x)])
        }
    }

    #[test]
    fn kernels_and_compositions_agree() {
        for batch in [1, 5] {
            check_case(&Parts(batch), &[random(batch * 21, 1)]);
        }
    }

    #[test]
    fn parts_are_where_they_should_be() {
        let dev = Cpu::default();
        let x: Tokens<3, f32, Cpu> = dev.tensor_from_vec((0..6).map(|v| v as f32).collect(), (1, 2, Const));
        let a: Tokens<2, f32, Cpu> = dev.slice_channels(x.clone(), 1).unwrap();
        assert_eq!(a.as_vec(), [1.0, 2.0, 4.0, 5.0]);
        let y: Tokens<5, f32, Cpu> = dev.concat_channels(a, x).unwrap();
        assert_eq!(y.as_vec(), [1.0, 2.0, 0.0, 1.0, 2.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn parts_that_do_not_fit_are_errors() {
        let dev = Cpu::default();
        let x = |tokens| dev.zeros_like(&(1, tokens, Const::<3>));
        let beyond: Result<Tokens<2, f32, Cpu>> = dev.slice_channels(x(2), 2);
        let overflow: Result<Tokens<2, f32, Cpu>> = dev.slice_channels(x(2), usize::MAX);
        let sum: Result<Tokens<5, f32, Cpu>> = dev.concat_channels(x(2), x(2));
        let tokens: Result<Tokens<6, f32, Cpu>> = dev.concat_channels(x(2), x(4));
        assert!(beyond.is_err() && overflow.is_err() && sum.is_err() && tokens.is_err());
    }
}
