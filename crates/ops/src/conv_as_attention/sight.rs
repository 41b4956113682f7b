//! What the heads see by their positions alone: few patches each, or many.

use super::{dense::Dense, positions::Positions, sparse::Sparse};
use crate::conv2d::Layout;

/// The maps in the form that is faster.
pub(super) enum Sight {
    Sparse(Sparse),
    Dense(Dense),
}

impl Sight {
    /// `inner`: numbers of a patch.
    pub(super) fn new(positions: &Positions, inner: usize) -> Self {
        match Sparse::new(positions, inner) {
            Some(sparse) => Self::Sparse(sparse),
            None => Self::Dense(Dense::new(positions, inner)),
        }
    }

    pub(super) fn layout(&self) -> &dyn Layout {
        match self {
            Self::Sparse(sparse) => sparse,
            Self::Dense(dense) => dense,
        }
    }

    /// Gets ready for the backward pass.
    pub(super) fn widen(&mut self, positions: &Positions) {
        if let Self::Sparse(sparse) = self {
            sparse.widen(positions);
        }
    }

    /// From the sums of the layout to the gradient of the position's weight, which is added to.
    pub(super) fn add_gradient(&self, positions: &Positions, sums: &[f32], dweight: &mut [f32]) {
        match self {
            Self::Sparse(sparse) => sparse.add_gradient(positions, sums, dweight),
            Self::Dense(dense) => dense.add_gradient(positions, sums, dweight),
        }
    }
}
