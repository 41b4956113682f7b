//! Mimetic initialisation: products of weights near plus or minus the identity (Trockman & Kolter, arXiv 2305.09828).
//!
//! ```text
//! A = alpha Z + beta I (query, key) or alpha Z - beta I (value, projection)     Z uniform on +-sqrt(3 / D): variance 1 / D
//! A = U S V^T = L R       L = U sqrt(S)       R = sqrt(S) V^T
//! query, key, each head its own A:    W_Q = L[:, :r]    W_K = R^T[:, :r]        so that W_Q W_K^T is the best A of rank r
//! value, projection, one A per layer: x -> x L R = x A
//! ```
//!
//! The constants are those of the code of arXiv 2404.01139 and 2505.19985 (0.7, 0.7 and 0.4, 0.4); the paper's own were not
//! available to us.

use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Matrix, QueryKey, Result, query_key::head_dim, random::uniform};

/// How much noise and how much identity.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Factor of the noise, whose elements have variance 1 / width.
    pub alpha: f64,
    /// Factor of the identity.
    pub beta: f64,
}

impl Mixture {
    /// Both codes' constants for queries and keys.
    pub const QUERY_KEY: Self = Self { alpha: 0.7, beta: 0.7 };
    /// Both codes' constants for values and projection.
    pub const VALUE_PROJ: Self = Self { alpha: 0.4, beta: 0.4 };

    /// `(L, R)` with `L R = alpha noise + sign beta I`; both `[width, width]`.
    fn factors(self, sign: f64, noise: &Matrix) -> Result<(Matrix, Matrix)> {
        for (what, got) in [("mimetic alpha", self.alpha), ("mimetic beta", self.beta)] {
            if !got.is_finite() {
                return Err(Error::Constant { what, expected: "a finite number", got });
            }
        }
        if noise.rows() != noise.cols() {
            let got = format!("{} x {}", noise.rows(), noise.cols());
            return Err(Error::shape("noise of a mimetic layer", "as many rows as columns", got));
        }
        let identity = |i, j| if i == j { sign * self.beta } else { 0.0 };
        let width = noise.cols();
        let mixed = Matrix::from_fn(width, width, |i, j| self.alpha * noise.at(i, j) + identity(i, j));
        let svd = mixed.svd("a mimetic product")?;
        let roots: Vec<f64> = svd.values.iter().map(|v| v.sqrt()).collect();
        Ok((svd.left.scaled_columns(&roots), svd.right.scaled_columns(&roots).transposed()))
    }
}

/// How the factors are stored in the value and projection layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// `value.weight = L^T`, `proj.weight = R^T`: the layers do x -> x A, as meant (impulse branch of arXiv 2505.19985).
    #[default]
    Transposed,
    /// `value.weight = L`, `proj.weight = R`: the layers do x -> x (R L)^T (arXiv 2404.01139 and the mimetic branch of
    /// 2505.19985). The trace is the same, what lies beside the diagonal is smaller.
    AsPublished,
}

/// Noise of one product: `[width, width]`, uniform with variance 1 / width.
pub fn mimetic_noise(width: usize, rng: &mut impl Rng) -> Matrix {
    uniform(width, width, (3.0 / width as f64).sqrt(), rng)
}

/// Query and key weights near the identity, cut to `head_dim` directions per head.
///
/// noise: one matrix `[width, width]` per head, as [`mimetic_noise`] draws them.
///
/// # Errors
/// [`Error::Heads`], [`Error::Shape`], [`Error::Constant`], [`Error::Decomposition`].
pub fn mimetic_query_key(mixture: Mixture, noise: &[Matrix]) -> Result<QueryKey> {
    let width = noise.first().map_or(0, Matrix::cols);
    let head_dim = head_dim(width, noise.len())?;
    let head = |noise: &Matrix| -> Result<_> {
        let (left, right) = mixture.factors(1.0, noise)?;
        Ok((left.first_columns(head_dim).transposed(), right.row_range(0..head_dim)))
    };
    QueryKey::from_heads(noise.par_iter().map(head).collect::<Result<_>>()?)
}

/// Value and projection weights whose product is near minus the identity: `(value, proj)`, both `[width, width]` as
/// `[out, in]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::Constant`], [`Error::Decomposition`].
pub fn mimetic_value_proj(mixture: Mixture, storage: Storage, noise: &Matrix) -> Result<(Matrix, Matrix)> {
    let (left, right) = mixture.factors(-1.0, noise)?;
    Ok(match storage {
        Storage::Transposed => (left.transposed(), right.transposed()),
        Storage::AsPublished => (left, right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn noise(width: usize, index: u64) -> Matrix {
        mimetic_noise(width, &mut stream(Purpose::QueryKey, 0, 0, index))
    }

    /// `x -> x value^T proj^T`
    fn map((value, proj): &(Matrix, Matrix)) -> Matrix {
        value.transposed_times(&proj.transposed())
    }

    #[test]
    fn one_head_keeps_the_whole_product() {
        let z = noise(12, 0);
        let weights = mimetic_query_key(Mixture { alpha: 0.5, beta: 2.0 }, std::slice::from_ref(&z)).unwrap();
        let product = weights.product(0);
        for i in 0..12 {
            for j in 0..12 {
                let want = 0.5 * z.at(i, j) + if i == j { 2.0 } else { 0.0 };
                assert!((product.at(i, j) - want).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn storage_keeps_the_trace_but_not_the_rest() {
        let both = [Storage::Transposed, Storage::AsPublished]
            .map(|storage| map(&mimetic_value_proj(Mixture::VALUE_PROJ, storage, &noise(192, 0)).unwrap()));
        let [mean, published_mean] =
            both.each_ref().map(|map| (0..192).map(|i| map.at(i, i)).sum::<f64>() / 192.0);
        assert!((mean - published_mean).abs() < 1e-12);
        assert!((mean + 0.4).abs() < 0.01, "{mean}");
        let [rest, published_rest] = both.each_ref().map(|map| {
            let squares = (0..192 * 192).filter(|i| i / 192 != i % 192).map(|i| map.values()[i].powi(2));
            (squares.sum::<f64>() / (192.0 * 191.0)).sqrt()
        });
        // 0.4 / sqrt(192) = 0.0289 as meant
        assert!((rest - 0.029).abs() < 0.0005, "{rest}");
        assert!((published_rest - 0.020).abs() < 0.0015, "{published_rest}");
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_an_error() {
        let three = [noise(8, 0), noise(8, 1), noise(8, 2)];
        let wrong = mimetic_query_key(Mixture::QUERY_KEY, &three);
        assert_eq!(wrong, Err(Error::Heads { width: 8, heads: 3 }));
        assert!(matches!(mimetic_query_key(Mixture::QUERY_KEY, &[]), Err(Error::Heads { .. })));
        let oblong = Matrix::from_fn(2, 3, |_, _| 0.0);
        let wrong = mimetic_value_proj(Mixture::VALUE_PROJ, Storage::Transposed, &oblong);
        assert!(matches!(wrong, Err(Error::Shape { .. })));
    }
}
