//! Linear layer on the CPU: row chunks in parallel, bias added while a chunk is in cache.

use rayon::prelude::*;

use super::Dims;
use crate::{
    matmul::{Mat, Out, PANEL, Panels, Write, product, product_panels, to_panels},
    simd::{Kernel, dispatch},
    tape::buffer,
};

/// Rows that one task computes: small enough that a chunk of results stays in the second-level cache.
const CHUNK: usize = 256;
/// Rows of the weight gradient that one task computes.
const OUTER_CHUNK: usize = 192;

/// A weight as right operand of a product. For many rows it is put into panels once; for few that would cost more than
/// it saves.
pub(crate) struct Operand<'a> {
    weight: &'a [f32],
    panels: Option<Vec<f32>>,
    /// Rows and columns of the operand.
    k: usize,
    n: usize,
    turned: bool,
}

impl<'a> Operand<'a> {
    /// `W^T: [inner, outer]` of a weight `[outer, inner]`, to be multiplied by `rows` rows.
    pub(crate) fn turned(weight: &'a [f32], inner: usize, rows: usize) -> Self {
        let panels = (rows > 2 * CHUNK).then(|| turn(weight, inner));
        Self { weight, panels, k: inner, n: weight.len() / inner, turned: true }
    }

    /// `W: [outer, inner]`, to be multiplied by `rows` rows.
    pub(crate) fn straight(weight: &'a [f32], inner: usize, rows: usize) -> Self {
        let outer = weight.len() / inner;
        let panels = (rows > 2 * CHUNK).then(|| {
            let mut panels = buffer(weight.len());
            panels.par_chunks_mut(PANEL * outer).enumerate().for_each(|(i, panel)| {
                to_panels(&weight[i * PANEL..], panel.len() / outer, inner, panel);
            });
            panels
        });
        Self { weight, panels, k: outer, n: inner, turned: false }
    }

    /// `out = a b` or `out += a b`.
    ///
    /// # Safety
    /// As [`product`]'s.
    pub(crate) unsafe fn multiply(&self, mode: Write, out: Out, rows: usize, a: Mat<'_>) {
        let (k, n) = (self.k, self.n);
        // SAFETY: the caller's.
        unsafe {
            match (&self.panels, self.turned) {
                (Some(panels), _) => product_panels(mode, out, rows, a, Panels::new(panels, k, n)),
                (None, true) => product(mode, out, (rows, n, k), a, Mat::dense(self.weight, n, k).t(), 1.0),
                (None, false) => product(mode, out, (rows, n, k), a, Mat::dense(self.weight, k, n), 1.0),
            }
        }
    }
}

/// `[outer, inner]` to `[inner, outer]` in panels.
fn turn(weight: &[f32], inner: usize) -> Vec<f32> {
    let mut values = buffer(weight.len());
    values.par_chunks_mut(PANEL * inner).enumerate().for_each(|(i, panel)| {
        dispatch(Turn { rows: &weight[i * PANEL * inner..], inner, width: panel.len() / inner, panel });
    });
    values
}

/// `[rows, inner]` to `turned: [inner, rows]` in this thread.
pub(crate) fn turn_rows(rows: &[f32], inner: usize, turned: &mut [f32]) {
    dispatch(Turn { rows, inner, width: turned.len() / inner, panel: turned });
}

/// The first `width` rows of `inner` numbers become the columns of `panel`.
struct Turn<'a> {
    rows: &'a [f32],
    inner: usize,
    width: usize,
    panel: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        /// Side of the blocks that are turned one after the other, in registers.
        const BLOCK: usize = 16;
        let Self { rows, inner, width, panel } = self;
        for first in (0..inner).step_by(BLOCK) {
            for column in (0..width).step_by(BLOCK) {
                if first + BLOCK <= inner && column + BLOCK <= width {
                    let mut block = [[0.0; BLOCK]; BLOCK];
                    for (j, line) in block.iter_mut().enumerate() {
                        line.copy_from_slice(&rows[(column + j) * inner + first..][..BLOCK]);
                    }
                    for i in 0..BLOCK {
                        let out = &mut panel[(first + i) * width + column..][..BLOCK];
                        for (out, line) in out.iter_mut().zip(&block) {
                            *out = line[i];
                        }
                    }
                } else {
                    for i in first..(first + BLOCK).min(inner) {
                        for j in column..(column + BLOCK).min(width) {
                            panel[i * width + j] = rows[j * inner + i];
                        }
                    }
                }
            }
        }
    }
}

/// `y = x W^T + b`; `y` is overwritten.
pub(crate) fn forward(dims: Dims, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let Dims { rows, inner, outer } = dims;
    let weight = Operand::turned(weight, inner, rows);
    y.par_chunks_mut(CHUNK * outer).enumerate().for_each(|(i, y)| {
        let rows = y.len() / outer;
        let x = Mat::rows(x, i * CHUNK * inner, rows, inner, inner);
        // SAFETY: both operands are dense and hold these dimensions; `y` is this task's own.
        unsafe { weight.multiply(Write::Set, Out::dense(y, rows, outer), rows, x) };
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
        let weight = Operand::straight(weight, inner, rows);
        dx.par_chunks_mut(CHUNK * inner).enumerate().for_each(|(i, dx)| {
            let rows = dx.len() / inner;
            let dy = Mat::rows(dy, i * CHUNK * outer, rows, outer, outer);
            // SAFETY: as in `forward`.
            unsafe { weight.multiply(Write::Add, Out::dense(dx, rows, inner), rows, dy) };
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
    column_sums_of(rows, sums.len(), 0, sums);
}

/// `sums[j] += sum_i rows[i, first + j]` in this thread, for rows of `stride` numbers.
pub(crate) fn column_sums_of(rows: &[f32], stride: usize, first: usize, sums: &mut [f32]) {
    dispatch(ColumnSums { rows, stride, first, sums });
}

/// Adds `bias` to each row of `y` in this thread.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    add_bias_columns(y, bias.len(), 0, bias);
}

/// Adds `bias` to the columns `first..` of each row of `stride` numbers in this thread.
pub(crate) fn add_bias_columns(y: &mut [f32], stride: usize, first: usize, bias: &[f32]) {
    dispatch(AddBias { y, stride, first, bias });
}

struct AddBias<'a> {
    y: &'a mut [f32],
    stride: usize,
    first: usize,
    bias: &'a [f32],
}

impl Kernel for AddBias<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.y.chunks_exact_mut(self.stride) {
            for (y, b) in row[self.first..][..self.bias.len()].iter_mut().zip(self.bias) {
                *y += b;
            }
        }
    }
}

struct ColumnSums<'a> {
    rows: &'a [f32],
    stride: usize,
    first: usize,
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.rows.chunks_exact(self.stride) {
            for (s, v) in self.sums.iter_mut().zip(&row[self.first..]) {
                *s += v;
            }
        }
    }
}
