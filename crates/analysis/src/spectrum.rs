//! Token maps and the discrete Fourier transform of each.

use std::sync::Arc;

use inductive_nn::Layout;
use rustfft::{Fft, FftPlanner, num_complex::Complex};

/// The map `[rows, cols]` of each channel of each sample; none where `values` are not whole samples.
pub(crate) fn maps(values: &[f32], layout: Layout, channels: usize) -> impl Iterator<Item = Vec<f64>> {
    let size = layout.tokens() * channels;
    let whole = layout.grid.tokens() > 0 && size > 0 && values.len().is_multiple_of(size);
    let samples = if whole { values } else { &[] }.chunks_exact(size.max(1));
    samples.flat_map(move |sample| {
        let patches = &sample[layout.prefix * channels..];
        (0..channels).map(move |channel| {
            patches.iter().skip(channel).step_by(channels).map(|v| f64::from(*v)).collect()
        })
    })
}

/// The discrete Fourier transform of a grid.
pub(crate) struct Transform {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    of_column: Arc<dyn Fft<f64>>,
    of_row: Arc<dyn Fft<f64>>,
}

impl Transform {
    /// For maps of the grid of `layout`; its prefix plays no part.
    pub(crate) fn new(layout: Layout) -> Self {
        let (rows, cols) = (layout.grid.rows, layout.grid.cols);
        let mut planner = FftPlanner::new();
        let (of_column, of_row) = (planner.plan_fft_forward(rows), planner.plan_fft_forward(cols));
        Self { rows, cols, of_column, of_row }
    }

    /// `|F(u, v)|`, unnormalised: `[rows, cols]`, (0, 0) first. map: `[rows, cols]`.
    pub(crate) fn amplitudes(&self, map: &[f64]) -> Vec<f64> {
        let values: Vec<_> = map.iter().map(|value| Complex::from(*value)).collect();
        let mut columns = transposed(&values, self.cols);
        self.of_column.process(&mut columns);
        let mut rows = transposed(&columns, self.rows);
        self.of_row.process(&mut rows);
        rows.iter().map(|value| value.norm()).collect()
    }
}

/// `[n, width]` as `[width, n]`.
fn transposed(values: &[Complex<f64>], width: usize) -> Vec<Complex<f64>> {
    (0..width).flat_map(|x| values.iter().skip(x).step_by(width).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inductive_ops::Grid;
    use std::f64::consts::TAU;

    #[test]
    fn each_channel_of_each_sample_is_a_map_without_its_class_token() {
        let layout = Layout::with_class_token(Grid { rows: 1, cols: 2 });
        // tokens of two channels; the class token is negative
        let values = [-1.0, -2.0, 1.0, 10.0, 2.0, 20.0, -3.0, -4.0, 3.0, 30.0, 4.0, 40.0];
        let got: Vec<_> = maps(&values, layout, 2).collect();
        assert_eq!(got, [[1.0, 2.0], [10.0, 20.0], [3.0, 4.0], [30.0, 40.0]]);
    }

    /// Sides that the library plans in different ways: powers of two, composites, primes.
    #[test]
    fn the_transform_is_the_sum_that_defines_it() {
        for (rows, cols) in [(4, 4), (6, 5), (3, 14), (1, 7), (13, 2)] {
            let map: Vec<f64> = (0..rows * cols).map(|n| (n as f64 * 0.7).sin() + 0.2).collect();
            let got = Transform::new(Layout::patches(Grid { rows, cols })).amplitudes(&map);
            assert_eq!(got.len(), rows * cols);
            for (n, got) in got.into_iter().enumerate() {
                let turns = |at: usize| {
                    let (y, x) = (at / cols, at % cols);
                    (n / cols * y) as f64 / rows as f64 + (n % cols * x) as f64 / cols as f64
                };
                let wave = |(at, value): (usize, &f64)| Complex::from_polar(*value, -TAU * turns(at));
                let want = map.iter().enumerate().map(wave).sum::<Complex<f64>>().norm();
                assert!((got - want).abs() < 1e-10, "{rows} x {cols}: got {got}, expected {want}");
            }
        }
    }
}
