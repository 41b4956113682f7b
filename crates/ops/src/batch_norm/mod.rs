//! Batch normalisation: each channel over all tokens of all samples (Ioffe and Szegedy, arXiv 1502.03167), with what
//! follows it in a residual block.

mod cpu;
mod kernel;
#[cfg(test)]
mod tests;

use dfdx::prelude::*;

pub(crate) use cpu::{Held, on_cpu};
pub(crate) use kernel::spread;

use crate::{Error, Result, relu};

type Tokens<const C: usize, E, D, T = NoneTape> = Tensor<(usize, usize, Const<C>), E, D, T>;

/// What is done to each number on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`, a NaN stays one. Its derivative at 0 is 0, as in PyTorch.
    Relu,
}

impl Activation {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        if self == Self::Relu && x <= 0.0 { 0.0 } else { x }
    }

    /// The gradient of x, where `y` is the result and `dy` its gradient.
    #[inline(always)]
    fn backward(self, y: f32, dy: f32) -> f32 {
        if self == Self::Relu && y <= 0.0 { 0.0 } else { dy }
    }
}

/// What becomes of normalised numbers n: `then(n * weight + bias + residual)`.
#[derive(Debug)]
pub struct Affine<'a, const C: usize, E: Dtype, D: Device<E>> {
    /// `[C]`
    pub weight: &'a Tensor<Rank1<C>, E, D>,
    /// `[C]`
    pub bias: &'a Tensor<Rank1<C>, E, D>,
    /// Of the shape of x; it receives its gradient by identity, as the weights do.
    pub residual: Option<&'a Tensor<(usize, usize, Const<C>), E, D>>,
    /// What comes last.
    pub then: Activation,
}

impl<const C: usize, E: Dtype, D: Device<E>> Clone for Affine<'_, C, E, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, E: Dtype, D: Device<E>> Copy for Affine<'_, C, E, D> {}

/// Mean and unbiased variance of each channel of a batch, `C` numbers each: what running averages take in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelStatistics<E> {
    /// Mean.
    pub mean: Vec<E>,
    /// Variance, divided by one less than the number of rows.
    pub variance: Vec<E>,
}

/// Rows of `C` numbers.
pub(crate) fn check<const C: usize, E: Dtype, D: Device<E>>(
    x: &(usize, usize, Const<C>),
    affine: &Affine<'_, C, E, D>,
) -> Result<usize> {
    if x.num_elements() == 0 {
        let expected = format!("x [batch, tokens, {C}], not empty");
        return Err(Error::shape("batch_norm", expected, x.concrete()));
    }
    match affine.residual.map(|residual| *residual.shape()) {
        Some(residual) if residual != *x => {
            let expected = format!("a residual {:?}", x.concrete());
            Err(Error::shape("batch_norm", expected, residual.concrete()))
        }
        _ => Ok(x.0 * x.1),
    }
}

/// As [`check`], for statistics of the batch itself.
pub(crate) fn check_train<const C: usize, E: Dtype, D: Device<E>>(
    x: &(usize, usize, Const<C>),
    affine: &Affine<'_, C, E, D>,
) -> Result<usize> {
    match check(x, affine)? {
        1 => {
            let what = "one number per channel has no variance; expected at least two samples or tokens";
            Err(Error::Argument { op: "batch_norm", what: what.to_owned() })
        }
        rows => Ok(rows),
    }
}

pub(crate) fn composition<const C: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    rows: usize,
    x: Tokens<C, E, D, T>,
    mean: &Tensor<Rank1<C>, E, D>,
    variance: &Tensor<Rank1<C>, E, D>,
    eps: f64,
    affine: Affine<'_, C, E, D>,
) -> Result<Tokens<C, E, D, T>, D::Err> {
    let (shape, flat) = (*x.shape(), (rows, Const::<C>));
    let centered = x.try_reshape_like(&flat)?.try_sub(mean.clone().try_broadcast_like(&flat)?)?;
    let std = variance.clone().try_add(number::<E>(eps))?.try_sqrt()?;
    let normal = centered.try_div(std.try_broadcast_like(&flat)?)?;
    finish(normal, affine, shape)
}

pub(crate) fn train_composition<const C: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    rows: usize,
    x: Tokens<C, E, D, T>,
    eps: f64,
    affine: Affine<'_, C, E, D>,
) -> Result<(Tokens<C, E, D, T>, ChannelStatistics<E>), D::Err> {
    let (shape, flat) = (*x.shape(), (rows, Const::<C>));
    let x = x.try_reshape_like(&flat)?;
    let mean = x.retaped::<T>().try_mean::<Rank1<C>, Axis<0>>()?;
    let means = mean.as_vec();
    let centered = x.try_sub(mean.try_broadcast_like(&flat)?)?;
    let variance = centered.retaped::<T>().try_square()?.try_mean::<Rank1<C>, Axis<0>>()?;
    let unbiased = number::<E>(rows as f64 / (rows as f64 - 1.0));
    let variances = variance.as_vec().into_iter().map(|variance| variance * unbiased).collect();
    let std = variance.try_add(number::<E>(eps))?.try_sqrt()?;
    let normal = centered.try_div(std.try_broadcast_like(&flat)?)?;
    Ok((finish(normal, affine, shape)?, ChannelStatistics { mean: means, variance: variances }))
}

fn number<E: Dtype>(value: f64) -> E {
    E::from_f64(value).unwrap_or_default()
}

fn finish<const C: usize, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    normal: Tensor<(usize, Const<C>), E, D, T>,
    Affine { weight, bias, residual, then }: Affine<'_, C, E, D>,
    shape: (usize, usize, Const<C>),
) -> Result<Tokens<C, E, D, T>, D::Err> {
    let flat = *normal.shape();
    let y = normal
        .try_mul(weight.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&flat)?)?
        .try_add(bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&flat)?)?
        .try_reshape_like(&shape)?;
    let y = match residual {
        Some(residual) => y.try_add(residual.retaped::<T>())?,
        None => y,
    };
    match then {
        Activation::None => Ok(y),
        Activation::Relu => relu::composition(y),
    }
}
