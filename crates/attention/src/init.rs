//! Fills for new parameters, for any element type.

use dfdx::prelude::*;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

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
pub fn normal<S: Shape, E: Dtype, D: Device<E>>(tensor: &mut Tensor<S, E, D>) -> Result<(), D::Err> {
    tensor.try_fill_with_distr(Normal { std: 0.02 })
}

/// Fill with zeros.
pub fn zeros<S: Shape, E: Dtype, D: Device<E>>(tensor: &mut Tensor<S, E, D>) -> Result<(), D::Err> {
    tensor.try_fill_with_zeros()
}
