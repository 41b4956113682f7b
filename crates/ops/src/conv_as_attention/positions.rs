//! Positional maps on the CPU, in `f64`: `dx` and `dy` have no term in common, so that the map of a head is the product of
//! one along the columns and one along the rows. Both are computed once per call.

use rayon::prelude::*;

use super::Dims;

/// The maps of all heads.
pub(super) struct Positions {
    dims: Dims,
    columns: Axis,
    rows: Axis,
}

/// The maps along one axis.
struct Axis {
    /// Queries, keys, and places beyond the first and the last key.
    queries: usize,
    size: usize,
    ring: usize,
    stride: usize,
    /// `[heads, queries, ring + size + ring]`
    maps: Vec<f64>,
}

/// The map of one head and one query along one axis.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// From the query to the first key.
    first: f64,
    keys: &'a [f64],
    /// From the query to the most likely place, be it in the ring.
    top: f64,
    /// The probability of the others together.
    rest: f64,
    /// Expectations of `d - top` and of `d^2 - top^2`.
    mean: [f64; 2],
}

impl Axis {
    /// `weights`: factors of `d` and `d^2` for each head.
    fn new(dims: &Dims, size: usize, queries: usize, weights: impl Iterator<Item = [f64; 2]>) -> Self {
        let (ring, stride) = (dims.ring(), dims.stride);
        let mut maps = Vec::with_capacity(dims.heads() * queries * (size + 2 * ring));
        for [linear, square] in weights {
            for query in 0..queries {
                let row = maps.len();
                let distance = |place: usize| place as f64 - (ring + query * stride) as f64;
                maps.extend((0..size + 2 * ring).map(distance).map(|d| linear * d + square * d * d));
                softmax(&mut maps[row..]);
            }
        }
        Self { queries, size, ring, stride, maps }
    }

    fn line(&self, head: usize, query: usize) -> Line<'_> {
        let places = self.size + 2 * self.ring;
        let map = &self.maps[(head * self.queries + query) * places..][..places];
        let distance = |place: usize| place as f64 - (self.ring + query * self.stride) as f64;
        let best = (0..places).fold(0, |best, place| if map[place] > map[best] { place } else { best });
        let top = distance(best);
        let (mut rest, mut mean) = (0.0, [0.0; 2]);
        for (place, p) in map.iter().enumerate().filter(|(place, _)| *place != best) {
            let d = distance(place);
            rest += p;
            mean[0] += p * (d - top);
            mean[1] += p * (d * d - top * top);
        }
        Line { first: distance(self.ring), keys: &map[self.ring..][..self.size], top, rest, mean }
    }
}

impl Line<'_> {
    /// `d - E[d]` and `d^2 - E[d^2]` of a key, without the cancellation that a narrow map brings.
    fn centred(&self, key: usize) -> [f64; 2] {
        let d = self.first + key as f64;
        [d - self.top - self.mean[0], d * d - self.top * self.top - self.mean[1]]
    }
}

fn softmax(scores: &mut [f64]) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|v| *v = (*v - top).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|v| *v /= sum);
}

/// The map of one head and one query.
pub(super) struct Row<'a> {
    x: Line<'a>,
    y: Line<'a>,
}

impl Row<'_> {
    /// Calls `f(key, probability)` for what is more likely than `least` (or not a number), in the order of the keys.
    pub(super) fn each(&self, least: f64, mut f: impl FnMut(usize, f64)) {
        let counts = |p: f64| p > least || p.is_nan();
        for (row, y) in self.y.keys.iter().enumerate().filter(|(_, y)| counts(**y)) {
            for (col, x) in self.x.keys.iter().enumerate() {
                let p = x * y;
                if counts(p) {
                    f(row * self.x.keys.len() + col, p);
                }
            }
        }
    }

    /// Of everything but the most likely place, what matters to gradients in single precision: with a narrow map they come
    /// from the rest alone.
    pub(super) fn least(&self) -> f64 {
        1e-8 * (self.x.rest + self.y.rest - self.x.rest * self.y.rest)
    }

    /// The derivative of the loss by the head's weight for a derivative of 1 by the probability `p` of `key`:
    /// `p (r - E[r])`.
    pub(super) fn coefficients(&self, key: usize, p: f64) -> [f64; 3] {
        let cols = self.x.keys.len();
        let ([x, xx], [y, yy]) = (self.x.centred(key % cols), self.y.centred(key / cols));
        [p * x, p * y, p * (xx + yy)]
    }
}

impl Positions {
    /// `weight`: `[heads, 3]`.
    pub(super) fn new(dims: Dims, weight: &[f32]) -> Self {
        let heads = |axis: usize| weight.chunks_exact(3).map(move |w| [f64::from(w[axis]), f64::from(w[2])]);
        Self {
            dims,
            columns: Axis::new(&dims, dims.grid.cols, dims.out.cols, heads(0)),
            rows: Axis::new(&dims, dims.grid.rows, dims.out.rows, heads(1)),
        }
    }

    pub(super) fn dims(&self) -> Dims {
        self.dims
    }

    pub(super) fn row(&self, head: usize, query: usize) -> Row<'_> {
        let cols = self.dims.out.cols;
        Row { x: self.columns.line(head, query % cols), y: self.rows.line(head, query / cols) }
    }

    /// Fills whole maps, rows of as many numbers as there are keys, of which row `i` is for `of(i)`: head and query.
    pub(super) fn fill(&self, maps: &mut [f32], of: impl Fn(usize) -> (usize, usize) + Sync) {
        let keys = self.dims.grid.tokens();
        maps.par_chunks_exact_mut(keys).enumerate().with_min_len(64).for_each(|(i, map)| {
            let (head, query) = of(i);
            map.fill(0.0);
            self.row(head, query).each(0.0, |key, p| map[key] = p as f32);
        });
    }

    /// From gradients of whole maps, ordered as in [`Positions::fill`], to that of the weight, which is added to.
    pub(super) fn add_gradient(
        &self,
        dmaps: &[f32],
        dweight: &mut [f32],
        of: impl Fn(usize) -> (usize, usize) + Sync,
    ) {
        let keys = self.dims.grid.tokens();
        let mut sums = vec![[0.0; 3]; self.dims.heads()];
        let rows: Vec<(usize, [f64; 3])> = dmaps
            .par_chunks_exact(keys)
            .enumerate()
            .with_min_len(64)
            .map(|(i, dmap)| {
                let (head, query) = of(i);
                let (row, mut sum) = (self.row(head, query), [0.0; 3]);
                row.each(0.0, |key, p| add(&mut sum, row.coefficients(key, p), dmap[key]));
                (head, sum)
            })
            .collect();
        rows.iter().for_each(|(head, sum)| add(&mut sums[*head], *sum, 1.0));
        give(&sums, dweight);
    }
}

/// `sum += factor * terms`.
pub(super) fn add(sum: &mut [f64; 3], terms: [f64; 3], factor: f32) {
    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term * f64::from(factor));
}

/// Adds the sums of each head to the gradient of the weight.
pub(super) fn give(sums: &[[f64; 3]], dweight: &mut [f32]) {
    dweight.iter_mut().zip(sums.as_flattened()).for_each(|(d, sum)| *d += *sum as f32);
}

impl Dims {
    /// The head of a place of the kernel, row by row, and the place of a head.
    pub(super) fn turned(&self, index: usize) -> usize {
        index % self.kernel * self.kernel + index / self.kernel
    }
}
