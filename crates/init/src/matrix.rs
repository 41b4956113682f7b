//! Dense row-major matrices of `f64`: what solvers take and give.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use crate::{Error, Result};

/// A dense matrix, row-major.
///
/// Doubles because the solvers divide by small singular values; weights are rounded to `f32` once, at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

/// The thin singular value decomposition, `left diag(values) right^T`: columns in descending order of the singular values.
pub struct Svd {
    /// `[rows, min(rows, cols)]`
    pub left: Matrix,
    /// `[min(rows, cols)]`
    pub values: Vec<f64>,
    /// `[cols, min(rows, cols)]`
    pub right: Matrix,
}

impl Matrix {
    /// values: `[rows, cols]`, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if that is not their number.
    pub fn new(rows: usize, cols: usize, values: Vec<f64>) -> Result<Self> {
        if rows.checked_mul(cols) != Some(values.len()) {
            let got = format!("{} numbers", values.len());
            return Err(Error::shape("matrix", format!("{rows} x {cols} numbers"), got));
        }
        Ok(Self { rows, cols, values })
    }

    /// As [`Matrix::new`], from single precision.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Result<Self> {
        Self::new(rows, cols, values.iter().map(|v| f64::from(*v)).collect())
    }

    /// The matrix with `value(row, column)` as its elements.
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows * cols).map(|i| value(i / cols, i % cols)).collect();
        Self { rows, cols, values }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All elements, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All elements, row by row, to be changed.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// One element.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn at(&self, row: usize, col: usize) -> f64 {
        self.row(row)[col]
    }

    /// The elements of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.cols..][..self.cols]
    }

    /// All elements in single precision.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    /// The rows of a range.
    pub(crate) fn row_range(&self, rows: std::ops::Range<usize>) -> Self {
        let values = self.values[rows.start * self.cols..rows.end * self.cols].to_vec();
        Self { rows: rows.len(), cols: self.cols, values }
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.values[j * self.cols + i])
    }

    /// Each column times its factor.
    pub(crate) fn scaled_columns(mut self, factors: &[f64]) -> Self {
        for row in self.values.chunks_exact_mut(self.cols.max(1)) {
            row.iter_mut().zip(factors).for_each(|(v, factor)| *v *= factor);
        }
        self
    }

    /// The first `count` columns; there must be so many.
    pub fn first_columns(&self, count: usize) -> Self {
        Self::from_fn(self.rows, count, |i, j| self.values[i * self.cols + j])
    }

    /// The product with `other`.
    ///
    /// # Panics
    /// If the inner dimensions differ.
    pub fn times(&self, other: &Self) -> Self {
        product(self.view(), other.view())
    }

    /// The product with the transpose of `other`.
    ///
    /// # Panics
    /// If the numbers of columns differ.
    pub fn times_transposed(&self, other: &Self) -> Self {
        product(self.view(), other.view().transpose())
    }

    /// The product of the transpose with `other`.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    pub fn transposed_times(&self, other: &Self) -> Self {
        product(self.view().transpose(), other.view())
    }

    /// The thin singular value decomposition. `what` is the matrix's name in an error.
    ///
    /// # Errors
    /// [`Error::Decomposition`] of a matrix that is not finite.
    pub fn svd(&self, what: &'static str) -> Result<Svd> {
        let svd = self.finite(what)?.thin_svd().map_err(|_| self.failed(what))?;
        let values = svd.S().column_vector().iter().copied().collect();
        Ok(Svd { left: copied(svd.U()), values, right: copied(svd.V()) })
    }

    /// The singular values alone, in descending order.
    ///
    /// # Errors
    /// As [`Matrix::svd`].
    pub fn singular_values(&self, what: &'static str) -> Result<Vec<f64>> {
        self.finite(what)?.singular_values().map_err(|_| self.failed(what))
    }

    /// What can be decomposed.
    fn finite(&self, what: &'static str) -> Result<MatRef<'_, f64>> {
        if self.values.iter().all(|v| v.is_finite()) { Ok(self.view()) } else { Err(self.failed(what)) }
    }

    fn failed(&self, what: &'static str) -> Error {
        Error::Decomposition { what, rows: self.rows, cols: self.cols }
    }

    fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.values, self.rows, self.cols)
    }
}

fn copied(view: MatRef<'_, f64>) -> Matrix {
    Matrix::from_fn(view.nrows(), view.ncols(), |i, j| view[(i, j)])
}

fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Matrix {
    let (rows, cols) = (left.nrows(), right.ncols());
    let mut values = vec![0.0; rows * cols];
    let target = MatMut::from_row_major_slice_mut(&mut values, rows, cols);
    matmul(target, Accum::Replace, left, right, 1.0, Par::Seq);
    Matrix { rows, cols, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_transposes_agree_with_their_sums() {
        let a = Matrix::from_fn(2, 3, |i, j| (i * 3 + j) as f64);
        let b = Matrix::from_fn(3, 4, |i, j| (i as f64) - (j as f64));
        let want = Matrix::from_fn(2, 4, |i, j| (0..3).map(|k| a.at(i, k) * b.at(k, j)).sum());
        assert_eq!(a.times(&b), want);
        assert_eq!(a.times_transposed(&b.transposed()), want);
        assert_eq!(a.transposed().transposed_times(&b), want);
        assert_eq!(a.transposed().at(2, 1), a.at(1, 2));
    }

    #[test]
    fn singular_vectors_give_the_matrix_back_with_values_descending() {
        for (rows, cols) in [(5, 3), (3, 5), (4, 4)] {
            let a = Matrix::from_fn(rows, cols, |i, j| ((i * 7 + j * 3) % 5) as f64 - (i * j) as f64 * 0.1);
            let svd = a.svd("a").unwrap();
            let again = svd.left.scaled_columns(&svd.values).times_transposed(&svd.right);
            assert!(a.values().iter().zip(again.values()).all(|(a, b)| (a - b).abs() < 1e-12));
            assert!(svd.values.is_sorted_by(|a, b| a >= b));
            let alone = a.singular_values("a").unwrap();
            assert_eq!(alone.len(), svd.values.len());
            assert!(alone.iter().zip(&svd.values).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn a_matrix_that_is_not_finite_is_an_error() {
        let a = Matrix::from_fn(3, 3, |i, j| if i == j { f64::NAN } else { 0.0 });
        assert!(matches!(a.svd("a"), Err(Error::Decomposition { what: "a", rows: 3, cols: 3 })));
        assert!(matches!(a.singular_values("a"), Err(Error::Decomposition { what: "a", .. })));
        assert!(matches!(Matrix::new(2, 2, vec![0.0; 3]), Err(Error::Shape { .. })));
    }
}
