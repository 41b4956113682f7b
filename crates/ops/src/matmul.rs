//! Matrix products on strided views: one thread each; callers share the work out.

use std::{marker::PhantomData, ops::Range, sync::Once};

use gemm::Parallelism;

/// Whether `rows` (not 0) rows of `cols` elements, `stride` apart, lie inside `len` elements from `offset` on.
fn holds(len: usize, offset: usize, (rows, cols): (usize, usize), stride: usize) -> bool {
    let end = (rows - 1).checked_mul(stride).and_then(|v| v.checked_add(offset)?.checked_add(cols));
    end.is_some_and(|end| end <= len)
}

/// A read-only strided matrix inside a slice. Element (i, j) lies at `offset + i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: *const f32,
    row: usize,
    col: usize,
    life: PhantomData<&'a [f32]>,
}

impl<'a> Mat<'a> {
    /// Rows of `stride` elements, starting at `offset`, of which `rows` x `cols` are used.
    pub(crate) fn rows(data: &'a [f32], offset: usize, rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || holds(data.len(), offset, (rows, cols), stride));
        // SAFETY: the assertion keeps `offset` inside the slice unless the matrix is empty.
        let data = if rows == 0 || cols == 0 { data.as_ptr() } else { unsafe { data.as_ptr().add(offset) } };
        Self { data, row: stride, col: 1, life: PhantomData }
    }

    /// A dense row-major matrix.
    pub(crate) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::rows(data, 0, rows, cols, cols)
    }

    /// The transpose; nothing is moved.
    pub(crate) fn t(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }
}

// SAFETY: a read-only view of `f32`s that it borrows.
unsafe impl Send for Mat<'_> {}
// SAFETY: as above.
unsafe impl Sync for Mat<'_> {}

/// Where a product goes: rows of `stride` elements from `data` on.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    data: *mut f32,
    stride: usize,
}

impl Out {
    /// As [`Mat::rows`].
    pub(crate) fn rows(data: &mut [f32], offset: usize, rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || holds(data.len(), offset, (rows, cols), stride));
        // SAFETY: the assertion keeps `offset` inside the slice unless the matrix is empty.
        let data =
            if rows == 0 || cols == 0 { data.as_mut_ptr() } else { unsafe { data.as_mut_ptr().add(offset) } };
        Self { data, stride }
    }

    /// A dense row-major matrix.
    pub(crate) fn dense(data: &mut [f32], rows: usize, cols: usize) -> Self {
        Self::rows(data, 0, rows, cols, cols)
    }
}

/// What happens to the numbers that are already there.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Write {
    /// They are replaced.
    Set,
    /// The product is added to them.
    Add,
}

/// `out = a b` or `out += a b` with `a: [m, k]`, `b: [k, n]`, times `scale`.
///
/// # Safety
/// `a`, `b` and `out` must have been made with at least these dimensions, `out` must not overlap the others, and no
/// other thread may touch the elements of `out` meanwhile. `Set` reads nothing of `out`, which may be uninitialised.
pub(crate) unsafe fn product(
    mode: Write,
    out: Out,
    (m, n, k): (usize, usize, usize),
    a: Mat<'_>,
    b: Mat<'_>,
    scale: f32,
) {
    read_in_place();
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            1,
            out.stride as isize,
            mode == Write::Add,
            a.data,
            a.col as isize,
            a.row as isize,
            b.data,
            b.col as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Columns of a panel: what `gemm`'s AVX-512 kernel computes at once, and a multiple of the other kernels' vectors.
pub(crate) const PANEL: usize = 64;

/// A matrix `[k, n]` as `gemm` reads it fastest: [`PANEL`] columns at a time, the rows of each panel one after the other.
///
/// As right operand of a product it is neither packed nor read in strides, and a panel stays in the first-level cache while
/// the rows of the left operand pass by: 12 to 25 % faster than the same product with a row-major matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    data: &'a [f32],
    k: usize,
    n: usize,
}

impl<'a> Panels<'a> {
    /// `k * n` numbers, already in this order.
    pub(crate) fn new(data: &'a [f32], k: usize, n: usize) -> Self {
        assert!(data.len() == k * n);
        Self { data, k, n }
    }
}

/// The parts of row `row` of a matrix `[k, n]` in panels: columns, and where they lie.
pub(crate) fn panel_parts(
    k: usize,
    n: usize,
    row: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    (0..n).step_by(PANEL).map(move |first| {
        let width = PANEL.min(n - first);
        let start = first * k + row * width;
        (first..first + width, start..start + width)
    })
}

/// Puts rows of a row-major matrix of `n` columns, `stride` apart, into panels in this thread.
pub(crate) fn to_panels(rows: &[f32], n: usize, stride: usize, panels: &mut [f32]) {
    let k = panels.len() / n;
    for (first, panel) in (0..n).step_by(PANEL).zip(panels.chunks_mut(PANEL * k)) {
        let width = PANEL.min(n - first);
        for (row, out) in panel.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&rows[row * stride + first..][..width]);
        }
    }
}

/// As [`product`] with `b: [k, n]` in panels.
///
/// # Safety
/// As [`product`]'s.
pub(crate) unsafe fn product_panels(mode: Write, out: Out, rows: usize, a: Mat<'_>, b: Panels<'_>) {
    for (first, panel) in (0..b.n).step_by(PANEL).zip(b.data.chunks(PANEL * b.k)) {
        let width = PANEL.min(b.n - first);
        // SAFETY: the caller's; columns `first..first + width` of `out` are inside it.
        unsafe {
            let out = Out { data: out.data.add(first), ..out };
            product(mode, out, (rows, width, b.k), a, Mat::dense(panel, b.k, width), 1.0);
        }
    }
}

/// Makes `gemm` read right operands with contiguous rows in place up to the largest number of left rows it allows (1,536):
/// panels need no packing. The threshold is `gemm`'s own and holds for the whole process.
fn read_in_place() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| gemm::set_lhs_packing_threshold_single_thread(256));
}

/// A pointer into a buffer whose disjoint parts are written by several threads.
pub(crate) struct Shared<'a, T = f32> {
    data: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

// SAFETY: only `slice` hands out access, and its contract is that parts are disjoint between threads.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), life: PhantomData }
    }

    /// The elements `offset..offset + len`.
    ///
    /// # Safety
    /// No other thread may touch these elements while the slice is in use, nor this one through another part.
    pub(crate) unsafe fn slice(self, offset: usize, len: usize) -> &'a mut [T] {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: in bounds by the assertion, not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(offset), len) }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_overflow_are_refused() {
        assert!(holds(10, 1, (3, 3), 3) && !holds(10, 2, (3, 3), 3));
        assert!(!holds(10, 0, (usize::MAX, 1), 2) && !holds(10, usize::MAX, (1, 2), 1));
    }

    #[test]
    fn products_with_panels_agree_with_products() {
        let (rows, k) = (7, 5);
        for n in [1, 63, 64, 65, 200] {
            let a: Vec<f32> = (0..rows * k).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.53).cos()).collect();
            let mut panels = vec![f32::NAN; k * n];
            to_panels(&b, n, n, &mut panels);
            for row in 0..k {
                for (columns, place) in panel_parts(k, n, row) {
                    assert_eq!(b[row * n..][columns], panels[place]);
                }
            }
            let (mut got, mut want) = (vec![1.0; rows * n], vec![1.0; rows * n]);
            let a = Mat::dense(&a, rows, k);
            // SAFETY: dimensions as made.
            unsafe {
                product_panels(
                    Write::Add,
                    Out::dense(&mut got, rows, n),
                    rows,
                    a,
                    Panels::new(&panels, k, n),
                );
                product(
                    Write::Add,
                    Out::dense(&mut want, rows, n),
                    (rows, n, k),
                    a,
                    Mat::dense(&b, k, n),
                    1.0,
                );
            }
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-5, "{n}: {g}, want {w}");
            }
        }
    }

    #[test]
    fn strided_and_transposed_products_agree_with_loops() {
        let (m, n, k, stride) = (5, 7, 3, 11);
        let a: Vec<f32> = (0..m * stride).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..n * stride).map(|i| (i as f32 * 0.53).cos()).collect();
        let mut out = vec![1.0; m * stride];
        // SAFETY: dimensions as made.
        unsafe {
            product(
                Write::Add,
                Out::rows(&mut out, 2, m, n, stride),
                (m, n, k),
                Mat::rows(&a, 1, m, k, stride),
                Mat::rows(&b, 4, n, k, stride).t(),
                0.5,
            );
        }
        for i in 0..m {
            for j in 0..stride {
                let want = if (2..2 + n).contains(&j) {
                    1.0 + 0.5
                        * (0..k).map(|l| a[1 + i * stride + l] * b[4 + (j - 2) * stride + l]).sum::<f32>()
                } else {
                    1.0
                };
                assert!((out[i * stride + j] - want).abs() < 1e-5);
            }
        }
    }
}
