//! Query and key weights of one layer, and the attention they make.

use rayon::prelude::*;

use crate::{Error, Matrix, Result};

/// Query and key weights as a linear layer stores them, `[out, in]`: head h has the rows from `h * head_dim` on.
///
/// Without biases: the papers' solves do not know of them, though their layers have random ones.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryKey {
    heads: usize,
    query: Matrix,
    key: Matrix,
}

/// A width that the heads divide: channels of one head.
///
/// # Errors
/// [`Error::Heads`]
pub(crate) fn head_dim(width: usize, heads: usize) -> Result<usize> {
    if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
        return Err(Error::Heads { width, heads });
    }
    Ok(width / heads)
}

impl QueryKey {
    /// query, key: `[width, width]`.
    ///
    /// # Errors
    /// [`Error::Heads`], [`Error::Shape`].
    pub fn new(heads: usize, query: Matrix, key: Matrix) -> Result<Self> {
        let width = query.cols();
        head_dim(width, heads)?;
        for (what, matrix) in [("query weights", &query), ("key weights", &key)] {
            if (matrix.rows(), matrix.cols()) != (width, width) {
                let got = format!("{} x {}", matrix.rows(), matrix.cols());
                return Err(Error::shape(what, format!("{width} x {width}"), got));
            }
        }
        Ok(Self { heads, query, key })
    }

    /// From each head's rows of both, `[head_dim, width]`.
    pub(crate) fn from_heads(heads: Vec<(Matrix, Matrix)>) -> Result<Self> {
        let stack = |part: &dyn Fn(&(Matrix, Matrix)) -> Matrix| {
            let cols = heads.first().map_or(0, |head| part(head).cols());
            let values: Vec<f64> = heads.iter().flat_map(|head| part(head).values().to_vec()).collect();
            Matrix::new(values.len() / cols.max(1), cols, values)
        };
        Self::new(heads.len(), stack(&|head| head.0.clone())?, stack(&|head| head.1.clone())?)
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Number of channels.
    pub fn width(&self) -> usize {
        self.query.cols()
    }

    /// Channels per head.
    pub fn head_dim(&self) -> usize {
        self.width() / self.heads
    }

    /// Query weights, `[width, width]`.
    pub fn query(&self) -> &Matrix {
        &self.query
    }

    /// Key weights, `[width, width]`.
    pub fn key(&self) -> &Matrix {
        &self.key
    }

    /// The rows of one head in both, `[head_dim, width]`.
    pub(crate) fn head(&self, head: usize) -> (Matrix, Matrix) {
        let rows = head * self.head_dim()..(head + 1) * self.head_dim();
        (self.query.row_range(rows.clone()), self.key.row_range(rows))
    }

    /// `Q K` of one head, `[width, width]`: all that the attention depends on.
    ///
    /// # Panics
    /// If there is no such head.
    pub fn product(&self, head: usize) -> Matrix {
        let (query, key) = self.head(head);
        query.transposed_times(&key)
    }

    /// Attention of each head on `input`, `[tokens, width]`: `softmax(P Q K P^T / sqrt(head_dim))`, `[tokens, tokens]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the input has another width.
    pub fn attention(&self, input: &Matrix) -> Result<Vec<Matrix>> {
        if input.cols() != self.width() {
            let expected = format!("{} channels", self.width());
            return Err(Error::shape("input of the attention", expected, input.cols().to_string()));
        }
        let scale = (self.head_dim() as f64).sqrt().recip();
        let map = |head: usize| {
            let (query, key) = self.head(head);
            let mut map = input.times_transposed(&query).times_transposed(&input.times_transposed(&key));
            for row in map.values_mut().chunks_exact_mut(input.rows().max(1)) {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter_mut().for_each(|v| *v = ((*v - top) * scale).exp());
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|v| *v /= sum);
            }
            map
        };
        Ok((0..self.heads).into_par_iter().map(map).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_is_the_softmax_of_scaled_products_head_by_head() {
        let query = Matrix::from_fn(4, 4, |i, j| if i == j { 1.0 } else { 0.0 });
        let key = Matrix::from_fn(4, 4, |i, j| if i == j { 2.0 } else { 0.0 });
        let weights = QueryKey::new(2, query, key).unwrap();
        let input = Matrix::from_fn(2, 4, |i, j| if i == j { 1.0 } else { 0.0 });
        let maps = weights.attention(&input).unwrap();
        // head 0 has channels 0 and 1: logits 2 / sqrt(2) on the diagonal; head 1 sees nothing
        let own = 2.0f64.sqrt().exp() / (2.0f64.sqrt().exp() + 1.0);
        for (got, want) in maps[0].values().iter().zip([own, 1.0 - own, 1.0 - own, own]) {
            assert!((got - want).abs() < 1e-12);
        }
        assert_eq!(maps[1].values(), [0.5; 4]);
        assert_eq!(weights.product(1).at(2, 2), 2.0);
        assert_eq!(weights.product(0).at(2, 2), 0.0);
    }

    #[test]
    fn widths_that_do_not_fit_are_errors() {
        let square = |n| Matrix::from_fn(n, n, |_, _| 0.0);
        assert_eq!(QueryKey::new(3, square(4), square(4)), Err(Error::Heads { width: 4, heads: 3 }));
        assert_eq!(QueryKey::new(0, square(4), square(4)), Err(Error::Heads { width: 4, heads: 0 }));
        assert!(matches!(QueryKey::new(2, square(4), square(6)), Err(Error::Shape { .. })));
        let weights = QueryKey::new(2, square(4), square(4)).unwrap();
        assert!(matches!(weights.attention(&square(3)), Err(Error::Shape { .. })));
    }
}
