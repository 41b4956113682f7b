//! The directions a pseudo-input has: what of it the solvers need.

use crate::{Matrix, Result};

/// Singular values below this share of the largest count as 0: inputs come in single precision, whose rounding errors
/// the pseudo-inverse would otherwise amplify.
const CUT: f64 = 1e-6;

/// A pseudo-input `P = U diag(s) V^T`, `[patches, width]`, by its directions; those with (nearly) no extent left out.
///
/// An embedding of sines and cosines has at most rows + cols of them, since each of its channels depends on y or on x
/// alone: at most 28 for 14 x 14 patches and any width, of which 23 pass the cut at 192 channels. A random one has min(patches, width - 1).
#[derive(Clone, Debug)]
pub struct Basis {
    /// P itself.
    pub(crate) input: Matrix,
    /// U: `[patches, rank]`
    pub(crate) left: Matrix,
    /// s, descending.
    pub(crate) values: Vec<f64>,
    /// V: `[width, rank]`
    pub(crate) right: Matrix,
}

impl Basis {
    /// input: `[patches, width]`, usually after [`layer_norm`](crate::layer_norm).
    ///
    /// # Errors
    /// [`Error::Decomposition`](crate::Error::Decomposition) if it is not finite.
    pub fn new(input: Matrix) -> Result<Self> {
        let svd = input.svd("the pseudo-input")?;
        let least = CUT * svd.values.first().copied().unwrap_or(0.0);
        let rank = svd.values.iter().take_while(|v| **v > least).count();
        Ok(Self {
            left: svd.left.first_columns(rank),
            values: svd.values[..rank].to_vec(),
            right: svd.right.first_columns(rank),
            input,
        })
    }

    /// The pseudo-input, `[patches, width]`.
    pub fn input(&self) -> &Matrix {
        &self.input
    }

    /// Number of directions.
    pub fn rank(&self) -> usize {
        self.values.len()
    }

    /// Number of patches.
    pub fn tokens(&self) -> usize {
        self.input.rows()
    }

    /// Number of channels.
    pub fn width(&self) -> usize {
        self.input.cols()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SinCos, layer_norm};
    use inductive_ops::Grid;

    #[test]
    fn sines_and_cosines_have_few_directions_and_these_give_them_back() {
        let position = SinCos::Timm.embedding(Grid { rows: 6, cols: 5 }, 64).unwrap();
        let basis = Basis::new(layer_norm(&position)).unwrap();
        assert!(basis.rank() <= 11, "{}", basis.rank());
        let again = basis.left.clone().scaled_columns(&basis.values).times_transposed(&basis.right);
        let worst = again.values().iter().zip(basis.input.values()).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-4);
    }

    #[test]
    fn a_constant_embedding_has_no_direction_after_its_norm() {
        let basis = Basis::new(layer_norm(&Matrix::from_fn(4, 8, |_, _| 0.3))).unwrap();
        assert_eq!((basis.rank(), basis.tokens(), basis.width()), (0, 4, 8));
    }
}
