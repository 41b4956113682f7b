//! The MLP on the CPU: a chunk of rows goes through normalisation, both layers and the residual connection while it is
//! in cache. The backward pass keeps the hidden layer before its activation, nothing after it.

use rayon::prelude::*;

use super::Dims;
use crate::{
    branch::Slices,
    gelu,
    linear::{Operand, add_bias, column_sums},
    matmul::{Mat, Out, Panels, Shared, Write, panel_parts, product_panels, to_panels},
    shards,
    simd::{Kernel, dispatch},
    tape::buffer,
};

/// Rows that go through together: `CHUNK * hidden` numbers should fit the second-level cache.
const CHUNK: usize = 128;

/// The parameters, row-major as PyTorch stores them, and the branch around the MLP.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) weight1: &'a [f32],
    pub(crate) bias1: &'a [f32],
    pub(crate) weight2: &'a [f32],
    pub(crate) bias2: &'a [f32],
    pub(crate) branch: Option<Slices<'a>>,
}

/// What the forward pass keeps for the backward pass.
pub(crate) struct Kept {
    /// The hidden layer before GELU, `[rows, hidden]`.
    hidden: Vec<f32>,
    /// Of each row's normalisation; unused without a branch.
    statistics: Vec<[f32; 2]>,
}

impl Kept {
    pub(crate) fn new(dims: Dims, branch: bool) -> Self {
        let statistics = vec![[0.0; 2]; if branch { dims.rows } else { 0 }];
        Self { hidden: buffer(dims.rows * dims.hidden), statistics }
    }
}

/// `y` (overwritten) `= gelu(x W1^T + b1) W2^T + b2` inside its branch.
pub(crate) fn forward(dims: Dims, x: &[f32], weights: Weights<'_>, kept: Option<&mut Kept>, y: &mut [f32]) {
    let Dims { rows, width, hidden: inner, sample_rows } = dims;
    let weight1 = Operand::turned(weights.weight1, width, rows);
    let weight2 = Operand::turned(weights.weight2, inner, rows);
    let kept = kept.map(|kept| (Shared::new(&mut kept.hidden), Shared::new(&mut kept.statistics)));
    let keeps = kept.is_some();
    // Few rows are divided evenly over the threads of an ordinary machine.
    let chunk = rows.div_ceil(8).clamp(32, CHUNK);
    let scratch =
        || (buffer(chunk * width), buffer(if keeps { 0 } else { chunk * inner }), buffer(chunk * inner));
    y.par_chunks_mut(chunk * width).zip(x.par_chunks(chunk * width)).enumerate().for_each_init(
        scratch,
        |(normal, pre, post), (i, (y, x))| {
            let (first, rows) = (i * chunk, x.len() / width);
            let mut own = [[0.0; 2]; CHUNK];
            let input = match &weights.branch {
                None => x,
                Some(branch) => {
                    // SAFETY: each task has its own rows.
                    let statistics = unsafe { kept.map_or(&mut own[..rows], |(_, s)| s.slice(first, rows)) };
                    branch.enter(x, &mut normal[..x.len()], statistics);
                    &normal[..x.len()]
                }
            };
            // SAFETY: each task has its own rows.
            let pre =
                unsafe { kept.map_or(&mut pre[..], |(hidden, _)| hidden.slice(first * inner, rows * inner)) };
            let (pre, post) = (&mut pre[..rows * inner], &mut post[..rows * inner]);
            // SAFETY: all matrices are dense and have these dimensions; outputs are this task's own.
            unsafe {
                let out = Out::dense(pre, rows, inner);
                let input = Mat::dense(input, rows, width);
                weight1.multiply(Write::Set, out, rows, input);
                dispatch(BiasGelu { bias: weights.bias1, pre, post, keeps });
                let (out, post) = (Out::dense(y, rows, width), Mat::dense(post, rows, inner));
                weight2.multiply(Write::Set, out, rows, post);
            }
            add_bias(y, weights.bias2);
            if let Some(branch) = &weights.branch {
                branch.leave(first..first + rows, sample_rows, x, y);
            }
        },
    );
}

/// Adds the gradient of `x` to `dx` and those of the parameters to `gradients`: weight1, weight2, bias1, bias2, and with
/// a branch its weight and bias.
pub(crate) fn backward(
    dims: Dims,
    x: &[f32],
    kept: &Kept,
    weights: Weights<'_>,
    dy: &[f32],
    dx: &mut [f32],
    gradients: Vec<&mut [f32]>,
) {
    let count = shards::count(dims.rows);
    let weight1 = Operand::straight(weights.weight1, dims.width, dims.rows);
    let weight2 = Operand::straight(weights.weight2, dims.hidden, dims.rows);
    let dx = Shared::new(dx);
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let rows = shards::part(dims.rows, count, index);
            // SAFETY: each shard has its own rows.
            let dx = unsafe { dx.slice(rows.start * dims.width, rows.len() * dims.width) };
            shard(dims, rows, x, kept, weights, [&weight1, &weight2], dy, dx)
        })
        .collect();
    shards::reduce(&sums, gradients);
}

/// The rows `all` of the backward pass: adds to `dx`, returns the sums over these rows.
fn shard(
    dims: Dims,
    all: std::ops::Range<usize>,
    x: &[f32],
    kept: &Kept,
    weights: Weights<'_>,
    [weight1, weight2]: [&Operand<'_>; 2],
    dy: &[f32],
    dx: &mut [f32],
) -> Vec<f32> {
    let Dims { width, hidden: inner, sample_rows, .. } = dims;
    if all.is_empty() {
        return Vec::new();
    }
    let norm = if weights.branch.is_some() { 2 * width } else { 0 };
    let mut sums = buffer(2 * inner * width + inner + width + norm);
    sums[2 * inner * width..].fill(0.0);
    let (dweight1, rest) = sums.split_at_mut(inner * width);
    let (dweight2, rest) = rest.split_at_mut(inner * width);
    let (dbias1, rest) = rest.split_at_mut(inner);
    let (dbias2, dnorm) = rest.split_at_mut(width);
    let chunk = CHUNK.min(all.len());
    let mut scratch = buffer(chunk * (2 * inner + 3 * width));
    let (post, rest) = scratch.split_at_mut(chunk * inner);
    let (dhidden, rest) = rest.split_at_mut(chunk * inner);
    let (normal, rest) = rest.split_at_mut(chunk * width);
    let (dnormal, scaled) = rest.split_at_mut(chunk * width);
    let mut mode = Write::Set;
    for first in all.clone().step_by(chunk) {
        let at = first..(first + chunk).min(all.end);
        let rows = at.len();
        let x = &x[at.start * width..at.end * width];
        let dy = &dy[at.start * width..at.end * width];
        let dx = &mut dx[(at.start - all.start) * width..][..rows * width];
        let hidden = &kept.hidden[at.start * inner..at.end * inner];
        let (post, dhidden) = (&mut post[..rows * inner], &mut dhidden[..rows * inner]);
        let (normal, dnormal) = (&mut normal[..rows * width], &mut dnormal[..rows * width]);
        let gradient = match &weights.branch {
            None => {
                to_panels(x, width, width, normal);
                dy
            }
            Some(branch) => {
                branch.again(x, &kept.statistics[at.clone()], normal);
                branch.gradient(at.clone(), sample_rows, dy, scaled)
            }
        };
        // Without a branch the gradient of the input is the result, else it goes through the normalisation.
        let (target, write) =
            if weights.branch.is_some() { (&mut *dnormal, Write::Set) } else { (&mut *dx, Write::Add) };
        // SAFETY: all matrices are dense and have these dimensions; outputs are this task's own.
        unsafe {
            let dy = Mat::dense(gradient, rows, width);
            weight2.multiply(Write::Set, Out::dense(dhidden, rows, inner), rows, dy);
            dispatch(GeluBackward { width: inner, pre: hidden, post, gradient: dhidden });
            let out = Out::dense(dweight2, width, inner);
            product_panels(mode, out, width, dy.t(), Panels::new(post, rows, inner));
            let dhidden = Mat::dense(dhidden, rows, inner);
            weight1.multiply(write, Out::dense(target, rows, width), rows, dhidden);
            let out = Out::dense(dweight1, inner, width);
            product_panels(mode, out, inner, dhidden.t(), Panels::new(normal, rows, width));
        }
        mode = Write::Add;
        column_sums(dhidden, dbias1);
        column_sums(gradient, dbias2);
        if let Some(branch) = &weights.branch {
            crate::residual::add(dy, dx);
            branch.backward(x, &kept.statistics[at], dnormal, dx, dnorm);
        }
    }
    sums
}

/// `pre += bias` (written back if it is kept), `post = gelu(pre)`.
struct BiasGelu<'a> {
    bias: &'a [f32],
    pre: &'a mut [f32],
    post: &'a mut [f32],
    keeps: bool,
}

impl Kernel for BiasGelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.bias.len();
        for (pre, post) in self.pre.chunks_exact_mut(width).zip(self.post.chunks_exact_mut(width)) {
            if self.keeps {
                for ((pre, post), bias) in pre.iter_mut().zip(post).zip(self.bias) {
                    *pre += bias;
                    *post = gelu::value::<FMA>(*pre);
                }
            } else {
                for ((pre, post), bias) in pre.iter_mut().zip(post).zip(self.bias) {
                    *post = gelu::value::<FMA>(*pre + bias);
                }
            }
        }
    }
}

/// `post = gelu(pre)` in panels, `gradient *= gelu'(pre)`.
struct GeluBackward<'a> {
    width: usize,
    pre: &'a [f32],
    post: &'a mut [f32],
    gradient: &'a mut [f32],
}

impl Kernel for GeluBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let count = self.pre.len() / self.width;
        let rows = self.pre.chunks_exact(self.width).zip(self.gradient.chunks_exact_mut(self.width));
        for (row, (pre, gradient)) in rows.enumerate() {
            for (columns, place) in panel_parts(count, self.width, row) {
                let inputs = pre[columns.clone()].iter().zip(&mut gradient[columns]);
                for (post, (pre, gradient)) in self.post[place].iter_mut().zip(inputs) {
                    let (value, derivative) = gelu::with_derivative::<FMA>(*pre);
                    *post = value;
                    *gradient *= derivative;
                }
            }
        }
    }
}
