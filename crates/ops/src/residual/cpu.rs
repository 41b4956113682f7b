//! Residual addition on the CPU.

use rayon::prelude::*;

use crate::simd::{Kernel, dispatch, fma};

/// Elements that one task handles.
const CHUNK: usize = 1 << 15;

/// `y = residual + scale[b] * branch`; `y` is overwritten. `sample`: numbers per sample.
pub(crate) fn forward(sample: usize, branch: &[f32], residual: &[f32], scale: Option<&[f32]>, y: &mut [f32]) {
    y.copy_from_slice(residual);
    scaled(sample, branch, scale, y);
}

/// `dbranch += scale[b] * dy`.
pub(crate) fn backward(sample: usize, dy: &[f32], scale: Option<&[f32]>, dbranch: &mut [f32]) {
    scaled(sample, dy, scale, dbranch);
}

/// `y += x`.
pub(crate) fn accumulate(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| add(x, y));
}

/// `y += x` in this thread.
pub(crate) fn add(x: &[f32], y: &mut [f32]) {
    dispatch(Axpy { factor: 1.0, x, y });
}

fn scaled(sample: usize, x: &[f32], scale: Option<&[f32]>, y: &mut [f32]) {
    match scale {
        None => accumulate(x, y),
        Some(scale) => y
            .par_chunks_mut(sample)
            .zip(x.par_chunks(sample).zip(scale))
            .for_each(|(y, (x, factor))| dispatch(Axpy { factor: *factor, x, y })),
    }
}

/// `y += factor x`.
struct Axpy<'a> {
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Axpy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = fma::<FMA>(self.factor, *x, *y);
        }
    }
}
