//! What can be wrong with a request for initial weights.

use inductive_ops::Grid;

use crate::Offset;

/// Why there are no initial weights: what was expected, what came, what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The side of the window of offsets is even or 0.
    #[error(
        "impulse offsets: expected an odd window side, got {kernel}; a window needs a centre: take 3 or 5"
    )]
    EvenKernel {
        /// The side that was asked for.
        kernel: usize,
    },
    /// The fixed order of offsets is known for one window only.
    #[error(
        "impulse offsets: the fixed order exists for a window of 3 x 3, got {kernel} x {kernel}; \
         take kernel = 3, or random or given offsets"
    )]
    NoFixedOrder {
        /// The side that was asked for.
        kernel: usize,
    },
    /// The name of initial weights to add is not free.
    #[error("initial weights `{name}`: there are some of this name already; choose another")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The width is not a multiple of the heads, or one of them is 0.
    #[error("attention: expected a width that {heads} heads divide, got {width}; change one of them")]
    Heads {
        /// Channels.
        width: usize,
        /// Heads.
        heads: usize,
    },
    /// Impulses are solved for on a position embedding.
    #[error(
        "impulses, and a scaled position embedding, need a model with one; take a model with positions, or another strategy"
    )]
    NoPosition,
    /// There are no patches.
    #[error("attention: expected a grid with patches, got {grid}; check image and patch size")]
    EmptyGrid {
        /// The grid.
        grid: Grid,
    },
    /// Offsets were listed, but not one per head.
    #[error(
        "impulse offsets: expected one for each of {heads} heads, got {got}; list as many as there are heads"
    )]
    OffsetCount {
        /// Heads.
        heads: usize,
        /// Offsets listed.
        got: usize,
    },
    /// No patch has a target.
    #[error(
        "impulse offsets: expected one that stays inside the {grid} grid for some patch, got {offset}; \
         take a smaller offset or a larger grid"
    )]
    OffsetOutside {
        /// The offset.
        offset: Offset,
        /// The grid.
        grid: Grid,
    },
    /// The embedding of sines and cosines needs four equal parts.
    #[error(
        "sin-cos position embedding: expected a width divisible by 4 (SimpleViT's: and of 8 or more), got {width}"
    )]
    SinCosWidth {
        /// The width.
        width: usize,
    },
    /// A list of numbers, or of matrices, has the wrong size.
    #[error("{what}: expected {expected}, got {got}; pass the arrays of the same layer and grid")]
    Shape {
        /// Which argument of which function.
        what: &'static str,
        /// The size it should have.
        expected: String,
        /// The size it has.
        got: String,
    },
    /// A constant of the strategy is not usable.
    #[error("{what}: expected {expected}, got {got}; correct it in the strategy")]
    Constant {
        /// Which constant.
        what: &'static str,
        /// What would be accepted.
        expected: &'static str,
        /// Its value.
        got: f64,
    },
    /// The decomposition did not converge: the matrix holds NaN or infinity.
    #[error(
        "singular values of {what} ({rows} x {cols}): expected finite numbers, got a decomposition that does not \
         converge; look for NaN or infinity in the position embedding"
    )]
    Decomposition {
        /// Which matrix.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
    },
    /// There is nothing to normalise: target and noise vanish on the pseudo-input.
    #[error(
        "impulse closed form, head {head}: expected a target that the position embedding can express, got 0; \
         check that the embedding is not constant and that the constants are not 0"
    )]
    Vanished {
        /// The head.
        head: usize,
    },
    /// The loss is no longer a number.
    #[error(
        "impulse gradient solve, head {head}, step {step}: expected a finite loss, got {loss}; lower its lr"
    )]
    Diverged {
        /// The head.
        head: usize,
        /// Steps done before.
        step: usize,
        /// The loss.
        loss: f64,
    },
}

impl Error {
    /// A size that does not fit.
    pub(crate) fn shape(what: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Shape { what, expected: expected.into(), got: got.into() }
    }
}

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
