//! Position embeddings of another grid: timm's `resample_abs_pos_embed`.
//!
//! Bicubic with antialiasing, as PyTorch's `F.interpolate(mode="bicubic", antialias=True, align_corners=False)`:
//! separable, cubic kernel with a = -0.5 (not the -0.75 that PyTorch uses without antialiasing), widened by
//! the scale when the grid shrinks, weights of the taps inside the grid normalised to sum to 1.

use crate::{Error, Result};

/// Resamples position embeddings `values: [prefix + rows * columns, channels]` from one grid (rows, columns) to
/// another. The first `prefix` positions (class token) are copied.
///
/// timm equivalent: `resample_abs_pos_embed(values[None], to, old_size=from, num_prefix_tokens=prefix)[0]`.
///
/// # Errors
/// [`Error::Tensor`] if a grid is empty or `values` has another length.
pub fn resample_abs_pos_embed(
    values: &[f32],
    channels: usize,
    prefix: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Vec<f32>> {
    let refuse = |problem| Err(Error::tensor("pos_embed", problem));
    let Some(tokens) = cells(from).and_then(|n| n.checked_add(prefix)) else {
        return refuse(format!("a grid of {from:?} has no cells or too many"));
    };
    if tokens.checked_mul(channels) != Some(values.len()) {
        return refuse(format!(
            "expected {tokens} positions of {channels} channels, got {} numbers",
            values.len()
        ));
    }
    let fits = |n: usize| n.checked_mul(from.0.max(1))?.checked_mul(channels)?.checked_mul(4);
    if cells(to).and_then(fits).is_none() {
        return refuse(format!("a grid of {to:?} has no cells or too many"));
    }
    let (copied, grid) = values.split_at(prefix * channels);
    // PyTorch's order: columns first.
    let wide = resample_axis(grid, from.0, from.1, to.1, channels);
    let mut out = copied.to_vec();
    out.extend(resample_axis(&wide, 1, from.0, to.0, to.1 * channels));
    Ok(out)
}

/// Number of cells of a grid that has any.
pub(super) fn cells((rows, columns): (usize, usize)) -> Option<usize> {
    rows.checked_mul(columns).filter(|n| *n > 0)
}

/// `input: [outer, old, inner]` to `[outer, new, inner]`.
fn resample_axis(input: &[f32], outer: usize, old: usize, new: usize, inner: usize) -> Vec<f32> {
    if old == new {
        return input.to_vec();
    }
    let taps: Vec<_> = (0..new).map(|i| taps(i, old, new)).collect();
    let mut out = vec![0.0; outer * new * inner];
    if inner == 0 {
        return out;
    }
    for (block, rows) in input.chunks_exact(old * inner).zip(out.chunks_exact_mut(new * inner)) {
        for (row, (first, weights)) in rows.chunks_exact_mut(inner).zip(&taps) {
            for (source, weight) in block[first * inner..].chunks_exact(inner).zip(weights) {
                row.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    out
}

/// The first cell of the old axis that cell `index` of the new axis reads, and the weights from there on.
fn taps(index: usize, old: usize, new: usize) -> (usize, Vec<f32>) {
    let scale = old as f32 / new as f32;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let center = scale * (index as f32 + 0.5);
    // Both casts saturate at 0, and `first < old` because center < old.
    let first = ((center - support + 0.5) as usize).min(old - 1);
    let end = ((center + support + 0.5) as usize).clamp(first + 1, old);
    let mut weights: Vec<f32> = (first..end).map(|j| cubic((j as f32 - center + 0.5) / stretch)).collect();
    let total: f32 = weights.iter().sum();
    if total != 0.0 {
        weights.iter_mut().for_each(|w| *w /= total);
    }
    (first, weights)
}

/// The cubic convolution kernel with a = -0.5.
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `((torch.arange(n) * 37) % 101).float() / 16 - 3`, exact in f32.
    fn pattern(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i * 37 % 101) as f32 / 16.0 - 3.0).collect()
    }

    fn assert_close(got: &[f32], want: &[f32], what: &str) {
        assert_eq!(got.len(), want.len(), "{what}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= 2e-6, "{what}: element {i}: got {g}, want {w}");
        }
    }

    /// torch 2.15.0, CPU:
    ///
    /// ```python
    /// def golden(old, new, channels=2):
    ///     n = old[0] * old[1] * channels
    ///     tokens = ((torch.arange(n) * 37) % 101).float() / 16 - 3
    ///     grid = tokens.reshape(1, old[0], old[1], channels).permute(0, 3, 1, 2)
    ///     out = F.interpolate(grid, size=new, mode="bicubic", antialias=True, align_corners=False)
    ///     return ["%.9g" % v for v in out.permute(0, 2, 3, 1).flatten().tolist()]
    /// ```
    #[test]
    fn resampling_is_that_of_pytorch() {
        type Golden = ((usize, usize), (usize, usize), &'static [f32]);
        #[rustfmt::skip]
        let cases: &[Golden] = &[
            ((2, 2), (3, 3), &[
                -3.524854, -0.76973665, -0.6731086, -1.7245061, 2.178638, -2.6792762, -1.6278782, 0.89226955,
                -0.796875, -0.0625, 0.034128428, -1.0172698, 0.26909843, 2.5542765, -0.9206415, 1.5995069,
                -2.110382, 0.64473695,
            ]),
            ((4, 4), (2, 2), &[
                0.7462733, -1.1734172, -1.016529, 0.8367939, 1.2665288, 0.44433653, -0.49627328, 0.6691461,
            ]),
            ((3, 3), (2, 5), &[
                -2.9809349, -0.1729025, -0.8148095, -1.0003303, 2.2655497, -1.9877609, 1.2239025, -0.49463758,
                0.17826279, 0.61072046, -0.9265874, 1.5526192, -0.8125561, 0.92027855, -0.36587092, -0.26223904,
                1.2261567, -1.5978775, 2.2326102, -2.3495262,
            ]),
            ((2, 3), (4, 2), &[
                -1.4241986, -1.5962285, 0.6032895, 0.8156956, -1.054976, -1.1521834, 0.9725121, -0.02720489,
                -0.32283318, -0.2716728, 1.7046549, -1.6986178, 0.04638951, 0.17237236, 2.0738776, -2.5415182,
            ]),
            ((7, 7), (3, 2), &[
                0.08580071, 0.1100017, 0.36949626, -0.17801309, 0.39007854, 0.30939946, 0.10008132, -0.07414632,
                0.36819854, 0.014385061, -0.046938695, 0.3374724,
            ]),
            ((1, 1), (2, 2), &[
                -3.0, -0.6875, -3.0, -0.6875, -3.0, -0.6875, -3.0, -0.6875,
            ]),
            ((5, 5), (2, 3), &[
                -0.5207684, -0.71921456, -0.20066558, 0.23512019, 0.77260786, 0.68725276, 0.84654605, -0.772608,
                -0.33274263, 0.19381748, 0.7192144, 0.62836194,
            ]),
            ((14, 14), (2, 2), &[
                0.32626292, -0.12932032, 0.07995446, 0.24394512, 0.00033240035, 0.14719838, 0.35612884, -0.049929447,
            ]),
        ];
        for (from, to, want) in cases {
            let got = resample_abs_pos_embed(&pattern(from.0 * from.1 * 2), 2, 0, *from, *to).unwrap();
            assert_close(&got, want, &format!("{from:?} to {to:?}"));
        }
    }

    /// timm 1.0.31: `resample_abs_pos_embed(tokens.reshape(1, 10, 2), [2, 2], num_prefix_tokens=1)`
    #[test]
    fn prefix_positions_are_copied_as_timm_does() {
        let got = resample_abs_pos_embed(&pattern(20), 2, 1, (3, 3), (2, 2)).unwrap();
        let want = [
            -3.0,
            -0.6875,
            1.6541384,
            -1.1632304,
            -0.85015315,
            0.8642576,
            0.54729784,
            -1.137127,
            1.0502061,
            0.890362,
        ];
        assert_close(&got, &want, "3 x 3 to 2 x 2");
        assert_eq!(got[..2], pattern(2));
    }

    #[test]
    fn the_same_grid_changes_no_bit() {
        let values = pattern(7 * 5 * 3);
        assert_eq!(resample_abs_pos_embed(&values, 3, 0, (7, 5), (7, 5)).unwrap(), values);
    }

    #[test]
    fn constants_stay_constant_at_any_size() {
        for (old, new) in [(1, 9), (2, 31), (14, 3), (24, 14), (100, 1)] {
            let got = resample_abs_pos_embed(&vec![1.0; old * old], 1, 0, (old, old), (new, new)).unwrap();
            assert!(got.iter().all(|v| (v - 1.0).abs() < 1e-5), "{old} to {new}: {got:?}");
        }
    }

    #[test]
    fn grids_that_do_not_fit_are_errors() {
        let huge = usize::MAX;
        for (prefix, from, to) in [
            (0, (2, 3), (2, 2)),
            (1, (2, 2), (2, 2)),
            (0, (0, 4), (2, 2)),
            (0, (2, 2), (0, 2)),
            (0, (2, 2), (huge, huge)),
            (0, (huge, 2), (2, 2)),
            (huge, (2, 2), (2, 2)),
            (0, (2, 2), (huge / 4, 1)),
        ] {
            let outcome = resample_abs_pos_embed(&pattern(4), 1, prefix, from, to);
            assert!(outcome.unwrap_err().to_string().contains("pos_embed"), "{prefix} {from:?} {to:?}");
        }
    }
}
