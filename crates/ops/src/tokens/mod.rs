//! Operations on the sequence of tokens: position embedding, class token, selection, mean.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{mean, prepend, select};

use crate::{Error, Result, broadcast::spread_out, channels::sliceable};

/// Batch and numbers per sample.
pub(crate) fn check_position<S: Shape, P: Shape>(x: &S, position: &P) -> Result<(usize, usize)> {
    let batch = x.concrete().into_iter().next().unwrap_or(1);
    let sample = position.num_elements();
    if x.num_elements() != batch * sample || x.num_elements() == 0 {
        let dims = (x.concrete(), position.concrete());
        return Err(Error::shape("add_position", "a position embedding of the shape of one sample", dims));
    }
    Ok((batch, sample))
}

pub(crate) fn add_position<S: Shape, P: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: (usize, usize),
    x: Tensor<S, E, D, T>,
    position: &Tensor<P, E, D>,
) -> Result<Tensor<S, E, D, T>, D::Err> {
    let shape = *x.shape();
    let position = position.retaped::<T>().try_reshape_like(&(dims.1,))?;
    let sum = x.try_reshape_like(&dims)?.try_add(position.try_broadcast_like::<_, Axis<0>>(&dims)?)?;
    sum.try_reshape_like(&shape)
}

pub(crate) fn check_token<const C: usize, P: Shape>(x: &(usize, usize, Const<C>), token: &P) -> Result<()> {
    if token.num_elements() != C || x.num_elements() == 0 {
        let dims = (x.concrete(), token.concrete());
        return Err(Error::shape("prepend_token", format!("a token of {C} numbers and x not empty"), dims));
    }
    Ok(())
}

pub(crate) fn prepend_token<P: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    token: &Tensor<P, E, D>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let (batch, _, width) = *x.shape();
    let token = token.retaped::<T>().try_reshape_like(&(1, width))?;
    let tokens = spread_out(token.try_broadcast_like::<_, Axis<0>>(&(batch, 1, width))?)?;
    let (x, tape) = x.split_tape();
    let (tokens, token_tape) = tokens.split_tape();
    (tokens.put_tape(tape.merge(token_tape)), x.retaped::<T>()).try_concat_along(Axis::<1>)
}

pub(crate) fn check_range<const C: usize>(
    op: &'static str,
    x: &(usize, usize, Const<C>),
    first: usize,
) -> Result<()> {
    if first >= x.1 || x.num_elements() == 0 {
        return Err(Error::Argument {
            op,
            what: format!("token {first} of {:?} does not exist", x.concrete()),
        });
    }
    Ok(())
}

pub(crate) fn select_token<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    index: usize,
) -> Result<Tensor<(usize, usize), E, D, T>, D::Err> {
    let (batch, _, width) = *x.shape();
    sliceable(x)?.try_slice((.., index..index + 1, ..))?.try_reshape_like(&(batch, width))
}

pub(crate) fn mean_tokens<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, usize), E, D, T>,
    first: usize,
) -> Result<Tensor<(usize, usize), E, D, T>, D::Err> {
    sliceable(x)?.try_slice((.., first.., ..))?.try_mean::<_, Axis<1>>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    enum Tokens {
        Position,
        Prepend,
        Select(usize),
        Mean(usize),
    }

    impl Case for Tokens {
        fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
            let x = leaf(dev, (3, 4, Const::<5>), &inputs[0]);
            let position = leaf(dev, (Const::<1>, Const::<4>, Const::<5>), &inputs[1]);
            let token = leaf(dev, (Const::<1>, Const::<1>, Const::<5>), &inputs[2]);
            let traced = x.leaky_trace();
            let (y, mut g) = match self {
                Self::Position => differentiate(dev, dev.add_position(traced, &position).unwrap()),
                Self::Prepend => differentiate(dev, dev.prepend_token(traced, &token).unwrap()),
                Self::Select(index) => differentiate(dev, dev.select_token(traced, *index).unwrap()),
                Self::Mean(first) => differentiate(dev, dev.mean_tokens(traced, *first).unwrap()),
            };
            (y, vec![gradient(&mut g, &x), gradient(&mut g, &position), gradient(&mut g, &token)])
        }
    }

    #[test]
    fn kernels_and_compositions_agree() {
        for op in [
            Tokens::Position,
            Tokens::Prepend,
            Tokens::Select(0),
            Tokens::Select(3),
            Tokens::Mean(0),
            Tokens::Mean(1),
        ] {
            check_case(&op, &[random(60, 1), random(20, 2), random(5, 3)]);
        }
    }

    #[test]
    fn a_token_that_does_not_exist_is_an_error() {
        let dev = Cpu::default();
        let x: Tensor<(usize, usize, Const<5>), f32, _> = dev.zeros_like(&(2, 4, Const));
        assert!(dev.select_token(x.clone(), 4).is_err());
        assert!(dev.mean_tokens(x.clone(), 4).is_err());
        assert!(dev.prepend_token(x.clone(), &dev.zeros::<Rank1<4>>()).is_err());
        assert!(dev.add_position(x, &dev.zeros::<Rank1<4>>()).is_err());
    }
}
