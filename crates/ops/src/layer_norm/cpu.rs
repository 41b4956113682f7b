//! Layer normalisation on the CPU: each row is read from memory once, forward and backward.

use rayon::prelude::*;

use crate::{
    matmul::panel_parts,
    simd::{Kernel, LANES, dispatch, fma, sum_by},
};

/// Rows that one task normalises.
const CHUNK: usize = 128;

/// Mean and reciprocal standard deviation of each row, for the backward pass.
pub(crate) type Statistics = Vec<[f32; 2]>;

/// The rows of [`forward`] in this thread.
pub(crate) fn rows_forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    dispatch(Forward { x, weight, bias, eps, y, statistics });
}

/// The result of [`rows_forward`] again, from its statistics, in panels.
pub(crate) fn panels_again(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    statistics: &[[f32; 2]],
    panels: &mut [f32],
) {
    dispatch(Again { x, weight, bias, statistics, panels });
}

/// The rows of [`backward`] in this thread; `sums` holds the gradients of weight and bias one after the other.
pub(crate) fn rows_backward(
    x: &[f32],
    weight: &[f32],
    statistics: &[[f32; 2]],
    dy: &[f32],
    dx: &mut [f32],
    sums: &mut [f32],
) {
    dispatch(Backward { x, weight, statistics, dy, dx, sums });
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias`; `y` is overwritten.
pub(crate) fn forward(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) -> Statistics {
    let width = weight.len();
    let mut statistics = vec![[0.0; 2]; x.len() / width];
    y.par_chunks_mut(CHUNK * width)
        .zip(x.par_chunks(CHUNK * width).zip(statistics.par_chunks_mut(CHUNK)))
        .for_each(|(y, (x, statistics))| rows_forward(x, weight, bias, eps, y, statistics));
    statistics
}

/// Adds the gradients of `x`, `weight` and `bias` to `dx`, `dweight` and `dbias`.
pub(crate) fn backward(
    x: &[f32],
    weight: &[f32],
    statistics: &[[f32; 2]],
    dy: &[f32],
    dx: &mut [f32],
    (dweight, dbias): (&mut [f32], &mut [f32]),
) {
    let width = weight.len();
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(CHUNK * width)
        .zip(x.par_chunks(CHUNK * width).zip(dy.par_chunks(CHUNK * width).zip(statistics.par_chunks(CHUNK))))
        .map(|(dx, (x, (dy, statistics)))| {
            let mut sums = vec![0.0; 2 * width];
            rows_backward(x, weight, statistics, dy, dx, &mut sums);
            sums
        })
        .collect();
    for sums in partial {
        for (d, s) in dweight.iter_mut().chain(dbias.iter_mut()).zip(sums) {
            *d += s;
        }
    }
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
    statistics: &'a mut [[f32; 2]],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.weight.len();
        let scale = 1.0 / width as f32;
        let rows = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)).zip(self.statistics);
        for ((x, y), statistics) in rows {
            let mean = sum_by(x, |v| v) * scale;
            let variance = sum_by(x, |v| (v - mean) * (v - mean)) * scale;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            *statistics = [mean, inverse];
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(self.weight).zip(self.bias) {
                *y = fma::<FMA>((x - mean) * inverse, *w, *b);
            }
        }
    }
}

struct Again<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    statistics: &'a [[f32; 2]],
    panels: &'a mut [f32],
}

impl Kernel for Again<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.weight.len();
        let count = self.statistics.len();
        for (row, (x, [mean, inverse])) in self.x.chunks_exact(width).zip(self.statistics).enumerate() {
            for (columns, place) in panel_parts(count, width, row) {
                let parameters = self.weight[columns.clone()].iter().zip(&self.bias[columns.clone()]);
                for ((y, x), (w, b)) in self.panels[place].iter_mut().zip(&x[columns]).zip(parameters) {
                    *y = fma::<FMA>((x - mean) * inverse, *w, *b);
                }
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    statistics: &'a [[f32; 2]],
    dy: &'a [f32],
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    /// With n = normalised x and g = dy * weight: `dx = inverse * (g - mean(g) - n mean(g n))`.
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.weight.len();
        let scale = 1.0 / width as f32;
        let (dweight, dbias) = self.sums.split_at_mut(width);
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        for (((x, dy), dx), [mean, inverse]) in rows.zip(self.dx.chunks_exact_mut(width)).zip(self.statistics)
        {
            let (mut sum, mut product) = ([0.0; LANES], [0.0; LANES]);
            let blocks = x.chunks(LANES).zip(dy.chunks(LANES)).zip(self.weight.chunks(LANES));
            let sums = dweight.chunks_mut(LANES).zip(dbias.chunks_mut(LANES));
            for (((x, dy), w), (dw, db)) in blocks.zip(sums) {
                if let (Ok(x), Ok(dy), Ok(w), Ok(dw), Ok(db)) = (
                    <&[f32; LANES]>::try_from(x),
                    <&[f32; LANES]>::try_from(dy),
                    <&[f32; LANES]>::try_from(w),
                    <&mut [f32; LANES]>::try_from(&mut *dw),
                    <&mut [f32; LANES]>::try_from(&mut *db),
                ) {
                    for i in 0..LANES {
                        let n = (x[i] - mean) * inverse;
                        let g = dy[i] * w[i];
                        sum[i] += g;
                        product[i] = fma::<FMA>(g, n, product[i]);
                        dw[i] = fma::<FMA>(dy[i], n, dw[i]);
                        db[i] += dy[i];
                    }
                } else {
                    for i in 0..x.len() {
                        let n = (x[i] - mean) * inverse;
                        let g = dy[i] * w[i];
                        sum[i] += g;
                        product[i] = fma::<FMA>(g, n, product[i]);
                        dw[i] = fma::<FMA>(dy[i], n, dw[i]);
                        db[i] += dy[i];
                    }
                }
            }
            let mean_g = sum_by(&sum, |v| v) * scale;
            let mean_gn = sum_by(&product, |v| v) * scale;
            for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(self.weight) {
                let n = (x - mean) * inverse;
                *dx = fma::<FMA>(*inverse, dy * w - mean_g - n * mean_gn, *dx);
            }
        }
    }
}
