//! The machine's own limit: how many f32 operations per second matrix products reach here, without any model around them.
//!
//! It is what a model's speed is compared with. All threads multiply at the same time, each matrices of its own, with
//! the products that the kernels of this crate use: with row-major matrices and with panels, whichever is faster.

use std::time::{Duration, Instant};

use crate::matmul::{Mat, Out, Panels, Write, product, product_panels};

/// Rows, columns and inner length of the products that are tried: chunks as the MLP makes them, which stay in cache, and
/// large squares.
const SHAPES: [[usize; 3]; 4] = [[256, 768, 192], [256, 192, 768], [512, 512, 512], [1024, 1024, 1024]];

/// Times that each shape is tried; the best counts, since whatever else the machine does only takes away.
const TRIES: usize = 6;

/// What [`measure`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roof {
    /// Billions of additions and multiplications per second, all threads together.
    pub gflops: f64,
    /// Rows, columns and inner length of the products that reached it.
    pub shape: [usize; 3],
    /// Threads that multiplied.
    pub threads: usize,
}

impl Roof {
    /// The higher of two measurements.
    pub fn max(self, other: Self) -> Self {
        if other.gflops > self.gflops { other } else { self }
    }
}

/// Measures for 48 times `window` (four shapes, two ways, six times each) and returns the best. Short windows find the moments in
/// which the machine does nothing else.
pub fn measure(window: Duration) -> Roof {
    let threads = rayon::current_num_threads();
    let roof = |(shape, panels)| Roof { gflops: together(shape, panels, window) / 1e9, shape, threads };
    let none = Roof { gflops: 0.0, shape: SHAPES[0], threads };
    let ways = SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]);
    (0..TRIES).flat_map(|_| ways.clone()).map(roof).fold(none, Roof::max)
}

/// Operations per second of all threads together.
fn together(shape: [usize; 3], panels: bool, window: Duration) -> f64 {
    rayon::broadcast(|_| alone(shape, panels, window)).into_iter().sum()
}

/// Operations per second of one thread.
fn alone([m, n, k]: [usize; 3], panels: bool, window: Duration) -> f64 {
    let (a, b) = (vec![0.5; m * k], vec![0.25; k * n]);
    let mut out = vec![0.0; m * n];
    let mut multiply = || {
        let (out, a) = (Out::dense(&mut out, m, n), Mat::dense(&a, m, k));
        // SAFETY: dimensions as made; the matrices are this thread's own.
        unsafe {
            if panels {
                product_panels(Write::Set, out, m, a, Panels::new(&b, k, n));
            } else {
                product(Write::Set, out, (m, n, k), a, Mat::dense(&b, k, n), 1.0);
            }
        }
    };
    multiply();
    let (start, mut count) = (Instant::now(), 0);
    loop {
        multiply();
        count += 1;
        let elapsed = start.elapsed();
        if elapsed >= window {
            return 2.0 * (m * n * k) as f64 * f64::from(count) / elapsed.as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_multiplies_at_a_rate_that_machines_have() {
        let roof = measure(Duration::from_millis(2));
        assert!(roof.gflops > 0.1 && roof.gflops < 1e6, "{roof:?}");
        assert!(SHAPES.contains(&roof.shape) && roof.threads >= 1, "{roof:?}");
    }

    #[test]
    fn the_higher_of_two_measurements_counts() {
        let roof = |gflops| Roof { gflops, shape: SHAPES[0], threads: 1 };
        assert_eq!(roof(2.0).max(roof(3.0)), roof(3.0));
        assert_eq!(roof(3.0).max(roof(2.0)), roof(3.0));
    }
}
