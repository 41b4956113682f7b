//! Which spatial frequencies a layer's tokens hold.

use inductive_nn::Layout;

use crate::spectrum::{Transform, maps};

/// Where [`high_frequency_share`] parts low from high, in units of the Nyquist frequency (half a cycle per patch).
pub const HIGH_FREQUENCY_CUTOFF: f64 = 0.5;

/// Keeps the logarithm of an amplitude of 0 finite; Park & Kim's value.
pub(crate) const FLOOR: f64 = 1e-6;

/// Log amplitude of the frequencies on the half-diagonal, relative to that of frequency 0 (Park & Kim, "How do vision
/// transformers work?", arXiv 2202.06709, as computed in their published notebook).
///
/// ```text
/// L_k = mean over batch and channels of ln(|F(k, k)| + 1e-6)        result_k = L_k - L_0
/// ```
///
/// `F(u, v)` is the unnormalised transform of one channel of one sample: u cycles over the height of the grid, v over its
/// width. On h x h patches k runs over 0 .. ceil(h / 2), the angular frequency 2 pi k / h of each axis thus up to
/// 0.75 pi for h = 8 and 0.857 pi for h = 14: Nyquist itself is not reached. On a rectangle k counts the same cycles on
/// both axes, until the shorter side has no more.
///
/// White noise has +0.3466 = ln(2) / 2 at each k > 0, since `F(0, 0)` is real and the others are complex: compare
/// differences between layers.
///
/// values: `[batch, tokens, channels]`, row-major, tokens as `layout` says; a class token is left out. Empty where there
/// is no sample, channel or patch, and where the length of `values` is not a whole number of samples.
pub fn relative_log_amplitude(values: &[f32], layout: Layout, channels: usize) -> Vec<f64> {
    let transform = Transform::new(layout);
    // 0 ..= h - 1 - h / 2 of the notebook, which rolls frequency 0 to h / 2 and reads to the end
    let mut sums = vec![0.0; transform.rows.min(transform.cols).div_ceil(2)];
    let mut count = 0;
    for map in maps(values, layout, channels) {
        let amplitudes = transform.amplitudes(&map);
        let diagonal = amplitudes.iter().step_by(transform.cols + 1);
        sums.iter_mut().zip(diagonal).for_each(|(sum, amplitude)| *sum += (amplitude + FLOOR).ln());
        count += 1;
    }
    if count == 0 {
        return Vec::new();
    }
    sums.iter().map(|sum| (sum - sums[0]) / f64::from(count)).collect()
}

/// Share, from 0 to 1, of a token map's amplitude that lies in its high frequencies, averaged over batch and channels.
///
/// ```text
/// share  = sum |F(u, v)| over the frequencies with r > 1/2  /  sum |F(u, v)| over all but (0, 0)
/// r(u,v) = sqrt((2 u / rows)^2 + (2 v / cols)^2)       |u| <= rows / 2, |v| <= cols / 2: signed frequencies
/// ```
///
/// r is the radial frequency in units of Nyquist, up to sqrt(2) in the corners; 1/2 is [`HIGH_FREQUENCY_CUTOFF`]. A
/// map without variation counts as 0. One in which all frequencies are equally strong has 51 / 63 on 8 x 8 patches
/// and 159 / 195 on 14 x 14.
///
/// A **proxy**: EIT (arXiv 2203.07116) speaks of the share of high-frequency data, but its definition was not available
/// to us, so the result must not be set beside that paper's figures.
///
/// values and layout: as in [`relative_log_amplitude`]. NaN where that is empty.
pub fn high_frequency_share(values: &[f32], layout: Layout, channels: usize) -> f64 {
    let transform = Transform::new(layout);
    let is_high = high_frequencies(transform.rows, transform.cols);
    let (mut sum, mut count) = (0.0, 0);
    for mut map in maps(values, layout, channels) {
        // Moves frequency 0 alone, and leaves zeros of a constant map, whose other amplitudes would be rounding errors.
        let first = map[0];
        map.iter_mut().for_each(|value| *value -= first);
        let (mut high, mut total) = (0.0, 0.0);
        for (amplitude, is_high) in transform.amplitudes(&map).into_iter().zip(&is_high).skip(1) {
            total += amplitude;
            high += if *is_high { amplitude } else { 0.0 };
        }
        // not `total > 0`, which would take a NaN for a constant map
        sum += if total == 0.0 { 0.0 } else { high / total };
        count += 1;
    }
    sum / f64::from(count)
}

/// Which frequencies lie above the cut-off: `[rows, cols]`, (0, 0) first.
fn high_frequencies(rows: usize, cols: usize) -> Vec<bool> {
    let cycles = |n: usize, side: usize| n.min(side - n);
    let limit = HIGH_FREQUENCY_CUTOFF * (rows * cols) as f64;
    let places = (0..rows).flat_map(|u| (0..cols).map(move |v| (u, v)));
    // Both sides times rows * cols, so that all are whole numbers: no rounding decides what lies on the circle.
    let square = |(u, v)| (2 * cycles(u, rows) * cols).pow(2) + (2 * cycles(v, cols) * rows).pow(2);
    places.map(|place| square(place) as f64 > limit.powi(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;
    use std::f64::consts::{LN_2, TAU};

    fn grid(rows: usize, cols: usize) -> Layout {
        Layout::patches(Grid { rows, cols })
    }

    fn map(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Vec<f32> {
        (0..rows * cols).map(|n| value(n / cols, n % cols) as f32).collect()
    }

    /// All frequencies equally strong.
    fn impulse(rows: usize, cols: usize) -> Vec<f32> {
        map(rows, cols, |y, x| f64::from(u8::from((y, x) == (rows - 1, cols - 1))))
    }

    #[track_caller]
    fn assert_close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() < tolerance, "got {got}, expected {want}");
    }

    /// A wave of one cycle down and one across has half the mean's amplitude, on each of the two conjugate frequencies.
    #[test]
    fn a_diagonal_wave_on_a_rectangle_is_found_at_its_cycles() {
        for (rows, cols) in [(8, 5), (5, 8), (12, 6)] {
            let wave =
                |y: usize, x: usize| 1.0 + (TAU * (y as f64 / rows as f64 + x as f64 / cols as f64)).cos();
            let got = relative_log_amplitude(&map(rows, cols, wave), grid(rows, cols), 1);
            assert_eq!(got.len(), 3, "cycles of the shorter side");
            assert_eq!(got[0], 0.0);
            assert_close(got[1], -LN_2, 1e-5);
            assert!(got[2] < -10.0, "{got:?}");
        }
    }

    #[test]
    fn logarithms_are_averaged_over_samples_and_channels() {
        // amplitudes at one cycle, relative to the mean: 1/2 and 1/8 in two channels, 1/8 and 1/8 in a second sample
        let wave = |scale: f64| map(8, 8, |y, x| 1.0 + scale * (TAU * (x + y) as f64 / 8.0).cos());
        let maps = [[wave(1.0), wave(0.25)], [wave(0.25), wave(0.25)]];
        let values: Vec<f32> =
            maps.iter().flat_map(|[a, b]| a.iter().zip(b).flat_map(|(a, b)| [*a, *b])).collect();
        assert_close(relative_log_amplitude(&values, grid(8, 8), 2)[1], -10.0 / 4.0 * LN_2, 1e-5);
    }

    #[test]
    fn the_class_token_changes_nothing() {
        let patches: Vec<f32> = (0..2 * 12 * 3).map(|n| (n as f32).sin()).collect();
        let with_token: Vec<f32> =
            patches.chunks_exact(12 * 3).flat_map(|sample| [&[1e4, -2e4, 3e4], sample].concat()).collect();
        let (bare, prefixed) = (grid(4, 3), Layout { prefix: 1, ..grid(4, 3) });
        let log = relative_log_amplitude(&patches, bare, 3);
        assert_eq!(log.len(), 2);
        assert_eq!(relative_log_amplitude(&with_token, prefixed, 3), log);
        assert_eq!(high_frequency_share(&with_token, prefixed, 3), high_frequency_share(&patches, bare, 3));
    }

    #[test]
    fn a_constant_map_has_no_high_frequencies_and_a_checkerboard_no_others() {
        for (rows, cols) in [(8, 8), (14, 14), (6, 4), (7, 5)] {
            assert_eq!(high_frequency_share(&vec![0.1; rows * cols * 2], grid(rows, cols), 2), 0.0);
        }
        for (rows, cols) in [(8, 8), (14, 14), (6, 4)] {
            let board = map(rows, cols, |y, x| 5.0 + ((y + x) % 2) as f64);
            assert_close(high_frequency_share(&board, grid(rows, cols), 1), 1.0, 1e-9);
        }
    }

    /// Counted: low are (u, v) with u^2 + v^2 <= (h / 4)^2, on 8 x 4 those with u^2 + 4 v^2 <= 4.
    #[test]
    fn an_impulse_has_the_share_of_the_frequencies_above_the_cutoff() {
        let cases = [(8, 8, 51, 63), (14, 14, 159, 195), (8, 4, 25, 31), (4, 8, 25, 31), (1, 8, 3, 7)];
        for (rows, cols, high, all) in cases {
            let got = high_frequency_share(&impulse(rows, cols), grid(rows, cols), 1);
            assert_close(got, f64::from(high) / f64::from(all), 1e-9);
        }
    }

    /// Two cycles over 12 rows are 1/3 of Nyquist, over 4 columns Nyquist.
    #[test]
    fn the_cutoff_follows_the_sides_of_a_rectangle() {
        let waves = |y: usize, x: usize| 3.0 * (TAU * y as f64 / 6.0).cos() + (TAU * x as f64 / 2.0).cos();
        assert_close(high_frequency_share(&map(12, 4, waves), grid(12, 4), 1), 0.25, 1e-6);
        assert_close(high_frequency_share(&map(4, 12, |y, x| waves(x, y)), grid(4, 12), 1), 0.25, 1e-6);
    }

    /// The mean of shares, not the share of the sums: a strong channel counts as much as a weak one.
    #[test]
    fn shares_are_averaged_over_samples_and_channels() {
        let board = |y: usize, x: usize| ((y + x) % 2) as f64;
        let values: Vec<f32> = map(4, 4, board).into_iter().flat_map(|v| [1000.0 * v, 2.0]).collect();
        assert_close(high_frequency_share(&values, grid(4, 4), 2), 0.5, 1e-9);
        let two_samples = [map(4, 4, board), map(4, 4, |_, x| (TAU * x as f64 / 4.0).cos())].concat();
        assert_close(high_frequency_share(&two_samples, grid(4, 4), 1), 0.5, 1e-6);
    }

    #[test]
    fn values_that_are_not_whole_samples_have_no_result() {
        let bad = [(vec![], grid(4, 4), 2), (vec![0.5; 33], grid(4, 4), 2), (vec![0.5; 32], grid(4, 4), 0)];
        for (values, layout, channels) in bad {
            assert_eq!(relative_log_amplitude(&values, layout, channels), [0.0; 0]);
            assert!(high_frequency_share(&values, layout, channels).is_nan());
        }
        let no_patches = Layout::with_class_token(Grid { rows: 0, cols: 4 });
        assert_eq!(relative_log_amplitude(&[1.0; 4], no_patches, 2), [0.0; 0]);
        assert!(high_frequency_share(&[1.0; 4], no_patches, 2).is_nan());
    }

    #[test]
    fn a_value_that_is_not_a_number_is_not_taken_for_a_constant_map() {
        let mut values = impulse(4, 4);
        values[7] = f32::NAN;
        assert!(high_frequency_share(&values, grid(4, 4), 1).is_nan());
    }
}
