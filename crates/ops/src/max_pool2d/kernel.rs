//! Max pooling on the CPU: channels lie next to each other and are compared a vector at a time.

use rayon::prelude::*;

use super::Dims;
use crate::simd::{Kernel, dispatch};

/// `y` (overwritten): the largest numbers; `winners` (overwritten): the tokens they come from, of each image.
pub(crate) fn forward(dims: Dims, x: &[f32], y: &mut [f32], winners: &mut [u32]) {
    let (line, sample) = (dims.out.cols * dims.width, dims.grid.tokens() * dims.width);
    y.par_chunks_mut(line).zip(winners.par_chunks_mut(line)).enumerate().for_each(|(i, (y, winners))| {
        let (image, row) = (i / dims.out.rows, i % dims.out.rows);
        dispatch(Line { dims, row, x: &x[image * sample..][..sample], y, winners });
    });
}

/// Adds the gradient of `x` to `dx`.
pub(crate) fn backward(dims: Dims, winners: &[u32], dy: &[f32], dx: &mut [f32]) {
    let (from, to) = (dims.out.tokens() * dims.width, dims.grid.tokens() * dims.width);
    dx.par_chunks_mut(to).zip(dy.par_chunks(from).zip(winners.par_chunks(from))).for_each(
        |(dx, (dy, winners))| {
            for (dy, winners) in dy.chunks_exact(dims.width).zip(winners.chunks_exact(dims.width)) {
                for (channel, (dy, winner)) in dy.iter().zip(winners).enumerate() {
                    dx[*winner as usize * dims.width + channel] += dy;
                }
            }
        },
    );
}

/// One row of the result for one image `x`.
struct Line<'a> {
    dims: Dims,
    row: usize,
    x: &'a [f32],
    y: &'a mut [f32],
    winners: &'a mut [u32],
}

impl Kernel for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims: Dims { width, grid, window, .. }, row, x, y, winners } = self;
        let (lines, top) = window.seen(0, grid.rows, row);
        let results = y.chunks_exact_mut(width).zip(winners.chunks_exact_mut(width));
        for (col, (y, winners)) in results.enumerate() {
            let (places, left) = window.seen(1, grid.cols, col);
            let first = top * grid.cols + left;
            y.copy_from_slice(&x[first * width..][..width]);
            winners.fill(first as u32);
            for line in 0..lines.len() {
                for place in 0..places.len() {
                    let token = (top + line) * grid.cols + left + place;
                    let numbers = &x[token * width..][..width];
                    for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(numbers) {
                        let wins = *x > *y || x.is_nan();
                        *y = if wins { *x } else { *y };
                        *winner = if wins { token as u32 } else { *winner };
                    }
                }
            }
        }
    }
}
