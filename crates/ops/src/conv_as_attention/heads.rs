//! The heads of one image: scores, softmax, the share of the positional map, and the product with the patches stay in
//! cache; the backward pass computes the maps again.

use super::Dims;
use crate::{
    gated_attention::{GatedSoftmax, GatedSoftmaxBackward},
    matmul::{Mat, Out, Write, product},
    simd::dispatch,
    tape::buffer,
};

/// Numbers of a map that are computed at a time, whole rows: on the way back three such parts share the second-level cache.
const MAP: usize = 1 << 16;

/// All heads of an image.
pub(super) struct Heads<'a> {
    pub(super) dims: Dims,
    /// Channels of the patches, and of the queries of all heads.
    pub(super) inner: usize,
    pub(super) width: usize,
    /// `[heads, queries, keys]`
    pub(super) maps: &'a [f32],
    /// `[heads]`
    pub(super) shares: &'a [f32],
}

/// What one thread computes in.
pub(super) struct Scratch {
    map: Vec<f32>,
    mixed: Vec<f32>,
    dmap: Vec<f32>,
}

/// An image on the way back.
pub(super) struct Image<'a> {
    /// `[keys, inner]`, and turned.
    pub(super) turned: &'a [f32],
    pub(super) dx: &'a mut [f32],
    /// `[queries, width]`; the gradient is overwritten.
    pub(super) q: &'a [f32],
    pub(super) dq: &'a mut [f32],
    /// `[width, keys]`; the gradient is overwritten.
    pub(super) k: &'a [f32],
    pub(super) dk: &'a mut [f32],
    /// The gradient of what the heads have seen, `[queries, places, inner]`.
    pub(super) dseen: &'a [f32],
}

impl Heads<'_> {
    /// Queries whose maps are computed at a time.
    fn block(&self) -> usize {
        (MAP / self.dims.grid.tokens()).max(16).min(self.dims.out.tokens())
    }

    pub(super) fn scratch(&self, backward: bool) -> Scratch {
        let len = self.block() * self.dims.grid.tokens();
        let more = || buffer(if backward { len } else { 0 });
        Scratch { map: buffer(len), mixed: more(), dmap: more() }
    }

    fn head_dim(&self) -> usize {
        self.width / self.dims.heads()
    }

    fn scale(&self) -> f32 {
        (self.head_dim() as f64).powf(-0.5) as f32
    }

    /// Each head with each block of queries: head, first query, number of queries.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (heads, queries, block) = (self.dims.heads(), self.dims.out.tokens(), self.block());
        let blocks = move |head| (0..queries).step_by(block).map(move |q| (head, q, block.min(queries - q)));
        (0..heads).flat_map(blocks)
    }

    /// The scores of a block.
    fn scores(&self, (head, first, count): (usize, usize, usize), q: &[f32], k: &[f32], map: &mut [f32]) {
        let (keys, dim) = (self.dims.grid.tokens(), self.head_dim());
        let q = Mat::rows(q, first * self.width + head * dim, count, dim, self.width);
        let k = Mat::rows(k, head * dim * keys, dim, keys, keys);
        // SAFETY: matrices of these dimensions; `map` is this thread's own.
        unsafe { product(Write::Set, Out::dense(map, count, keys), (count, keys, dim), q, k, self.scale()) };
    }

    /// What the heads see of `x: [keys, inner]`: `[queries, places, inner]`, overwritten. q: `[queries, width]`, k:
    /// `[width, keys]`.
    pub(super) fn forward(&self, q: &[f32], k: &[f32], x: &[f32], seen: &mut [f32], scratch: &mut Scratch) {
        let (keys, inner, queries) = (self.dims.grid.tokens(), self.inner, self.dims.out.tokens());
        let row = self.dims.heads() * inner;
        for (head, first, count) in self.blocks() {
            let map = &mut scratch.map[..count * keys];
            self.scores((head, first, count), q, k, map);
            let positional = &self.maps[(head * queries + first) * keys..][..count * keys];
            dispatch(GatedSoftmax { tokens: keys, share: self.shares[head], positional, map });
            let out = Out::rows(seen, first * row + self.dims.turned(head) * inner, count, inner, row);
            let (map, x) = (Mat::dense(map, count, keys), Mat::dense(x, keys, inner));
            // SAFETY: matrices of these dimensions; `seen` is this thread's own.
            unsafe { product(Write::Set, out, (count, inner, keys), map, x, 1.0) };
        }
    }

    /// The gradients of x (without what comes through q and k), which is added to, of q and of k; to `dmaps` the gradients
    /// of the mixed maps are added (to be multiplied by the share), to `dshares` those of the shares.
    pub(super) fn backward(
        &self,
        image: Image<'_>,
        (dmaps, dshares): (&mut [f32], &mut [f32]),
        scratch: &mut Scratch,
    ) {
        let Image { turned, dx, q, dq, k, dk, dseen } = image;
        let (keys, inner, queries) = (self.dims.grid.tokens(), self.inner, self.dims.out.tokens());
        let (dim, width, scale) = (self.head_dim(), self.width, self.scale());
        let row = self.dims.heads() * inner;
        for (head, first, count) in self.blocks() {
            let [map, mixed, dmap] =
                [&mut scratch.map, &mut scratch.mixed, &mut scratch.dmap].map(|v| &mut v[..count * keys]);
            self.scores((head, first, count), q, k, map);
            let place = first * row + self.dims.turned(head) * inner;
            let dseen = Mat::rows(dseen, place, count, inner, row);
            let turned = Mat::dense(turned, inner, keys);
            // SAFETY: matrices of these dimensions; `dmap` is this thread's own.
            unsafe {
                let out = Out::dense(dmap, count, keys);
                product(Write::Set, out, (count, keys, inner), dseen, turned, 1.0);
            }
            let pairs = (head * queries + first) * keys..(head * queries + first + count) * keys;
            dshares[head] += dispatch(GatedSoftmaxBackward {
                tokens: keys,
                share: self.shares[head],
                positional: &self.maps[pairs.clone()],
                content: map,
                mixed,
                dmap,
                dpositional: &mut dmaps[pairs],
            });
            let mode = if first == 0 { Write::Set } else { Write::Add };
            let (mixed, dscores) = (Mat::dense(mixed, count, keys), Mat::dense(dmap, count, keys));
            let q = Mat::rows(q, first * width + head * dim, count, dim, width);
            let k = Mat::rows(k, head * dim * keys, dim, keys, keys);
            // SAFETY: matrices of these dimensions; all that is written is this thread's own.
            unsafe {
                let out = Out::dense(dx, keys, inner);
                product(Write::Add, out, (keys, inner, count), mixed.t(), dseen, 1.0);
                let out = Out::rows(dq, first * width + head * dim, count, dim, width);
                product(Write::Set, out, (count, dim, keys), dscores, k.t(), scale);
                let out = Out::rows(dk, head * dim * keys, dim, keys, keys);
                product(mode, out, (dim, keys, count), q.t(), dscores, scale);
            }
        }
    }
}
