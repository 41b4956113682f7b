//! Batch normalisation: each channel over all tokens of all samples (Ioffe and Szegedy, arXiv 1502.03167), with what
//! follows it in a residual block.

mod cpu;
mod kernel;
#[cfg(test)]
mod tests;

use dfdx::prelude::*;

pub(crate) use cpu::on_cpu;
pub(crate) use kernel::spread;

use crate::{Error, Result, erase::held, relu};

type Tokens<E, D, T> = Tensor<(usize, usize, usize), E, D, T>;

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

/// [`Affine`] without the number of channels in its type.
pub(crate) struct Held<E: Dtype, D: Device<E>> {
    weight: Tensor<(usize,), E, D>,
    bias: Tensor<(usize,), E, D>,
    residual: Option<Tensor<(usize, usize, usize), E, D>>,
    then: Activation,
}

impl<E: Dtype, D: Device<E>> Held<E, D> {
    pub(crate) fn new<const C: usize>(affine: Affine<'_, C, E, D>) -> Self {
        let Affine { weight, bias, residual, then } = affine;
        Self { weight: held(weight), bias: held(bias), residual: residual.map(held), then }
    }
}

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

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    rows: usize,
    x: Tokens<E, D, T>,
    mean: Tensor<(usize,), E, D>,
    variance: Tensor<(usize,), E, D>,
    eps: f64,
    affine: Held<E, D>,
) -> Result<Tokens<E, D, T>, D::Err> {
    let (shape, flat) = (*x.shape(), (rows, x.shape().2));
    let centered = x.try_reshape_like(&flat)?.try_sub(mean.try_broadcast_like::<_, Axis<0>>(&flat)?)?;
    let std = variance.try_add(number::<E>(eps))?.try_sqrt()?;
    let normal = centered.try_div(std.try_broadcast_like::<_, Axis<0>>(&flat)?)?;
    finish(normal, affine, shape)
}

pub(crate) fn train_composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    rows: usize,
    x: Tokens<E, D, T>,
    eps: f64,
    affine: Held<E, D>,
) -> Result<(Tokens<E, D, T>, ChannelStatistics<E>), D::Err> {
    let (shape, flat) = (*x.shape(), (rows, x.shape().2));
    let x = x.try_reshape_like(&flat)?;
    let mean = x.retaped::<T>().try_mean::<(usize,), Axis<0>>()?;
    let means = mean.as_vec();
    let centered = x.try_sub(mean.try_broadcast_like::<_, Axis<0>>(&flat)?)?;
    let variance = centered.retaped::<T>().try_square()?.try_mean::<(usize,), Axis<0>>()?;
    let unbiased = number::<E>(rows as f64 / (rows as f64 - 1.0));
    let variances = variance.as_vec().into_iter().map(|variance| variance * unbiased).collect();
    let std = variance.try_add(number::<E>(eps))?.try_sqrt()?;
    let normal = centered.try_div(std.try_broadcast_like::<_, Axis<0>>(&flat)?)?;
    Ok((finish(normal, affine, shape)?, ChannelStatistics { mean: means, variance: variances }))
}

fn number<E: Dtype>(value: f64) -> E {
    E::from_f64(value).unwrap_or_default()
}

fn finish<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    normal: Tensor<(usize, usize), E, D, T>,
    Held { weight, bias, residual, then }: Held<E, D>,
    shape: (usize, usize, usize),
) -> Result<Tokens<E, D, T>, D::Err> {
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
