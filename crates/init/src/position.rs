//! Position embeddings, and the pseudo-inputs on which attention is solved instead of images.

use inductive_ops::Grid;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Matrix, Result,
    random::{truncated_normal, uniform},
};

/// Deviation of a learned position embedding at the start (timm).
pub const LEARNED_STD: f64 = 0.02;

/// The epsilon of `F.layer_norm`, which the papers' solves call; timm's models have 1e-6.
const EPSILON: f64 = 1e-5;

/// Which embedding of sines and cosines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinCos {
    /// timm's `build_sincos2d_pos_embed`: `[sin(y f), sin(x f), cos(y f), cos(x f)]`, `f_j = 10000^(-j / (D/4))`.
    Timm,
    /// SimpleViT's: `[sin(x f), cos(x f), sin(y f), cos(y f)]`, `f_j = 10000^(-j / (D/4 - 1))`.
    SimpleVit,
}

impl SinCos {
    /// The embedding, `[patches, width]`, not scaled.
    ///
    /// # Errors
    /// [`Error::SinCosWidth`] unless 4 divides `width` (and, for SimpleViT's, it is 8 or more); [`Error::EmptyGrid`].
    pub fn embedding(self, grid: Grid, width: usize) -> Result<Matrix> {
        let quarter = width / 4;
        let last = match self {
            Self::Timm => quarter,
            Self::SimpleVit => quarter.saturating_sub(1),
        };
        if !width.is_multiple_of(4) || last == 0 {
            return Err(Error::SinCosWidth { width });
        }
        if grid.tokens() == 0 {
            return Err(Error::EmptyGrid { grid });
        }
        Ok(Matrix::from_fn(grid.tokens(), width, |patch, channel| {
            let (y, x) = ((patch / grid.cols) as f64, (patch % grid.cols) as f64);
            let frequency = 10_000f64.powf(-((channel % quarter) as f64) / last as f64);
            let (along, is_sine) = match (self, channel / quarter) {
                (Self::Timm, part) => (if part % 2 == 0 { y } else { x }, part < 2),
                (Self::SimpleVit, part) => (if part < 2 { x } else { y }, part % 2 == 0),
            };
            let angle = along * frequency;
            if is_sine { angle.sin() } else { angle.cos() }
        }))
    }
}

/// A learned position embedding as it starts: N(0, 0.02^2), `[tokens, width]`.
pub fn learned(tokens: usize, width: usize, rng: &mut impl Rng) -> Matrix {
    truncated_normal(tokens, width, LEARNED_STD, 2.0, rng)
}

/// Each row with mean 0 and variance 1 (biased, epsilon 1e-5), without affine part.
pub fn layer_norm(rows: &Matrix) -> Matrix {
    let width = rows.cols() as f64;
    let mut normalised = rows.clone();
    for row in normalised.values_mut().chunks_exact_mut(rows.cols().max(1)) {
        let mean = row.iter().sum::<f64>() / width;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width;
        let scale = (variance + EPSILON).sqrt().recip();
        row.iter_mut().for_each(|v| *v = (*v - mean) * scale);
    }
    normalised
}

/// What the attention is solved on, after [`layer_norm`] but for the raw embedding: arXiv 2404.01139's ablation, whose
/// default is the position embedding for all layers, and what arXiv 2401.12511 solves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PseudoInput {
    /// The position embedding (P).
    #[default]
    Position,
    /// The position embedding as it is, without [`layer_norm`]: for layers that give it to queries and keys so.
    RawPosition,
    /// Uniform on +-1 (U).
    Uniform,
    /// Normal with variance 1/2, cut at +-2 (G).
    Gaussian,
    /// Position embedding plus uniform numbers (A).
    PositionPlusUniform,
    /// Position embedding plus normal numbers (B).
    PositionPlusGaussian,
}

impl PseudoInput {
    /// The pseudo-input for the embedding of the patches, `[patches, width]`.
    pub fn build(self, position: &Matrix, rng: &mut impl Rng) -> Matrix {
        let (rows, cols) = (position.rows(), position.cols());
        let mut input = match self {
            Self::Position => return layer_norm(position),
            Self::RawPosition => return position.clone(),
            Self::Uniform | Self::PositionPlusUniform => uniform(rows, cols, 1.0, rng),
            Self::Gaussian | Self::PositionPlusGaussian => {
                truncated_normal(rows, cols, 0.5f64.sqrt(), 2.0, rng)
            }
        };
        if matches!(self, Self::PositionPlusUniform | Self::PositionPlusGaussian) {
            input.values_mut().iter_mut().zip(position.values()).for_each(|(v, p)| *v += p);
        }
        layer_norm(&input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn sines_depend_on_the_row_in_timm_and_on_the_column_in_simplevit() {
        let grid = Grid { rows: 2, cols: 3 };
        let timm = SinCos::Timm.embedding(grid, 8).unwrap();
        let simple = SinCos::SimpleVit.embedding(grid, 8).unwrap();
        // patch 5 lies in row 1, column 2
        let angles = [1.0f64.sin(), 0.01f64.sin(), 2.0f64.sin(), 0.02f64.sin(), 1.0f64.cos(), 0.01f64.cos()];
        assert!(timm.row(5).iter().zip(angles).all(|(got, want)| (got - want).abs() < 1e-12));
        let angles = [2.0f64.sin(), 2e-4f64.sin(), 2.0f64.cos(), 2e-4f64.cos(), 1.0f64.sin(), 1e-4f64.sin()];
        assert!(simple.row(5).iter().zip(angles).all(|(got, want)| (got - want).abs() < 1e-12));
    }

    #[test]
    fn widths_that_four_does_not_divide_and_empty_grids_are_errors() {
        let grid = Grid::square(2);
        assert_eq!(SinCos::Timm.embedding(grid, 6), Err(Error::SinCosWidth { width: 6 }));
        assert_eq!(SinCos::SimpleVit.embedding(grid, 4), Err(Error::SinCosWidth { width: 4 }));
        assert!(SinCos::Timm.embedding(grid, 4).is_ok());
        assert!(matches!(SinCos::Timm.embedding(Grid::square(0), 4), Err(Error::EmptyGrid { .. })));
    }

    #[test]
    fn every_pseudo_input_but_the_raw_one_is_normalised_and_only_the_drawn_ones_follow_the_generator() {
        let position = SinCos::Timm.embedding(Grid::square(4), 16).unwrap();
        let mut rng = stream(Purpose::PseudoInput, 0, 0, 0);
        assert_eq!(PseudoInput::RawPosition.build(&position, &mut rng), position);
        let kinds = [
            PseudoInput::Position,
            PseudoInput::Uniform,
            PseudoInput::Gaussian,
            PseudoInput::PositionPlusUniform,
            PseudoInput::PositionPlusGaussian,
        ];
        for kind in kinds {
            let build = |seed| kind.build(&position, &mut stream(Purpose::PseudoInput, seed, 0, 0));
            let input = build(0);
            for row in 0..16 {
                let square = input.row(row).iter().map(|v| v * v).sum::<f64>() / 16.0;
                assert!((square - 1.0).abs() < 1e-3, "{kind:?}: {square}");
                assert!(input.row(row).iter().sum::<f64>().abs() < 1e-9);
            }
            assert_eq!(input == build(1), kind == PseudoInput::Position, "{kind:?}");
        }
    }
}
