//! With content, forward: a few images at a time go through all of it while they are in cache.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{
    Dims,
    heads::{Heads, Scratch},
};
use crate::{
    conv2d,
    linear::{Operand, add_bias, turn_rows},
    matmul::{Mat, Out, Shared, Write, product},
    tape::buffer,
};

/// Rows (queries of several images) that go through together.
const ROWS: usize = 256;

/// A layer with its weights.
pub(super) struct Layer<'a> {
    pub(super) dims: Dims,
    pub(super) sizes: conv2d::Dims,
    /// `[outer, places, inner]`: heads in the order of the places of the kernel, row by row.
    pub(super) weight: Cow<'a, [f32]>,
    pub(super) bias: Option<&'a [f32]>,
    /// `[2, width, inner]`, q then k.
    pub(super) qk: &'a [f32],
    /// The positional maps, `[heads, queries, keys]`.
    pub(super) maps: &'a [f32],
    /// Of the positional maps, `[heads]`.
    pub(super) shares: &'a [f32],
}

/// What the forward pass keeps for the backward pass.
pub(super) struct Kept {
    /// `[batch, queries, width]`
    pub(super) q: Vec<f32>,
    /// `[batch, width, keys]`
    pub(super) k: Vec<f32>,
    /// What the heads have seen, `[batch, queries, places, inner]`.
    pub(super) seen: Vec<f32>,
}

impl Kept {
    pub(super) fn new(layer: &Layer<'_>) -> Self {
        let [q, k, seen] = layer.per_image().map(|len| buffer(layer.dims.batch * len));
        Self { q, k, seen }
    }
}

impl<'a> Layer<'a> {
    /// Channels of the queries of all heads.
    pub(super) fn width(&self) -> usize {
        self.qk.len() / (2 * self.sizes.inner)
    }

    pub(super) fn heads(&self) -> Heads<'a> {
        Heads {
            dims: self.dims,
            inner: self.sizes.inner,
            width: self.width(),
            maps: self.maps,
            shares: self.shares,
        }
    }

    /// Images that go through together.
    pub(super) fn group(&self) -> usize {
        (ROWS / self.dims.out.tokens()).clamp(1, self.dims.batch)
    }

    /// Numbers of q, k and what is seen of an image.
    fn per_image(&self) -> [usize; 3] {
        let (queries, keys) = (self.dims.out.tokens(), self.dims.grid.tokens());
        [queries * self.width(), keys * self.width(), queries * self.sizes.patch()]
    }

    /// The weights of q and of k.
    pub(super) fn parts(&self) -> (&'a [f32], &'a [f32]) {
        self.qk.split_at(self.qk.len() / 2)
    }

    /// The patches of some images that ask: x itself, or its rows in `rows`.
    pub(super) fn asking<'r>(&self, x: &'r [f32], rows: &'r mut [f32]) -> &'r [f32] {
        if self.dims.stride == 1 {
            return x;
        }
        let (inner, queries) = (self.sizes.inner, self.dims.queries());
        let images = x.chunks_exact(self.dims.grid.tokens() * inner);
        let targets = rows.chunks_exact_mut(queries.len() * inner);
        let mut len = 0;
        for (x, rows) in images.zip(targets) {
            for (row, query) in rows.chunks_exact_mut(inner).zip(&queries) {
                row.copy_from_slice(&x[query * inner..][..inner]);
            }
            len += rows.len();
        }
        &rows[..len]
    }

    /// Numbers of [`Layer::asking`] for a group of images.
    pub(super) fn asking_len(&self, images: usize) -> usize {
        if self.dims.stride == 1 { 0 } else { images * self.dims.out.tokens() * self.sizes.inner }
    }
}

/// What one thread computes in, for a group of images.
struct Space {
    asking: Vec<f32>,
    /// The patches of an image, `[inner, keys]`.
    turned: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    seen: Vec<f32>,
    heads: Scratch,
}

/// `y` (overwritten) for `x: [batch, keys, inner]`.
pub(super) fn forward(layer: &Layer<'_>, x: &[f32], kept: Option<&mut Kept>, y: &mut [f32]) {
    let (dims, sizes, heads) = (layer.dims, layer.sizes, layer.heads());
    let (queries, keys, width, group) = (dims.out.tokens(), dims.grid.tokens(), layer.width(), layer.group());
    let (inner, outer, patch) = (sizes.inner, sizes.outer, sizes.patch());
    let per_image = layer.per_image();
    let (q_weight, k_weight) = layer.parts();
    let q_weight = Operand::turned(q_weight, inner, sizes.rows());
    let weight = Operand::turned(&layer.weight, patch, sizes.rows());
    let kept = kept.map(|kept| [&mut kept.q, &mut kept.k, &mut kept.seen].map(|v| Shared::new(v)));
    let space = || {
        let [q, k, seen] = per_image.map(|len| buffer(if kept.is_some() { 0 } else { group * len }));
        let (asking, turned) = (buffer(layer.asking_len(group)), buffer(keys * inner));
        Space { asking, turned, q, k, seen, heads: heads.scratch(false) }
    };
    y.par_chunks_mut(group * queries * outer).enumerate().for_each_init(space, |space, (i, y)| {
        let images = y.len() / (queries * outer);
        let x = &x[i * group * keys * inner..][..images * keys * inner];
        let own = [&mut space.q, &mut space.k, &mut space.seen];
        let [q, k, seen] = match kept {
            // SAFETY: each task has its own images.
            Some(kept) => [0, 1, 2].map(|part| unsafe {
                kept[part].slice(i * group * per_image[part], images * per_image[part])
            }),
            None => own.map(|own| &mut own[..]),
        };
        let rows = images * queries;
        let asking = layer.asking(x, &mut space.asking);
        // SAFETY: dense matrices of these dimensions; `q` is this task's own.
        unsafe {
            let out = Out::dense(q, rows, width);
            q_weight.multiply(Write::Set, out, rows, Mat::dense(asking, rows, inner));
        }
        let parts = q.chunks_exact(per_image[0]).zip(k.chunks_exact_mut(per_image[1]));
        for (x, ((q, k), seen)) in
            x.chunks_exact(keys * inner).zip(parts.zip(seen.chunks_exact_mut(per_image[2])))
        {
            turn_rows(x, inner, &mut space.turned);
            // SAFETY: dense matrices of these dimensions; `k` is this task's own.
            unsafe {
                let turned = Mat::dense(&space.turned, inner, keys);
                let (out, weight) = (Out::dense(k, width, keys), Mat::dense(k_weight, width, inner));
                product(Write::Set, out, (width, keys, inner), weight, turned, 1.0);
            }
            heads.forward(q, k, x, seen, &mut space.heads);
        }
        // SAFETY: as above.
        unsafe {
            let seen = Mat::dense(seen, rows, patch);
            weight.multiply(Write::Set, Out::dense(y, rows, outer), rows, seen);
        }
        if let Some(bias) = layer.bias {
            add_bias(y, bias);
        }
    });
}
