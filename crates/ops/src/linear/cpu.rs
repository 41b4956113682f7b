//! Linear layer on the CPU: row chunks in parallel, bias added while a chunk is in cache.

use rayon::prelude::*;

use super::Dims;
use crate::{
    matmul::{Mat, Out, Write, product},
    simd::{Kernel, dispatch},
    tape::buffer,
};

/// Rows that one task computes: small enough that a chunk of results stays in the second-level cache.
const CHUNK: usize = 256;
/// Rows of the weight gradient that one task computes.
const OUTER_CHUNK: usize = 192;

/// A weight `[outer, inner]` to be read as `[inner, outer]`. For many rows it is turned in memory once, which spares the
/// products packing it for every chunk of rows.
pub(crate) struct Transposed<'a> {
    weight: &'a [f32],
    turned: Option<Vec<f32>>,
    inner: usize,
    outer: usize,
}

impl Transposed<'_> {
    /// `[inner, outer]`
    pub(crate) fn mat(&self) -> Mat<'_> {
        match &self.turned {
            Some(turned) => Mat::dense(turned, self.inner, self.outer),
            None => Mat::dense(self.weight, self.outer, self.inner).t(),
        }
    }
}

/// See [`Transposed`]; `rows`: how many rows will be multiplied.
pub(crate) fn transposed(weight: &[f32], outer: usize, inner: usize, rows: usize) -> Transposed<'_> {
    Transposed { weight, turned: (rows > 2 * CHUNK).then(|| turn(weight, outer, inner)), inner, outer }
}

/// `[outer, inner]` to `[inner, outer]`.
fn turn(weight: &[f32], outer: usize, inner: usize) -> Vec<f32> {
    /// Side of the blocks that are turned one after the other: both sides of a block stay in the first-level cache.
    const BLOCK: usize = 16;
    let mut values = buffer(weight.len());
    values.par_chunks_mut(BLOCK * outer).enumerate().for_each(|(i, out)| {
        let start = i * BLOCK;
        for first in (0..outer).step_by(BLOCK) {
            for (j, out) in out.chunks_exact_mut(outer).enumerate() {
                let block = first..(first + BLOCK).min(outer);
                for (o, out) in block.clone().zip(&mut out[block]) {
                    *out = weight[o * inner + start + j];
                }
            }
        }
    });
    values
}

/// `y = x W^T + b`; `y` is overwritten.
pub(crate) fn forward(dims: Dims, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let Dims { rows, inner, outer } = dims;
    let turned = transposed(weight, outer, inner, rows);
    let turned = turned.mat();
    y.par_chunks_mut(CHUNK * outer).enumerate().for_each(|(i, y)| {
        let rows = y.len() / outer;
        // SAFETY: both operands are dense and hold these dimensions; `y` is this task's own.
        unsafe {
            product(
                Write::Set,
                Out::dense(y, rows, outer),
                (rows, outer, inner),
                Mat::rows(x, i * CHUNK * inner, rows, inner, inner),
                turned,
                1.0,
            );
        }
        if let Some(bias) = bias {
            add_bias(y, bias);
        }
    });
}

/// Adds to each gradient that is given: `dx += dy W`, `dW += dy^T x`, `db += sum_rows dy`.
pub(crate) fn backward(
    dims: Dims,
    dy: &[f32],
    x: (&[f32], Option<&mut [f32]>),
    weight: (&[f32], Option<&mut [f32]>),
    dbias: Option<&mut [f32]>,
) {
    let Dims { rows, inner, outer } = dims;
    let (x, dx) = x;
    let (weight, dweight) = weight;
    if let Some(dx) = dx {
        dx.par_chunks_mut(CHUNK * inner).enumerate().for_each(|(i, dx)| {
            let rows = dx.len() / inner;
            // SAFETY: as in `forward`.
            unsafe {
                product(
                    Write::Add,
                    Out::dense(dx, rows, inner),
                    (rows, inner, outer),
                    Mat::rows(dy, i * CHUNK * outer, rows, outer, outer),
                    Mat::dense(weight, outer, inner),
                    1.0,
                );
            }
        });
    }
    if let Some(dweight) = dweight {
        dweight.par_chunks_mut(OUTER_CHUNK * inner).enumerate().for_each(|(i, dw)| {
            let part = dw.len() / inner;
            // SAFETY: as in `forward`.
            unsafe {
                product(
                    Write::Add,
                    Out::dense(dw, part, inner),
                    (part, inner, rows),
                    Mat::rows(dy, i * OUTER_CHUNK, rows, part, outer).t(),
                    Mat::dense(x, rows, inner),
                    1.0,
                );
            }
        });
    }
    if let Some(dbias) = dbias {
        add_column_sums(dy, dbias);
    }
}

/// `sums[j] += sum_i rows[i, j]`, over chunks of rows whose number does not depend on the threads.
pub(crate) fn add_column_sums(rows: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let partial: Vec<Vec<f32>> = rows
        .par_chunks(CHUNK * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            column_sums(rows, &mut sums);
            sums
        })
        .collect();
    for part in partial {
        for (s, p) in sums.iter_mut().zip(part) {
            *s += p;
        }
    }
}

/// `sums[j] += sum_i rows[i, j]` in this thread.
pub(crate) fn column_sums(rows: &[f32], sums: &mut [f32]) {
    dispatch(ColumnSums { rows, sums });
}

/// Adds `bias` to each row of `y` in this thread.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    dispatch(AddBias { y, bias });
}

/// Adds `bias` to the columns `first..` of each row of `stride` numbers in this thread.
pub(crate) fn add_bias_columns(y: &mut [f32], stride: usize, first: usize, bias: &[f32]) {
    for row in y.chunks_exact_mut(stride) {
        dispatch(AddBias { y: &mut row[first..first + bias.len()], bias });
    }
}

/// `sums[j] += sum_i rows[i, first + j]` in this thread, for rows of `stride` numbers.
pub(crate) fn column_sums_of(rows: &[f32], stride: usize, first: usize, sums: &mut [f32]) {
    for row in rows.chunks_exact(stride) {
        dispatch(ColumnSums { rows: &row[first..first + sums.len()], sums });
    }
}

struct AddBias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for AddBias<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            for (y, b) in row.iter_mut().zip(self.bias) {
                *y += b;
            }
        }
    }
}

struct ColumnSums<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.rows.chunks_exact(self.sums.len()) {
            for (s, v) in self.sums.iter_mut().zip(row) {
                *s += v;
            }
        }
    }
}
