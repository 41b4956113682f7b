//! GELU on the CPU: one pass over memory.

use rayon::prelude::*;

use crate::{
    custom::{Input, Operation},
    simd::{Kernel, dispatch, erf, exp, fma},
    tape::buffer,
};

const CHUNK: usize = 1 << 14;

pub(crate) struct Gelu;

impl Operation for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        let mut y = buffer(inputs[0].values.len());
        forward(inputs[0].values, &mut y);
        y
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
        backward(inputs[0].values, dy, gradients[0]);
    }
}

/// `y = gelu(x)`; `y` is overwritten.
fn forward(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| dispatch(Forward { x, y }));
}

/// `dx += dy gelu'(x)`.
fn backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK)))
        .for_each(|(dx, (x, dy))| dispatch(Backward { x, dy, dx }));
}

/// The distribution function of the normal distribution.
#[inline(always)]
fn phi<const FMA: bool>(x: f32) -> f32 {
    fma::<FMA>(0.5, erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2), 0.5)
}

/// `gelu(x)`.
#[inline(always)]
pub(crate) fn value<const FMA: bool>(x: f32) -> f32 {
    x * phi::<FMA>(x)
}

/// `gelu(x)` and its derivative `Phi(x) + x phi(x)`.
#[inline(always)]
pub(crate) fn with_derivative<const FMA: bool>(x: f32) -> (f32, f32) {
    const INV_SQRT_2PI: f32 = 0.398_942_3;
    let distribution = phi::<FMA>(x);
    let density = INV_SQRT_2PI * exp::<FMA>(-0.5 * x * x);
    (x * distribution, fma::<FMA>(x, density, distribution))
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = value::<FMA>(*x);
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((dx, dy), x) in self.dx.iter_mut().zip(self.dy).zip(self.x) {
            *dx = fma::<FMA>(*dy, with_derivative::<FMA>(*x).1, *dx);
        }
    }
}
