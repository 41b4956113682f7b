//! What a forward pass keeps of each operator on its way: the patches after it, and what it added to them.

use std::fmt;

use inductive_ops::Grid;
use serde::{Deserialize, Serialize};

use crate::mixer::Layout;

/// What an operator mixes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorKind {
    /// Images to patches, position embedding included.
    Stem,
    /// Neighbouring places, by the same weights everywhere.
    Convolution,
    /// All places, by weights that depend on them.
    Attention,
    /// Both side by side, or one after the other, in one operator.
    Mixed,
    /// The channels of each place: an MLP, a convolution of single places.
    Mlp,
}

impl OperatorKind {
    /// In a word, as it is written to files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stem => "stem",
            Self::Convolution => "convolution",
            Self::Attention => "attention",
            Self::Mixed => "mixed",
            Self::Mlp => "mlp",
        }
    }

    /// What an operator is that consists of two.
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

impl fmt::Display for OperatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The patches of a batch on their way through a model; a class token is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap<E> {
    /// `[batch, grid.tokens(), channels]`, row-major.
    pub values: Vec<E>,
    /// How the patches lie on the image.
    pub grid: Grid,
    /// Numbers per patch.
    pub channels: usize,
}

impl<E: Copy + std::ops::Sub<Output = E>> FeatureMap<E> {
    /// tokens: `[batch, layout.tokens(), channels]`, row-major; what stands in front of the patches is dropped.
    pub fn new(tokens: Vec<E>, layout: &Layout, channels: usize) -> Self {
        let (sample, prefix) = (layout.tokens() * channels, layout.prefix * channels);
        let values = match prefix {
            0 => tokens,
            _ => tokens.chunks_exact(sample.max(1)).flat_map(|sample| &sample[prefix..]).copied().collect(),
        };
        Self { values, grid: layout.grid, channels }
    }

    /// This map less another; `None` if they are not of one shape.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let shape = |map: &Self| (map.grid, map.channels, map.values.len());
        (shape(self) == shape(other)).then(|| {
            let values = self.values.iter().zip(&other.values).map(|(a, b)| *a - *b).collect();
            Self { values, ..*self }
        })
    }
}

/// One operator on the way from the image to the features. The stream before it is what the point before left behind:
/// every operator that changes the stream is a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<E> {
    /// Which operator, after the names of its parameters: `blocks.3.attn`, `layer2.0`.
    pub name: String,
    /// What it is.
    pub kind: OperatorKind,
    /// The stream after it, activation included.
    pub after: FeatureMap<E>,
    /// What it added to the stream, before any activation; `None` for one without residual connection, whose result is
    /// all there is of the stream.
    pub branch: Option<FeatureMap<E>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { rows: 1, cols: 2 };

    #[test]
    fn a_class_token_is_left_out_of_every_sample() {
        let tokens: Vec<i32> = (0..12).collect();
        let map = FeatureMap::new(tokens.clone(), &Layout::with_class_token(GRID), 2);
        assert_eq!((map.values, map.grid, map.channels), (vec![2, 3, 4, 5, 8, 9, 10, 11], GRID, 2));
        assert_eq!(FeatureMap::new(tokens.clone(), &Layout::patches(GRID), 3).values, tokens);
    }

    #[test]
    fn maps_of_another_shape_have_no_difference() {
        let map = |values: &[i32], channels| FeatureMap { values: values.to_vec(), grid: GRID, channels };
        let (a, b) = (map(&[5, 7, 9, 11], 2), map(&[1, 2, 3, 4], 2));
        assert_eq!(a.minus(&b), Some(map(&[4, 5, 6, 7], 2)));
        let turned = FeatureMap { grid: Grid { rows: 2, cols: 1 }, ..b.clone() };
        for other in [map(&[1, 2], 2), map(&[1, 2, 3, 4], 1), turned] {
            assert_eq!(a.minus(&other), None);
        }
    }

    #[test]
    fn two_operators_of_one_kind_are_one_of_that_kind() {
        use OperatorKind::*;
        assert_eq!([Attention.with(Attention), Convolution.with(Attention)], [Attention, Mixed]);
    }
}
