//! AdamW on the CPU: one pass over parameter, gradient and both averages.

use rayon::prelude::*;

use super::AdamWStep;
use crate::simd::{Kernel, dispatch, fma, sum_by};

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;

/// Updates `parameter` and both averages in place.
pub(crate) fn update(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    step: &AdamWStep,
) {
    let (rate, correction) = step.corrections();
    let constants = Constants {
        scale: step.gradient_scale as f32,
        keep: (1.0 - step.lr * step.weight_decay) as f32,
        beta1: (1.0 - step.beta1) as f32,
        beta2: step.beta2 as f32,
        one_minus_beta2: (1.0 - step.beta2) as f32,
        correction: correction as f32,
        eps: step.eps as f32,
        rate: rate as f32,
    };
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
        .for_each(|((parameter, gradient), (first, second))| {
            dispatch(Update { parameter, gradient, first, second, constants });
        });
}

/// Sum of squares: each chunk in `f32` lanes, chunks in `f64` in order.
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    let sums: Vec<f32> = x.par_chunks(CHUNK).map(|x| dispatch(SquareSum(x))).collect();
    sums.into_iter().map(f64::from).sum()
}

/// `average += (1 - decay) (x - average)`.
pub(crate) fn average(x: &[f32], average: &mut [f32], decay: f64) {
    let weight = (1.0 - decay) as f32;
    average
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(average, x)| dispatch(Average { x, average, weight }));
}

#[derive(Clone, Copy)]
struct Constants {
    scale: f32,
    keep: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    correction: f32,
    eps: f32,
    rate: f32,
}

struct Update<'a> {
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    constants: Constants,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let c = self.constants;
        let moments = self.first.iter_mut().zip(self.second);
        for ((p, g), (m, v)) in self.parameter.iter_mut().zip(self.gradient).zip(moments) {
            let g = g * c.scale;
            *m = fma::<FMA>(c.beta1, g - *m, *m);
            *v = fma::<FMA>(c.one_minus_beta2 * g, g, *v * c.beta2);
            let denominator = fma::<FMA>(v.sqrt(), c.correction, c.eps);
            *p = *p * c.keep - c.rate * (*m / denominator);
        }
    }
}

struct SquareSum<'a>(&'a [f32]);

impl Kernel for SquareSum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        sum_by(self.0, |v| v * v)
    }
}

struct Average<'a> {
    x: &'a [f32],
    average: &'a mut [f32],
    weight: f32,
}

impl Kernel for Average<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (a, x) in self.average.iter_mut().zip(self.x) {
            *a = fma::<FMA>(self.weight, x - *a, *a);
        }
    }
}
