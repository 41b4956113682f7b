//! How many directions a matrix of tokens really has.

use inductive_init::Matrix;
use inductive_nn::Layout;

/// The two stable ranks of a matrix, between 1 and its rank: how many directions carry it, where the strongest counts as one
/// and a weak one hardly at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableRank {
    /// `sr1 = sum_i s_i / s_1`: nuclear over spectral norm.
    pub sr1: f64,
    /// `sr2 = sum_i s_i^2 / s_1^2`: squared Frobenius over squared spectral norm; never above `sr1`.
    pub sr2: f64,
}

impl StableRank {
    const NOTHING: Self = Self { sr1: f64::NAN, sr2: f64::NAN };
}

/// Stable ranks by the singular values `s_1 >= s_2 >= ...`, as the code of arXiv 2401.12511 computes them (`srank_l12`).
///
/// The matrix is taken as it is: a mean that all tokens share counts as a direction, usually the strongest.
///
/// matrix: `[rows, columns]`, row-major. Both ranks are 0 where it is 0, and NaN where it is empty, not rectangular or not
/// finite.
pub fn stable_rank(matrix: &[f32], columns: usize) -> StableRank {
    let rows = matrix.len().checked_div(columns).unwrap_or(0);
    if rows == 0 {
        return StableRank::NOTHING;
    }
    let values =
        Matrix::from_f32(rows, columns, matrix).and_then(|m| m.singular_values("a matrix of tokens"));
    let Ok(values) = values else { return StableRank::NOTHING };
    match values.first() {
        Some(&largest) if largest > 0.0 => {
            let sum = |power| values.iter().map(|s| (s / largest).powi(power)).sum();
            StableRank { sr1: sum(1), sr2: sum(2) }
        }
        _ => StableRank { sr1: 0.0, sr2: 0.0 },
    }
}

/// [`stable_rank`] of the tokens of each sample, the mean over samples of both.
///
/// values: `[batch, tokens, channels]`, row-major, tokens as `layout` says; a class token is left out. NaN where there is no
/// sample, channel or patch, and where the length of `values` is not a whole number of samples.
pub fn mean_stable_rank(values: &[f32], layout: Layout, channels: usize) -> StableRank {
    let size = layout.tokens() * channels;
    if layout.grid.tokens() == 0 || size == 0 || !values.len().is_multiple_of(size) {
        return StableRank::NOTHING;
    }
    let (mut sum, mut samples) = (StableRank { sr1: 0.0, sr2: 0.0 }, 0);
    for sample in values.chunks_exact(size) {
        let rank = stable_rank(&sample[layout.prefix * channels..], channels);
        sum = StableRank { sr1: sum.sr1 + rank.sr1, sr2: sum.sr2 + rank.sr2 };
        samples += 1;
    }
    StableRank { sr1: sum.sr1 / f64::from(samples), sr2: sum.sr2 / f64::from(samples) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;

    fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        (0..rows * columns).map(|i| value(i / columns, i % columns)).collect()
    }

    #[track_caller]
    fn assert_rank(got: StableRank, sr1: f64, sr2: f64) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(got.sr1, sr1) && near(got.sr2, sr2), "{got:?}, expected {sr1} and {sr2}");
    }

    #[test]
    fn equally_strong_directions_all_count() {
        assert_rank(stable_rank(&matrix(5, 5, |i, j| if i == j { -0.3 } else { 0.0 }), 5), 5.0, 5.0);
        // orthogonal rows in a wider matrix
        let wide = matrix(3, 7, |i, j| if j == 2 * i { 4.0 } else { 0.0 });
        assert_rank(stable_rank(&wide, 7), 3.0, 3.0);
    }

    #[test]
    fn a_product_of_two_vectors_has_one_direction() {
        let (rows, columns) = (9, 4);
        let outer = matrix(rows, columns, |i, j| (i as f32 - 3.0) * (2.0 * j as f32 + 1.0));
        assert_rank(stable_rank(&outer, columns), 1.0, 1.0);
    }

    /// 4, 2, 1: sr1 = 7 / 4, sr2 = 21 / 16; a rotation of rows and columns changes neither.
    #[test]
    fn weaker_directions_count_by_their_share() {
        let diagonal = matrix(3, 3, |i, j| if i == j { [1.0, 4.0, 2.0][i] } else { 0.0 });
        assert_rank(stable_rank(&diagonal, 3), 1.75, 1.3125);
        let (c, s) = (0.6, 0.8);
        // the first two rows rotated, then the last two columns
        let rows = matrix(3, 3, |i, j| match i {
            0 => c * diagonal[j] - s * diagonal[3 + j],
            1 => s * diagonal[j] + c * diagonal[3 + j],
            _ => diagonal[6 + j],
        });
        let both = matrix(3, 3, |i, j| match j {
            1 => c * rows[3 * i + 1] - s * rows[3 * i + 2],
            2 => s * rows[3 * i + 1] + c * rows[3 * i + 2],
            _ => rows[3 * i],
        });
        assert_rank(stable_rank(&both, 3), 1.75, 1.3125);
    }

    #[test]
    fn samples_are_averaged_and_the_class_token_changes_nothing() {
        let identity = matrix(4, 4, |i, j| if i == j { 1.0 } else { 0.0 });
        let flat = [1.0; 16];
        let layout = Layout::patches(Grid::square(2));
        let patches = [&identity[..], &flat].concat();
        assert_rank(mean_stable_rank(&patches, layout, 4), 2.5, 2.5);
        let token = [1e4, -2e4, 3e4, 5.0];
        let with_token = [&token[..], &identity, &token, &flat].concat();
        let prefixed = Layout { prefix: 1, ..layout };
        assert_eq!(mean_stable_rank(&with_token, prefixed, 4), mean_stable_rank(&patches, layout, 4));
    }

    #[test]
    fn nothing_has_no_rank_and_zeros_have_rank_zero() {
        assert_rank(stable_rank(&[0.0; 6], 3), 0.0, 0.0);
        for (bad, columns) in [(&[][..], 3), (&[1.0; 7], 3), (&[1.0; 4], 0), (&[1.0, f32::NAN], 1)] {
            assert!(stable_rank(bad, columns).sr1.is_nan() && stable_rank(bad, columns).sr2.is_nan());
        }
        let layout = Layout::with_class_token(Grid::square(2));
        for (bad, layout, channels) in [
            (&[][..], layout, 3),
            (&[0.5; 16], layout, 3),
            (&[0.5; 15], layout, 0),
            (&[0.5; 3], Layout::with_class_token(Grid { rows: 0, cols: 2 }), 3),
        ] {
            assert!(mean_stable_rank(bad, layout, channels).sr1.is_nan());
        }
    }
}
