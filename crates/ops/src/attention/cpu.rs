//! Attention on the CPU, one (image, head) at a time: scores, softmax and the product with v stay in cache, and the
//! backward pass computes the probabilities again instead of having stored them.

use rayon::prelude::*;

use super::AttentionDims;
use crate::{
    matmul::{Mat, Out, Shared, Write, product},
    simd::{Kernel, dispatch, dot, softmax_row},
};

/// Scratch of one task.
pub(crate) fn scratch(dims: &AttentionDims) -> Vec<f32> {
    vec![0.0; dims.tokens * dims.tokens]
}

/// `out = softmax(q k^T * scale) v`; `out` is overwritten.
pub(crate) fn forward(dims: AttentionDims, qkv: &[f32], out: &mut [f32]) {
    let AttentionDims { batch, tokens, heads, head_dim, scale } = dims;
    let (width, out) = (dims.width(), Shared::new(out));
    let stride = 3 * width;
    (0..batch * heads).into_par_iter().for_each_init(
        || scratch(&dims),
        |map, task| {
            let (image, head) = (task / heads, task % heads);
            let base = image * tokens * stride + head * head_dim;
            let part = |index: usize| Mat::rows(qkv, base + index * width, tokens, head_dim, stride);
            let probabilities = Out::dense(map, tokens, tokens);
            // SAFETY: the matrices have these dimensions; each task writes to its own columns of its own image.
            unsafe {
                product(
                    Write::Set,
                    probabilities,
                    (tokens, tokens, head_dim),
                    part(0),
                    part(1).t(),
                    scale as f32,
                );
                dispatch(SoftmaxRows { width: tokens, rows: map });
                product(
                    Write::Set,
                    out.out(image * tokens * width + head * head_dim, tokens, head_dim, width),
                    (tokens, head_dim, tokens),
                    Mat::dense(map, tokens, tokens),
                    part(2),
                    1.0,
                );
            }
        },
    );
}

/// `dqkv +=` the gradient.
pub(crate) fn backward(dims: AttentionDims, qkv: &[f32], dout: &[f32], dqkv: &mut [f32]) {
    let AttentionDims { batch, tokens, heads, head_dim, scale } = dims;
    let (width, dqkv) = (dims.width(), Shared::new(dqkv));
    let stride = 3 * width;
    (0..batch * heads).into_par_iter().for_each_init(
        || (scratch(&dims), scratch(&dims)),
        |(map, dmap), task| {
            let (image, head) = (task / heads, task % heads);
            let base = image * tokens * stride + head * head_dim;
            let part = |index: usize| Mat::rows(qkv, base + index * width, tokens, head_dim, stride);
            let dout = Mat::rows(dout, image * tokens * width + head * head_dim, tokens, head_dim, width);
            let (score, value) = ((tokens, tokens, head_dim), (tokens, head_dim, tokens));
            // SAFETY: the matrices have these dimensions; each task writes to its own columns of its own image.
            unsafe {
                let grad = |index: usize| dqkv.out(base + index * width, tokens, head_dim, stride);
                product(
                    Write::Set,
                    Out::dense(map, tokens, tokens),
                    score,
                    part(0),
                    part(1).t(),
                    scale as f32,
                );
                dispatch(SoftmaxRows { width: tokens, rows: map });
                product(Write::Add, grad(2), value, Mat::dense(map, tokens, tokens).t(), dout, 1.0);
                product(Write::Set, Out::dense(dmap, tokens, tokens), score, dout, part(2).t(), 1.0);
                dispatch(SoftmaxGradient { width: tokens, map, dmap });
                let dscores = Mat::dense(dmap, tokens, tokens);
                product(Write::Add, grad(0), value, dscores, part(1), scale as f32);
                product(Write::Add, grad(1), value, dscores.t(), part(0), scale as f32);
            }
        },
    );
}

struct SoftmaxRows<'a> {
    width: usize,
    rows: &'a mut [f32],
}

impl Kernel for SoftmaxRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.rows.chunks_exact_mut(self.width) {
            softmax_row::<FMA>(row);
        }
    }
}

/// `dmap = map (dmap - sum_j map_j dmap_j)`, row by row.
struct SoftmaxGradient<'a> {
    width: usize,
    map: &'a [f32],
    dmap: &'a mut [f32],
}

impl Kernel for SoftmaxGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (p, d) in self.map.chunks_exact(self.width).zip(self.dmap.chunks_exact_mut(self.width)) {
            let mean = dot::<FMA>(p, d);
            for (d, p) in d.iter_mut().zip(p) {
                *d = *p * (*d - mean);
            }
        }
    }
}
