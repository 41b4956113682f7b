//! Softmax on the CPU.

use rayon::prelude::*;

use crate::{
    custom::{Input, Operation},
    simd::{Kernel, dispatch, dot, fma, softmax_row},
};

const CHUNK: usize = 64;

pub(crate) struct Softmax {
    pub(crate) width: usize,
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        let mut y = inputs[0].values.to_vec();
        forward(self.width, &mut y);
        y
    }

    fn backward(&self, _: &[Input<'_>], y: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
        backward(self.width, y, dy, gradients[0]);
    }
}

/// Softmax of each row of `width` elements, in place.
fn forward(width: usize, y: &mut [f32]) {
    y.par_chunks_mut(CHUNK * width).for_each(|y| rows(width, y));
}

/// `dx += y (dy - sum_j y_j dy_j)`, row by row, from the result `y` of the forward pass.
fn backward(width: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK * width)
        .zip(y.par_chunks(CHUNK * width).zip(dy.par_chunks(CHUNK * width)))
        .for_each(|(dx, (y, dy))| dispatch(Backward { width, y, dy, dx }));
}

/// Softmax of each row in place, in this thread.
pub(crate) fn rows(width: usize, y: &mut [f32]) {
    dispatch(Forward { width, y });
}

/// `dy = y (dy - sum_j y_j dy_j)`, row by row, in this thread.
pub(crate) fn rows_backward(width: usize, y: &[f32], dy: &mut [f32]) {
    dispatch(InPlace { width, y, dy });
}

struct Forward<'a> {
    width: usize,
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.y.chunks_exact_mut(self.width) {
            softmax_row::<FMA>(row);
        }
    }
}

struct Backward<'a> {
    width: usize,
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.y.chunks_exact(self.width).zip(self.dy.chunks_exact(self.width));
        for (dx, (y, dy)) in self.dx.chunks_exact_mut(self.width).zip(rows) {
            let mean = dot::<FMA>(y, dy);
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = fma::<FMA>(*y, dy - mean, *dx);
            }
        }
    }
}

struct InPlace<'a> {
    width: usize,
    y: &'a [f32],
    dy: &'a mut [f32],
}

impl Kernel for InPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, dy) in self.y.chunks_exact(self.width).zip(self.dy.chunks_exact_mut(self.width)) {
            let mean = dot::<FMA>(y, dy);
            for (dy, y) in dy.iter_mut().zip(y) {
                *dy = *y * (*dy - mean);
            }
        }
    }
}
