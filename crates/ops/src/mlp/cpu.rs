//! The MLP on the CPU: a chunk of rows goes through both layers while it is in cache. The backward pass keeps the
//! hidden layer before its activation, nothing after it.

use rayon::prelude::*;

use super::Dims;
use crate::{
    gelu,
    linear::{add_bias, column_sums, transposed},
    matmul::{Mat, Out, Write, product},
    simd::{Kernel, dispatch},
};

/// Rows that go through together: `CHUNK * hidden` numbers should fit the second-level cache.
const CHUNK: usize = 256;
/// Rows whose weight gradients are summed by one task; fixed, so that sums do not depend on the threads.
const SHARD: usize = 2 * CHUNK;
/// More shards than this and each gets more rows: every shard has its own copy of the weight gradients.
const MAX_SHARDS: usize = 16;

/// The parameters, row-major as PyTorch stores them.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) weight1: &'a [f32],
    pub(crate) bias1: &'a [f32],
    pub(crate) weight2: &'a [f32],
    pub(crate) bias2: &'a [f32],
}

/// Where the backward pass adds.
pub(crate) struct Gradients<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) weight1: &'a mut [f32],
    pub(crate) bias1: &'a mut [f32],
    pub(crate) weight2: &'a mut [f32],
    pub(crate) bias2: &'a mut [f32],
}

/// `y` (overwritten) `= gelu(x W1^T + b1) W2^T + b2`. The hidden layer before GELU goes to `hidden` if it is given.
pub(crate) fn forward(
    dims: Dims,
    x: &[f32],
    weights: Weights<'_>,
    hidden: Option<&mut [f32]>,
    y: &mut [f32],
) {
    let Dims { width, hidden: inner, .. } = dims;
    let weight1 = transposed(weights.weight1, inner, width);
    let weight2 = transposed(weights.weight2, width, inner);
    let one = |x: &[f32], pre: &mut [f32], post: &mut [f32], y: &mut [f32]| {
        let rows = x.len() / width;
        // SAFETY: all matrices are dense and have these dimensions; outputs are this task's own.
        unsafe {
            let out = Out::dense(pre, rows, inner);
            product(Write::Set, out, (rows, inner, width), Mat::dense(x, rows, width), weight1.mat(), 1.0);
            dispatch(BiasGelu { bias: weights.bias1, pre, post });
            let out = Out::dense(y, rows, width);
            product(Write::Set, out, (rows, width, inner), Mat::dense(post, rows, inner), weight2.mat(), 1.0);
        }
        add_bias(y, weights.bias2);
    };
    let chunks = y.par_chunks_mut(CHUNK * width).zip(x.par_chunks(CHUNK * width));
    let scratch = || vec![0.0; CHUNK * inner];
    match hidden {
        Some(hidden) => {
            chunks.zip(hidden.par_chunks_mut(CHUNK * inner)).for_each_init(scratch, |post, ((y, x), pre)| {
                let len = pre.len();
                one(x, pre, &mut post[..len], y);
            })
        }
        None => chunks.for_each_init(
            || (scratch(), scratch()),
            |(pre, post), (y, x)| {
                let len = x.len() / width * inner;
                one(x, &mut pre[..len], &mut post[..len], y);
            },
        ),
    }
}

/// Adds the gradients of all inputs, given the hidden layer that `forward` has kept.
pub(crate) fn backward(
    dims: Dims,
    x: &[f32],
    hidden: &[f32],
    weights: Weights<'_>,
    dy: &[f32],
    sums: Gradients<'_>,
) {
    let Dims { rows, width, hidden: inner } = dims;
    let shard = rows.div_ceil(MAX_SHARDS).next_multiple_of(CHUNK).max(SHARD);
    let partial: Vec<[Vec<f32>; 4]> = sums
        .x
        .par_chunks_mut(shard * width)
        .zip(
            x.par_chunks(shard * width)
                .zip(hidden.par_chunks(shard * inner))
                .zip(dy.par_chunks(shard * width)),
        )
        .map(|(dx, ((x, hidden), dy))| {
            let mut sums =
                [vec![0.0; inner * width], vec![0.0; inner], vec![0.0; width * inner], vec![0.0; width]];
            let [dweight1, dbias1, dweight2, dbias2] = &mut sums;
            let mut scratch = vec![0.0; 2 * CHUNK * inner];
            let (post, dhidden) = scratch.split_at_mut(CHUNK * inner);
            let chunks = dx.chunks_mut(CHUNK * width).zip(x.chunks(CHUNK * width));
            for ((dx, x), (hidden, dy)) in
                chunks.zip(hidden.chunks(CHUNK * inner).zip(dy.chunks(CHUNK * width)))
            {
                let rows = x.len() / width;
                let (post, dhidden) = (&mut post[..rows * inner], &mut dhidden[..rows * inner]);
                // SAFETY: all matrices are dense and have these dimensions; outputs are this task's own.
                unsafe {
                    let (x, dy) = (Mat::dense(x, rows, width), Mat::dense(dy, rows, width));
                    let weight = Mat::dense(weights.weight2, width, inner);
                    product(
                        Write::Set,
                        Out::dense(dhidden, rows, inner),
                        (rows, inner, width),
                        dy,
                        weight,
                        1.0,
                    );
                    dispatch(GeluBackward { pre: hidden, post, gradient: dhidden });
                    let post = Mat::dense(post, rows, inner);
                    product(
                        Write::Add,
                        Out::dense(dweight2, width, inner),
                        (width, inner, rows),
                        dy.t(),
                        post,
                        1.0,
                    );
                    let weight = Mat::dense(weights.weight1, inner, width);
                    let gradient = Mat::dense(dhidden, rows, inner);
                    product(
                        Write::Add,
                        Out::dense(dx, rows, width),
                        (rows, width, inner),
                        gradient,
                        weight,
                        1.0,
                    );
                    product(
                        Write::Add,
                        Out::dense(dweight1, inner, width),
                        (inner, width, rows),
                        gradient.t(),
                        x,
                        1.0,
                    );
                }
                column_sums(dhidden, dbias1);
                column_sums(dy, dbias2);
            }
            sums
        })
        .collect();
    for [dweight1, dbias1, dweight2, dbias2] in partial {
        crate::residual::accumulate(&dweight1, sums.weight1);
        crate::residual::accumulate(&dbias1, sums.bias1);
        crate::residual::accumulate(&dweight2, sums.weight2);
        crate::residual::accumulate(&dbias2, sums.bias2);
    }
}

/// `pre += bias`, `post = gelu(pre)`.
struct BiasGelu<'a> {
    bias: &'a [f32],
    pre: &'a mut [f32],
    post: &'a mut [f32],
}

impl Kernel for BiasGelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.bias.len();
        for (pre, post) in self.pre.chunks_exact_mut(width).zip(self.post.chunks_exact_mut(width)) {
            for ((pre, post), bias) in pre.iter_mut().zip(post).zip(self.bias) {
                *pre += bias;
                *post = gelu::value::<FMA>(*pre);
            }
        }
    }
}

/// `post = gelu(pre)`, `gradient *= gelu'(pre)`.
struct GeluBackward<'a> {
    pre: &'a [f32],
    post: &'a mut [f32],
    gradient: &'a mut [f32],
}

impl Kernel for GeluBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((pre, post), gradient) in self.pre.iter().zip(self.post).zip(self.gradient) {
            let (value, derivative) = gelu::with_derivative::<FMA>(*pre);
            *post = value;
            *gradient *= derivative;
        }
    }
}
