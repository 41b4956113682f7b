//! Matrix products on strided views: one thread each; callers share the work out.

use std::marker::PhantomData;

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

// SAFETY: only `out` and `slice` hand out access, and their contract is that parts are disjoint between threads.
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
