//! New parameters, for any element type: what they are filled with, and layers made of them.

use dfdx::prelude::*;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use inductive_ops::{Backend, Erase, typed};

use crate::{Error, Result};

/// A layer whose type says all its sizes.
pub trait Build<E: Dtype, D: Backend<E>>: Sized {
    /// New, with the initial weights of its documentation, drawn from the device's random numbers.
    ///
    /// # Errors
    /// A device without memory for it.
    fn new(device: &D) -> Result<Self>;
}

/// What a new parameter is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// One number everywhere.
    Constant(f64),
    /// [`Normal`] of this deviation.
    Normal(f64),
    /// [`Uniform`] between plus and minus this bound.
    Uniform(f64),
}

impl Fill {
    /// timm's initialisation of linear layers and embeddings.
    pub const LINEAR: Self = Self::Normal(0.02);
    /// Zeros.
    pub const ZEROS: Self = Self::Constant(0.0);
    /// Ones.
    pub const ONES: Self = Self::Constant(1.0);

    /// He's rule over the fan out: see [`he`].
    pub fn he(fan_out: usize) -> Self {
        Self::Normal(he(fan_out).std)
    }

    /// PyTorch's for a convolution or linear layer of this fan in: uniform in `+-1 / sqrt(fan_in)`.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform((fan_in as f64).powf(-0.5))
    }

    /// A tensor filled so.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn tensor<S: Erase, E: Dtype, D: Device<E>>(self, device: &D, shape: S) -> Result<Tensor<S, E, D>> {
        Ok(typed("build", self.numbers(device, shape.erase())?)?)
    }

    /// The same with a shape of numbers alone, so that this is compiled once for each rank.
    fn numbers<S: Erase<Dyn = S>, E: Dtype, D: Device<E>>(
        self,
        device: &D,
        shape: S,
    ) -> Result<Tensor<S, E, D>> {
        let values = self.values(device, shape.num_elements())?;
        device.try_tensor_from_vec(values, shape).map_err(|e| Error::device("build", e))
    }

    /// So many numbers, from the device's random ones.
    fn values<E: Dtype, D: Device<E>>(self, device: &D, count: usize) -> Result<Vec<E>> {
        let constant = |value: f64| vec![E::from_f64(value).unwrap_or_default(); count];
        let drawn = match self {
            Self::Constant(value) => return Ok(constant(value)),
            Self::Normal(std) => device.try_sample_like(&(count,), Normal { std }),
            Self::Uniform(bound) => device.try_sample_like(&(count,), Uniform { bound }),
        };
        Ok(drawn.map_err(|e| Error::device("build", e))?.as_vec())
    }
}

/// The normal distribution around 0. timm's `trunc_normal_(std=.02)` cuts at +-2 *absolute*, 100 standard deviations:
/// in effect this.
#[derive(Clone, Copy, Debug)]
pub struct Normal {
    /// Standard deviation.
    pub std: f64,
}

impl<E: Dtype> Distribution<E> for Normal {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> E {
        let value: f64 = StandardNormal.sample(rng);
        E::from_f64(value * self.std).unwrap_or_default()
    }
}

/// He's rule over the fan out, PyTorch's `kaiming_normal_(mode="fan_out")`: deviation `sqrt(2 / fan_out)`. Of a convolution
/// the fan out is its output channels times the places of its kernel, groups or not.
pub fn he(fan_out: usize) -> Normal {
    Normal { std: (2.0 / fan_out as f64).sqrt() }
}

/// The uniform distribution on `[-bound, bound)`.
#[derive(Clone, Copy, Debug)]
pub struct Uniform {
    /// Half the width.
    pub bound: f64,
}

impl<E: Dtype> Distribution<E> for Uniform {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> E {
        E::from_f64(rng.gen_range(-self.bound..self.bound)).unwrap_or_default()
    }
}

/// Fill with N(0, 0.02^2), timm's initialisation of linear layers and embeddings.
pub fn normal<S: Shape, E: Dtype, D: Device<E>>(
    tensor: &mut Tensor<S, E, D>,
) -> std::result::Result<(), D::Err> {
    tensor.try_fill_with_distr(Normal { std: 0.02 })
}

/// Fill with zeros.
pub fn zeros<S: Shape, E: Dtype, D: Device<E>>(
    tensor: &mut Tensor<S, E, D>,
) -> std::result::Result<(), D::Err> {
    tensor.try_fill_with_zeros()
}
