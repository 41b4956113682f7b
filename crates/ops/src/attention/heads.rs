//! The heads of one image: scores, softmax, gate and the product with v stay in cache, and the backward pass computes the
//! probabilities again instead of having stored them.

use super::AttentionDims;
use crate::{
    gated_attention::{GatedSoftmax, GatedSoftmaxBackward},
    matmul::{Mat, Out, Write, product},
    simd::dispatch,
    softmax,
    tape::buffer,
};

/// The positional maps and gates of all heads, the same for every image.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    /// `[heads, tokens, tokens]`
    pub(crate) maps: &'a [f32],
    /// `[heads]`: share of the positional map.
    pub(crate) shares: &'a [f32],
}

/// Sums over images of the gradients of a [`Gate`].
pub(crate) struct GateSums<'a> {
    /// `[heads, tokens, tokens]`, to be multiplied by the share.
    pub(crate) maps: &'a mut [f32],
    /// `[heads]`
    pub(crate) shares: &'a mut [f32],
}

/// The heads of an image with `queries` of its tokens asking: q, k and v of all heads side by side in every row.
pub(crate) struct Heads<'a> {
    pub(crate) dims: AttentionDims,
    pub(crate) queries: usize,
    pub(crate) gate: Option<Gate<'a>>,
}

/// What one thread computes in; as many numbers as the maps of one head.
pub(crate) struct Scratch {
    map: Vec<f32>,
    dmap: Vec<f32>,
    mixed: Vec<f32>,
}

impl Heads<'_> {
    fn pairs(&self) -> usize {
        self.queries * self.dims.tokens
    }

    /// For [`Heads::forward`].
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch { map: buffer(self.pairs()), dmap: Vec::new(), mixed: Vec::new() }
    }

    /// For [`Heads::backward`].
    pub(crate) fn backward_scratch(&self) -> Scratch {
        let mixed = if self.gate.is_some() { self.pairs() } else { 0 };
        Scratch { map: buffer(self.pairs()), dmap: buffer(self.pairs()), mixed: buffer(mixed) }
    }

    /// q, k and v of one head in the rows of an image.
    fn views<'q>(&self, qkv: &'q [f32], head: usize) -> [Mat<'q>; 3] {
        let (width, AttentionDims { tokens, head_dim, .. }) = (self.dims.width(), self.dims);
        let view = |part, rows| Mat::rows(qkv, part * width + head * head_dim, rows, head_dim, 3 * width);
        [view(0, self.queries), view(1, tokens), view(2, tokens)]
    }

    /// `out = map v` for each head; out: `[queries, heads * head_dim]`, overwritten.
    pub(crate) fn forward(&self, qkv: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let AttentionDims { tokens, heads, head_dim, scale, .. } = self.dims;
        let (width, queries) = (self.dims.width(), self.queries);
        let map = &mut scratch.map[..];
        for head in 0..heads {
            let [q, k, v] = self.views(qkv, head);
            // SAFETY: the matrices have these dimensions; `map` and `out` are this thread's own.
            unsafe {
                let scores = Out::dense(map, queries, tokens);
                product(Write::Set, scores, (queries, tokens, head_dim), q, k.t(), scale as f32);
                match self.gate {
                    None => softmax::rows(tokens, map),
                    Some(gate) => {
                        let positional = &gate.maps[head * tokens * tokens..][..tokens * tokens];
                        dispatch(GatedSoftmax { tokens, share: gate.shares[head], positional, map });
                    }
                }
                let out = Out::rows(out, head * head_dim, queries, head_dim, width);
                product(
                    Write::Set,
                    out,
                    (queries, head_dim, tokens),
                    Mat::dense(map, queries, tokens),
                    v,
                    1.0,
                );
            }
        }
    }

    /// The gradients of q, k and v, which overwrite those columns of `dqkv`, and of the gate, which are added to `sums`.
    pub(crate) fn backward(
        &self,
        qkv: &[f32],
        dout: &[f32],
        dqkv: &mut [f32],
        mut sums: Option<GateSums<'_>>,
        scratch: &mut Scratch,
    ) {
        let AttentionDims { tokens, heads, head_dim, scale, .. } = self.dims;
        let (width, queries, scale) = (self.dims.width(), self.queries, scale as f32);
        let score = (queries, tokens, head_dim);
        let Scratch { map, dmap, mixed } = scratch;
        for head in 0..heads {
            let [q, k, v] = self.views(qkv, head);
            let dout = Mat::rows(dout, head * head_dim, queries, head_dim, width);
            let pairs = head * tokens * tokens..(head + 1) * tokens * tokens;
            // SAFETY: the matrices have these dimensions; all that is written is this thread's own, and the columns of
            // q, k and v do not overlap.
            unsafe {
                product(Write::Set, Out::dense(map, queries, tokens), score, q, k.t(), scale);
                product(Write::Set, Out::dense(dmap, queries, tokens), score, dout, v.t(), 1.0);
                let used = match (self.gate, &mut sums) {
                    (Some(gate), Some(sums)) => {
                        sums.shares[head] += dispatch(GatedSoftmaxBackward {
                            tokens,
                            share: gate.shares[head],
                            positional: &gate.maps[pairs.clone()],
                            content: map,
                            mixed,
                            dmap,
                            dpositional: &mut sums.maps[pairs],
                        });
                        &*mixed
                    }
                    (gate, sums) => {
                        assert!(gate.is_none() && sums.is_none(), "a gate comes with its sums");
                        softmax::rows(tokens, map);
                        softmax::rows_backward(tokens, map, dmap);
                        &*map
                    }
                };
                let (used, dscores) = (Mat::dense(used, queries, tokens), Mat::dense(dmap, queries, tokens));
                let mut grad = |part: usize, rows: usize| {
                    Out::rows(dqkv, part * width + head * head_dim, rows, head_dim, 3 * width)
                };
                let (keys, asked) = ((tokens, head_dim, queries), (queries, head_dim, tokens));
                product(Write::Set, grad(2, tokens), keys, used.t(), dout, 1.0);
                product(Write::Set, grad(0, queries), asked, dscores, k, scale);
                product(Write::Set, grad(1, tokens), keys, dscores.t(), q, scale);
            }
        }
    }
}
