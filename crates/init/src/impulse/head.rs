//! One head of the gradient solve: loss, its gradient, one step of Adam. In `f32`, one thread.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use inductive_ops::{AdamWStep, slices};

use crate::{Basis, Matrix, Target};

/// The order in which `P Q K P^T` is multiplied out. `P = U C`, where U has as many columns as P has directions, k.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    /// `U (C Q K C^T) U^T`: k is at most r. For embeddings of sines and cosines, a quarter of the work of the last.
    Core,
    /// `(U (C Q)) (U (C K^T))^T`
    Directions,
    /// `(P Q) (P K^T)^T`: as many directions as channels, or nearly so; U is P here and C is not used.
    Plain,
}

/// Weights, gradients and moments of one head and what its steps work on. All matrices row-major.
pub(super) struct Head {
    route: Route,
    dims: Dims,
    /// U (or P), `[tokens, k]`
    spread: Vec<f32>,
    /// C, `[k, width]`
    compact: Vec<f32>,
    keys: Vec<Option<usize>>,
    /// Derivative of the loss's mean by one squared difference.
    weight: f32,
    /// Factor of the logits.
    scale: f32,
    /// Q^T
    query: Weights,
    key: Weights,
    /// `C Q` and `C K^T`, `[k, r]`, and their gradients
    narrow: [Vec<f32>; 4],
    /// `U C Q` and `U C K^T`, `[tokens, r]`, and their gradients; `[tokens, k]` on [`Route::Core`]
    wide: [Vec<f32>; 4],
    /// `C Q K C^T` and its gradient, `[k, k]`, on [`Route::Core`]
    core: [Vec<f32>; 2],
    /// `[tokens, tokens]`
    attention: Vec<f32>,
    /// Gradient of the attention, then of its logits.
    gradient: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Dims {
    tokens: usize,
    width: usize,
    head_dim: usize,
    rank: usize,
}

/// `[head_dim, width]` each.
struct Weights {
    values: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Weights {
    fn new(values: &Matrix) -> Self {
        let values = values.to_f32();
        let zeros = || vec![0.0; values.len()];
        Self { gradient: zeros(), first: zeros(), second: zeros(), values }
    }

    fn update(&mut self, step: &AdamWStep) {
        slices::adamw(&mut self.values, &self.gradient, &mut self.first, &mut self.second, step);
    }
}

fn view(values: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(values, rows, cols)
}

/// `out = scale a b`
fn multiply(out: &mut [f32], a: MatRef<'_, f32>, b: MatRef<'_, f32>, scale: f32) {
    let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul(out, Accum::Replace, a, b, scale, Par::Seq);
}

impl Head {
    /// One of `heads` heads; scale: factor of its logits; query, key: `[head_dim, width]`, as layers store them.
    pub(super) fn new(
        basis: &Basis,
        target: &Target,
        (heads, scale): (usize, f64),
        query: &Matrix,
        key: &Matrix,
    ) -> Self {
        let (tokens, width, head_dim) = (basis.tokens(), basis.width(), query.rows());
        let route = match basis.rank() {
            rank if rank <= head_dim => Route::Core,
            rank if rank * (tokens + width) < tokens * width => Route::Directions,
            _ => Route::Plain,
        };
        let (spread, compact, rank) = match route {
            Route::Plain => (basis.input.to_f32(), Vec::new(), width),
            _ => {
                let compact = basis.right.clone().scaled_columns(&basis.values).transposed();
                (basis.left.to_f32(), compact.to_f32(), basis.rank())
            }
        };
        let dims = Dims { tokens, width, head_dim, rank };
        let (wide, core) = if route == Route::Core { (rank, rank * rank) } else { (head_dim, 0) };
        Self {
            route,
            dims,
            spread,
            compact,
            keys: target.keys().to_vec(),
            weight: 2.0 / (heads * tokens * tokens) as f32,
            scale: scale as f32,
            query: Weights::new(query),
            key: Weights::new(key),
            narrow: std::array::from_fn(|_| vec![0.0; rank * head_dim]),
            wide: std::array::from_fn(|_| vec![0.0; tokens * wide]),
            core: std::array::from_fn(|_| vec![0.0; core]),
            attention: vec![0.0; tokens * tokens],
            gradient: vec![0.0; tokens * tokens],
        }
    }

    /// Query weights, `[head_dim, width]`.
    pub(super) fn query(&self) -> &[f32] {
        &self.query.values
    }

    /// Key weights, `[head_dim, width]`.
    pub(super) fn key(&self) -> &[f32] {
        &self.key.values
    }

    /// Gives every column of Q its length over the width, every column of K its length over the head's channels.
    pub(super) fn renormalize(&mut self, norm: f64) {
        let width = self.dims.width;
        let factor = |square: f64| if square > 0.0 { norm / square.sqrt() } else { 0.0 };
        for row in self.query.values.chunks_exact_mut(width) {
            let factor = factor(row.iter().map(|v| f64::from(*v).powi(2)).sum());
            row.iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
        }
        let mut squares = vec![0.0; width];
        for row in self.key.values.chunks_exact(width) {
            squares.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v).powi(2));
        }
        for row in self.key.values.chunks_exact_mut(width) {
            row.iter_mut().zip(&squares).for_each(|(v, sum)| *v = (f64::from(*v) * factor(*sum)) as f32);
        }
    }

    /// One step of Adam, number `step` from 1; returns this head's loss before it.
    pub(super) fn step(&mut self, lr: f64, step: u64) -> f64 {
        let loss = self.loss_and_gradient();
        let adam = AdamWStep {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            step,
            gradient_scale: 1.0,
        };
        self.query.update(&adam);
        self.key.update(&adam);
        loss
    }

    fn loss_and_gradient(&mut self) -> f64 {
        self.logits();
        slices::softmax_rows(self.dims.tokens, &mut self.attention);
        let loss = self.difference();
        slices::softmax_rows_backward(self.dims.tokens, &self.attention, &mut self.gradient);
        self.backward();
        loss
    }

    /// `scale P Q K P^T` into `attention`.
    fn logits(&mut self) {
        let Dims { tokens, width, head_dim, rank } = self.dims;
        let scale = self.scale;
        let spread = view(&self.spread, tokens, rank);
        let query = view(&self.query.values, head_dim, width).transpose();
        let key = view(&self.key.values, head_dim, width).transpose();
        let [a, b, ..] = &mut self.narrow;
        let [x, y, ..] = &mut self.wide;
        if self.route == Route::Plain {
            multiply(x, spread, query, 1.0);
            multiply(y, spread, key, 1.0);
        } else {
            let compact = view(&self.compact, rank, width);
            multiply(a, compact, query, 1.0);
            multiply(b, compact, key, 1.0);
        }
        if self.route == Route::Core {
            let [core, _] = &mut self.core;
            multiply(core, view(a, rank, head_dim), view(b, rank, head_dim).transpose(), scale);
            multiply(x, spread, view(core, rank, rank), 1.0);
            multiply(&mut self.attention, view(x, tokens, rank), spread.transpose(), 1.0);
            return;
        }
        if self.route == Route::Directions {
            multiply(x, spread, view(a, rank, head_dim), 1.0);
            multiply(y, spread, view(b, rank, head_dim), 1.0);
        }
        let (x, y) = (view(x, tokens, head_dim), view(y, tokens, head_dim));
        multiply(&mut self.attention, x, y.transpose(), scale);
    }

    /// The gradient of the loss by the attention, `2 (A - H) / (heads tokens^2)`; returns the mean of `(A - H)^2`.
    fn difference(&mut self) -> f64 {
        let tokens = self.dims.tokens;
        let mut loss = 0.0;
        let rows = self.attention.chunks_exact(tokens).zip(self.gradient.chunks_exact_mut(tokens));
        for ((attention, gradient), key) in rows.zip(&self.keys) {
            // partial sums, so that the compiler may use vectors
            let mut sums = [0.0f32; 16];
            for (a, g) in attention.chunks(16).zip(gradient.chunks_mut(16)) {
                for ((a, g), sum) in a.iter().zip(g).zip(&mut sums) {
                    *g = a * self.weight;
                    *sum += a * a;
                }
            }
            loss += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
            if let Some(key) = *key {
                gradient[key] -= self.weight;
                loss += 1.0 - 2.0 * f64::from(attention[key]);
            }
        }
        loss / (tokens * tokens) as f64
    }

    /// From the gradient of the logits to those of the weights.
    fn backward(&mut self) {
        let Dims { tokens, width, head_dim, rank } = self.dims;
        let scale = self.scale;
        let spread = view(&self.spread, tokens, rank);
        let gradient = view(&self.gradient, tokens, tokens);
        let [a, b, da, db] = &mut self.narrow;
        let [x, y, dx, dy] = &mut self.wide;
        if self.route == Route::Core {
            let [_, dcore] = &mut self.core;
            multiply(dx, spread.transpose(), gradient, 1.0);
            multiply(dcore, view(dx, rank, tokens), spread, 1.0);
            let dcore = view(dcore, rank, rank);
            multiply(da, dcore, view(b, rank, head_dim), scale);
            multiply(db, dcore.transpose(), view(a, rank, head_dim), scale);
        } else {
            multiply(dx, gradient, view(y, tokens, head_dim), scale);
            multiply(dy, gradient.transpose(), view(x, tokens, head_dim), scale);
            let (dx, dy) = (view(dx, tokens, head_dim), view(dy, tokens, head_dim));
            if self.route == Route::Plain {
                multiply(&mut self.query.gradient, dx.transpose(), spread, 1.0);
                multiply(&mut self.key.gradient, dy.transpose(), spread, 1.0);
                return;
            }
            multiply(da, spread.transpose(), dx, 1.0);
            multiply(db, spread.transpose(), dy, 1.0);
        }
        let compact = view(&self.compact, rank, width);
        multiply(&mut self.query.gradient, view(da, rank, head_dim).transpose(), compact, 1.0);
        multiply(&mut self.key.gradient, view(db, rank, head_dim).transpose(), compact, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Offset, QueryKey, layer_norm,
        random::{Purpose, stream, uniform},
    };
    use inductive_ops::Grid;

    const GRID: Grid = Grid { rows: 4, cols: 5 };
    const WIDTH: usize = 24;

    /// A pseudo-input of at most `rank` directions.
    fn basis(rank: usize) -> Basis {
        let mut rng = stream(Purpose::PseudoInput, 0, 0, 0);
        let left = uniform(GRID.tokens(), rank, 1.0, &mut rng);
        Basis::new(layer_norm(&left.times(&uniform(rank, WIDTH, 1.0, &mut rng)))).unwrap()
    }

    fn loss(basis: &Basis, target: &Target, heads: usize, query: &Matrix, key: &Matrix) -> f64 {
        // one head of several: the others' weights do not matter
        let stack = |m: &Matrix| {
            let rows = m.rows();
            Matrix::from_fn(WIDTH, WIDTH, |i, j| if i < rows { m.at(i, j) } else { 0.0 })
        };
        let weights = QueryKey::new(heads, stack(query), stack(key)).unwrap();
        let map = &weights.attention(basis.input()).unwrap()[0];
        let target = target.dense();
        let squares = map.values().iter().zip(target.values()).map(|(a, h)| (a - h).powi(2));
        squares.sum::<f64>() / map.values().len() as f64
    }

    #[test]
    fn gradients_of_every_route_are_those_of_finite_differences() {
        let target = Target::impulse(GRID, Offset { down: 1, right: -1 }).unwrap();
        for (rank, heads, route) in [(5, 2, Route::Core), (8, 4, Route::Directions), (19, 4, Route::Plain)] {
            let basis = basis(rank);
            let mut rng = stream(Purpose::Start, rank as u64, 0, 0);
            let [query, key] = [0, 1].map(|_| uniform(WIDTH / heads, WIDTH, 0.5, &mut rng));
            let scale = (WIDTH as f64 / heads as f64).sqrt().recip();
            let mut head = Head::new(&basis, &target, (heads, scale), &query, &key);
            assert_eq!(head.route, route);
            let got = head.loss_and_gradient();
            assert!((got - loss(&basis, &target, heads, &query, &key)).abs() < 1e-6 * got);
            let norm = head.query.gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            for (is_query, gradients) in [(true, &head.query.gradient), (false, &head.key.gradient)] {
                for index in (0..gradients.len()).step_by(7) {
                    let moved = |by: f64| {
                        let (mut query, mut key) = (query.clone(), key.clone());
                        let changed = if is_query { &mut query } else { &mut key };
                        changed.values_mut()[index] += by;
                        loss(&basis, &target, heads, &query, &key)
                    };
                    // the solve's loss is the mean over all heads
                    let want = (moved(1e-5) - moved(-1e-5)) / 2e-5 / heads as f64;
                    let got = f64::from(gradients[index]);
                    assert!((got - want).abs() < 1e-5 * f64::from(norm), "{route:?}: {got} {want} of {norm}");
                }
            }
        }
    }

    #[test]
    fn renormalising_takes_columns_of_q_over_the_width_and_of_k_over_the_head() {
        let target = Target::impulse(GRID, Offset::CENTRE).unwrap();
        let mut rng = stream(Purpose::Start, 0, 0, 0);
        let [query, key] = [0, 1].map(|_| uniform(6, WIDTH, 0.5, &mut rng));
        let mut head = Head::new(&basis(19), &target, (4, 0.4), &query, &key);
        head.renormalize(0.7);
        let norm = |values: &mut dyn Iterator<Item = &f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        for row in head.query().chunks_exact(WIDTH) {
            assert!((norm(&mut row.iter()) - 0.7).abs() < 1e-5);
        }
        for column in 0..WIDTH {
            assert!((norm(&mut head.key().iter().skip(column).step_by(WIDTH)) - 0.7).abs() < 1e-5);
        }
    }
}
