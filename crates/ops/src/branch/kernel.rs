//! The branch around a sublayer on the CPU: what happens to a chunk of rows before and after the sublayer's own work.

use std::ops::Range;

use crate::{
    layer_norm,
    simd::{Kernel, dispatch, fma},
};

/// A [`Branch`](super::Branch) without types.
#[derive(Clone, Copy)]
pub(crate) struct Slices<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) eps: f32,
    pub(crate) scale: Option<&'a [f32]>,
}

/// Numbers that the backward pass keeps per row of a branch: mean and reciprocal standard deviation.
pub(crate) type RowStatistics = [f32; 2];

impl<'a> Slices<'a> {
    /// The factor of a sample.
    fn factor(&self, sample: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[sample])
    }

    /// `normal = norm(x)`; both outputs are overwritten.
    pub(crate) fn enter(&self, x: &[f32], normal: &mut [f32], statistics: &mut [RowStatistics]) {
        layer_norm::rows_forward(x, self.weight, self.bias, self.eps, normal, statistics);
    }

    /// `normal = norm(x)` again, from the statistics, in panels.
    pub(crate) fn again(&self, x: &[f32], statistics: &[RowStatistics], normal: &mut [f32]) {
        layer_norm::panels_again(x, self.weight, self.bias, statistics, normal);
    }

    /// `y = x + scale y`. The numbers are those of rows `rows`, `sample_rows` of which are a sample.
    pub(crate) fn leave(&self, rows: Range<usize>, sample_rows: usize, x: &[f32], y: &mut [f32]) {
        self.by_sample(rows, sample_rows, |factor, part| {
            dispatch(Join { factor, x: &x[part.clone()], y: &mut y[part] });
        });
    }

    /// The gradient that reaches the sublayer: `scale dy`, written to `scaled` where a scale has to be applied.
    pub(crate) fn gradient<'g>(
        &self,
        rows: Range<usize>,
        sample_rows: usize,
        dy: &'g [f32],
        scaled: &'g mut [f32],
    ) -> &'g [f32] {
        if self.scale.is_none() {
            return dy;
        }
        let scaled = &mut scaled[..dy.len()];
        self.by_sample(rows, sample_rows, |factor, part| {
            dispatch(Scale { factor, x: &dy[part.clone()], y: &mut scaled[part] });
        });
        scaled
    }

    /// Through the normalisation: adds to `dx` and to `sums` (weight, then bias).
    pub(crate) fn backward(
        &self,
        x: &[f32],
        statistics: &[RowStatistics],
        dnormal: &[f32],
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        layer_norm::rows_backward(x, self.weight, statistics, dnormal, dx, sums);
    }

    /// Calls `f(factor, positions)` for the part of each sample in a chunk of rows.
    fn by_sample(&self, rows: Range<usize>, sample_rows: usize, mut f: impl FnMut(f32, Range<usize>)) {
        let width = self.weight.len();
        if self.scale.is_none() {
            return f(1.0, 0..rows.len() * width);
        }
        let mut row = rows.start;
        while row < rows.end {
            let sample = row / sample_rows;
            let end = ((sample + 1) * sample_rows).min(rows.end);
            f(self.factor(sample), (row - rows.start) * width..(end - rows.start) * width);
            row = end;
        }
    }
}

/// `y = x + factor y`.
struct Join<'a> {
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Join<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = fma::<FMA>(self.factor, *y, *x);
        }
    }
}

/// `y = factor x`.
struct Scale<'a> {
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.factor * x;
        }
    }
}
