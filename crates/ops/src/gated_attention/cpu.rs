//! Gated positional self-attention on the CPU.
//!
//! One task takes one head through a group of images: the head's positional map, computed once per call, stays in
//! cache meanwhile. Groups are fixed by the batch size, so that sums over images do not depend on the threads.

use rayon::prelude::*;

use super::Grid;
use crate::{
    AttentionDims,
    matmul::{Mat, Out, Shared, Write, product},
    relative_positions,
    simd::{Kernel, dispatch, dot, exp_row, fma, softmax_row},
};

/// Number of groups that the images of a batch are divided into.
const GROUPS: usize = 8;

/// What the forward pass reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) dims: AttentionDims,
    pub(crate) grid: Grid,
    pub(crate) qk: &'a [f32],
    pub(crate) v: &'a [f32],
    /// `[heads, 3]`
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) gating: &'a [f32],
}

/// Where the backward pass adds.
pub(crate) struct Gradients<'a> {
    pub(crate) qk: &'a mut [f32],
    pub(crate) v: &'a mut [f32],
    pub(crate) weight: &'a mut [f32],
    pub(crate) bias: &'a mut [f32],
    pub(crate) gating: &'a mut [f32],
}

/// The positional maps `[heads, tokens, tokens]`.
fn positional_maps(inputs: &Inputs<'_>, relative: &[f32]) -> Vec<f32> {
    let tokens = inputs.dims.tokens;
    let mut maps = vec![0.0; inputs.dims.heads * tokens * tokens];
    maps.par_chunks_mut(tokens * tokens).enumerate().for_each(|(head, map)| {
        let weight = [0, 1, 2].map(|i| inputs.weight[3 * head + i]);
        dispatch(PositionalMap { tokens, weight, bias: inputs.bias[head], relative, map });
    });
    maps
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Images of one group.
fn images(batch: usize, group: usize) -> std::ops::Range<usize> {
    let size = batch.div_ceil(GROUPS);
    (group * size).min(batch)..((group + 1) * size).min(batch)
}

/// The matrices of one (image, head).
struct Views<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    /// Offset of the first channel in `qk`.
    at_qk: usize,
    /// Offset of the first channel in `v` and in the output.
    at_v: usize,
}

impl<'a> Views<'a> {
    fn new(inputs: &Inputs<'a>, image: usize, head: usize) -> Self {
        let AttentionDims { tokens, head_dim, .. } = inputs.dims;
        let width = inputs.dims.width();
        let at_v = image * tokens * width + head * head_dim;
        let at_qk = image * tokens * 2 * width + head * head_dim;
        Self {
            q: Mat::rows(inputs.qk, at_qk, tokens, head_dim, 2 * width),
            k: Mat::rows(inputs.qk, at_qk + width, tokens, head_dim, 2 * width),
            v: Mat::rows(inputs.v, at_v, tokens, head_dim, width),
            at_qk,
            at_v,
        }
    }
}

/// `out = ((1 - g) softmax(q k^T * scale) + g positional) v`; `out` is overwritten.
///
/// A convex sum of two stochastic rows sums to 1: the renormalisation of the composition is not repeated here.
pub(crate) fn forward(inputs: Inputs<'_>, out: &mut [f32]) {
    let AttentionDims { batch, tokens, heads, head_dim, scale } = inputs.dims;
    let width = inputs.dims.width();
    let maps = positional_maps(&inputs, &relative_positions(inputs.grid));
    let out = Shared::new(out);
    (0..heads * GROUPS).into_par_iter().for_each(|task| {
        let (head, group) = (task / GROUPS, task % GROUPS);
        let positional = &maps[head * tokens * tokens..][..tokens * tokens];
        let share = sigmoid(inputs.gating[head]);
        let range = images(batch, group);
        let mut map = if range.is_empty() { Vec::new() } else { vec![0.0; tokens * tokens] };
        for image in range {
            let views = Views::new(&inputs, image, head);
            // SAFETY: the matrices have these dimensions; each task writes to its own columns of its own images.
            unsafe {
                let scores = Out::dense(&mut map, tokens, tokens);
                product(Write::Set, scores, (tokens, tokens, head_dim), views.q, views.k.t(), scale as f32);
                dispatch(GatedSoftmax { tokens, share, positional, map: &mut map });
                product(
                    Write::Set,
                    out.out(views.at_v, tokens, head_dim, width),
                    (tokens, head_dim, tokens),
                    Mat::dense(&map, tokens, tokens),
                    views.v,
                    1.0,
                );
            }
        }
    });
}

/// Adds the gradients of all inputs.
pub(crate) fn backward(inputs: Inputs<'_>, dout: &[f32], gradients: Gradients<'_>) {
    let AttentionDims { batch, tokens, heads, head_dim, scale } = inputs.dims;
    let width = inputs.dims.width();
    let pairs = tokens * tokens;
    let relative = relative_positions(inputs.grid);
    let maps = positional_maps(&inputs, &relative);
    let (dqk, dv) = (Shared::new(gradients.qk), Shared::new(gradients.v));
    // Per task: the gradient of the positional map and of the gate.
    let partial: Vec<(Vec<f32>, f32)> = (0..heads * GROUPS)
        .into_par_iter()
        .map(|task| {
            let (head, group) = (task / GROUPS, task % GROUPS);
            let range = images(batch, group);
            if range.is_empty() {
                return (Vec::new(), 0.0);
            }
            let positional = &maps[head * pairs..][..pairs];
            let share = sigmoid(inputs.gating[head]);
            let mut scratch = vec![0.0; 3 * pairs];
            let (content, rest) = scratch.split_at_mut(pairs);
            let (mixed, dmap) = rest.split_at_mut(pairs);
            let (mut dpositional, mut dshare) = (vec![0.0; pairs], 0.0);
            let (score, value) = ((tokens, tokens, head_dim), (tokens, head_dim, tokens));
            for image in range {
                let views = Views::new(&inputs, image, head);
                let dout = Mat::rows(dout, views.at_v, tokens, head_dim, width);
                // SAFETY: as in `forward`.
                unsafe {
                    let scores = Out::dense(content, tokens, tokens);
                    product(Write::Set, scores, score, views.q, views.k.t(), scale as f32);
                    product(Write::Set, Out::dense(dmap, tokens, tokens), score, dout, views.v.t(), 1.0);
                    dshare += dispatch(GatedSoftmaxBackward {
                        tokens,
                        share,
                        positional,
                        content,
                        mixed,
                        dmap,
                        dpositional: &mut dpositional,
                    });
                    let dv = dv.out(views.at_v, tokens, head_dim, width);
                    product(Write::Add, dv, value, Mat::dense(mixed, tokens, tokens).t(), dout, 1.0);
                    let dscores = Mat::dense(dmap, tokens, tokens);
                    let dq = dqk.out(views.at_qk, tokens, head_dim, 2 * width);
                    product(Write::Add, dq, value, dscores, views.k, scale as f32);
                    let dk = dqk.out(views.at_qk + width, tokens, head_dim, 2 * width);
                    product(Write::Add, dk, value, dscores.t(), views.q, scale as f32);
                }
            }
            (dpositional, dshare)
        })
        .collect();
    for (head, parts) in partial.chunks_exact(GROUPS).enumerate() {
        let mut dpositional = vec![0.0; pairs];
        let mut dshare = 0.0;
        for (map, share) in parts {
            dpositional.iter_mut().zip(map).for_each(|(d, p)| *d += p);
            dshare += share;
        }
        let share = sigmoid(inputs.gating[head]);
        gradients.gating[head] += dshare * share * (1.0 - share);
        let sums = dispatch(PositionalGradient {
            tokens,
            relative: &relative,
            map: &maps[head * pairs..][..pairs],
            dmap: &mut dpositional,
        });
        for (gradient, sum) in gradients.weight[3 * head..].iter_mut().zip(&sums[..3]) {
            *gradient += share * sum;
        }
        gradients.bias[head] += share * sums[3];
    }
}

/// `map = softmax(weight . relative + bias)`, row by row.
struct PositionalMap<'a> {
    tokens: usize,
    weight: [f32; 3],
    bias: f32,
    relative: &'a [f32],
    map: &'a mut [f32],
}

impl Kernel for PositionalMap<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [x, y, square] = self.weight;
        let rows = self.map.chunks_exact_mut(self.tokens).zip(self.relative.chunks_exact(3 * self.tokens));
        for (row, relative) in rows {
            for (score, r) in row.iter_mut().zip(relative.chunks_exact(3)) {
                *score = x * r[0] + y * r[1] + square * r[2] + self.bias;
            }
            softmax_row::<FMA>(row);
        }
    }
}

/// `map = (1 - share) softmax(map) + share positional`, row by row.
struct GatedSoftmax<'a> {
    tokens: usize,
    share: f32,
    positional: &'a [f32],
    map: &'a mut [f32],
}

impl Kernel for GatedSoftmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.map.chunks_exact_mut(self.tokens).zip(self.positional.chunks_exact(self.tokens));
        for (row, positional) in rows {
            let factor = (1.0 - self.share) / exp_row::<FMA>(row);
            for (v, p) in row.iter_mut().zip(positional) {
                *v = fma::<FMA>(self.share, *p, *v * factor);
            }
        }
    }
}

/// The gated map and its backward pass for one (image, head).
///
/// In: `content` holds the scores, `dmap` the gradient of the mixed map. Out: `mixed` holds the mixed map, `dmap` the
/// gradient of the scores; the mixed map's gradient has been added to `dpositional` (to be multiplied by the share);
/// returns the gradient of the share, `sum (positional - content) dmap`.
struct GatedSoftmaxBackward<'a> {
    tokens: usize,
    share: f32,
    positional: &'a [f32],
    content: &'a mut [f32],
    mixed: &'a mut [f32],
    dmap: &'a mut [f32],
    dpositional: &'a mut [f32],
}

impl Kernel for GatedSoftmaxBackward<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let rest = 1.0 - self.share;
        let width = self.tokens;
        let mut dshare = 0.0;
        let rows = self
            .content
            .chunks_exact_mut(width)
            .zip(self.mixed.chunks_exact_mut(width))
            .zip(self.dmap.chunks_exact_mut(width))
            .zip(self.dpositional.chunks_exact_mut(width))
            .zip(self.positional.chunks_exact(width));
        for ((((content, mixed), dmap), dpositional), positional) in rows {
            let factor = 1.0 / exp_row::<FMA>(content);
            for (c, (m, p)) in content.iter_mut().zip(mixed.iter_mut().zip(positional)) {
                *c *= factor;
                *m = fma::<FMA>(self.share, *p, *c * rest);
            }
            let mean = dot::<FMA>(content, dmap);
            dshare += dot::<FMA>(positional, dmap) - mean;
            for ((d, c), dp) in dmap.iter_mut().zip(&*content).zip(dpositional) {
                *dp += *d;
                *d = *c * (*d - mean) * rest;
            }
        }
        dshare
    }
}

/// Through the softmax of the positional map to `(dw_x, dw_y, dw_square, db)`.
struct PositionalGradient<'a> {
    tokens: usize,
    relative: &'a [f32],
    map: &'a [f32],
    dmap: &'a mut [f32],
}

impl Kernel for PositionalGradient<'_> {
    type Output = [f32; 4];
    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f32; 4] {
        let mut sums = [0.0f64; 4];
        let rows = self.map.chunks_exact(self.tokens).zip(self.dmap.chunks_exact(self.tokens));
        for ((map, dmap), relative) in rows.zip(self.relative.chunks_exact(3 * self.tokens)) {
            let mean = dot::<FMA>(map, dmap);
            for ((p, d), r) in map.iter().zip(dmap).zip(relative.chunks_exact(3)) {
                let dscore = (p * (d - mean)) as f64;
                for (sum, feature) in sums.iter_mut().zip([r[0], r[1], r[2], 1.0]) {
                    *sum += dscore * feature as f64;
                }
            }
        }
        sums.map(|v| v as f32)
    }
}
