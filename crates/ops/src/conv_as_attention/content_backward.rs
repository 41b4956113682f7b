//! With content, backward: shards of the images, a few images at a time.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    content::{Kept, Layer},
    heads::{Image, Scratch},
};
use crate::{
    conv2d,
    linear::{Operand, column_sums, turn_rows},
    matmul::{Mat, Out, Panels, Shared, Write, product, product_panels, to_panels},
    shards,
    tape::buffer,
};

/// What gradients are added to; each array as long as what it is the gradient of.
pub(super) struct Gradients<'a> {
    pub(super) x: &'a mut [f32],
    pub(super) weight: &'a mut [f32],
    pub(super) bias: Option<&'a mut [f32]>,
    pub(super) qk: &'a mut [f32],
    /// To be multiplied by the share.
    pub(super) maps: &'a mut [f32],
    pub(super) shares: &'a mut [f32],
}

/// A backward pass: what all shards read.
struct Pass<'a> {
    layer: &'a Layer<'a>,
    weight: Operand<'a>,
    q_weight: Operand<'a>,
    x: &'a [f32],
    kept: &'a Kept,
    dy: &'a [f32],
    bias: bool,
}

/// The sums of one shard, parts of one buffer.
struct Sums<'a> {
    /// `[places, inner, outer]`
    weight: &'a mut [f32],
    q: &'a mut [f32],
    k: &'a mut [f32],
    bias: &'a mut [f32],
    maps: &'a mut [f32],
    shares: &'a mut [f32],
}

/// What one thread computes in, for a group of images.
struct Space {
    asking: Vec<f32>,
    dasking: Vec<f32>,
    turned: Vec<f32>,
    panels: Vec<f32>,
    dseen: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    heads: Scratch,
}

pub(super) fn backward(layer: &Layer<'_>, x: &[f32], kept: &Kept, dy: &[f32], gradients: Gradients<'_>) {
    let (dims, sizes) = (layer.dims, layer.sizes);
    let pass = Pass {
        layer,
        weight: Operand::straight(&layer.weight, sizes.patch(), sizes.rows()),
        q_weight: Operand::straight(layer.parts().0, sizes.inner, sizes.rows()),
        x,
        kept,
        dy,
        bias: gradients.bias.is_some(),
    };
    let sizes_of_sums: usize = pass.lens().iter().sum();
    let count = conv2d::shard_count(sizes, sizes_of_sums);
    let sample = dims.grid.tokens() * sizes.inner;
    let dx = Shared::new(gradients.x);
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let images = shards::part(dims.batch, count, index);
            // SAFETY: each shard has its own images.
            let dx = unsafe { dx.slice(images.start * sample, images.len() * sample) };
            pass.shard(images, dx)
        })
        .collect();
    let mut turned = vec![0.0; gradients.weight.len()];
    let mut targets = vec![&mut turned[..], gradients.qk];
    targets.extend(gradients.bias);
    targets.extend([gradients.maps, gradients.shares]);
    shards::reduce(&sums, targets);
    conv2d::add_turned(sizes, &turned, gradients.weight);
}

impl Pass<'_> {
    /// Sizes of the parts of [`Sums`], in order.
    fn lens(&self) -> [usize; 6] {
        let Layer { qk, maps, shares, sizes, .. } = self.layer;
        let bias = if self.bias { sizes.outer } else { 0 };
        [self.layer.weight.len(), qk.len() / 2, qk.len() / 2, bias, maps.len(), shares.len()]
    }

    /// The images `all`: adds to `dx`, returns the sums over these images.
    fn shard(&self, all: Range<usize>, dx: &mut [f32]) -> Vec<f32> {
        let (layer, lens) = (self.layer, self.lens());
        let (dims, sizes) = (layer.dims, layer.sizes);
        let group = layer.group().min(all.len());
        let mut flat = buffer(lens.iter().sum());
        let mut rest = &mut flat[..];
        let [weight, q, k, bias, maps, shares] =
            lens.map(|len| rest.split_off_mut(..len).expect("the buffer has this size"));
        [&mut *bias, &mut *maps, &mut *shares].into_iter().for_each(|sum| sum.fill(0.0));
        let mut sums = Sums { weight, q, k, bias, maps, shares };
        let (queries, keys, width) = (dims.out.tokens(), dims.grid.tokens(), layer.width());
        let mut space = Space {
            asking: buffer(layer.asking_len(group)),
            dasking: buffer(layer.asking_len(group)),
            turned: buffer(keys * sizes.inner),
            panels: buffer(group * queries * sizes.outer),
            dseen: buffer(group * queries * sizes.patch()),
            dq: buffer(group * queries * width),
            dk: buffer(width * keys),
            heads: layer.heads().scratch(true),
        };
        let (mut mode, sample) = (Write::Set, keys * sizes.inner);
        for start in all.clone().step_by(group) {
            let images = start..(start + group).min(all.end);
            let dx = &mut dx[(start - all.start) * sample..][..images.len() * sample];
            self.through_weight(images.clone(), mode, &mut space, &mut sums);
            self.through_heads(images.clone(), mode, &mut space, &mut sums, dx);
            self.through_queries(images, mode, &mut space, sums.q, dx);
            mode = Write::Add;
        }
        flat
    }

    /// From the gradient of the result to that of what the heads have seen.
    fn through_weight(&self, images: Range<usize>, mode: Write, space: &mut Space, sums: &mut Sums<'_>) {
        let (sizes, rows) = (self.layer.sizes, images.len() * self.layer.dims.out.tokens());
        let (outer, patch, first) = (sizes.outer, sizes.patch(), images.start * self.layer.dims.out.tokens());
        let dy = &self.dy[first * outer..][..rows * outer];
        let seen = Mat::rows(&self.kept.seen, first * patch, rows, patch, patch);
        let (panels, dseen) = (&mut space.panels[..rows * outer], &mut space.dseen[..rows * patch]);
        to_panels(dy, outer, outer, panels);
        // SAFETY: matrices of these dimensions; all that is written is this task's own.
        unsafe {
            let out = Out::dense(sums.weight, patch, outer);
            product_panels(mode, out, patch, seen.t(), Panels::new(panels, rows, outer));
            let (out, dy) = (Out::dense(dseen, rows, patch), Mat::dense(dy, rows, outer));
            self.weight.multiply(Write::Set, out, rows, dy);
        }
        if self.bias {
            column_sums(dy, sums.bias);
        }
    }

    /// From the gradient of what the heads have seen to those of q, and through k to x.
    fn through_heads(
        &self,
        images: Range<usize>,
        mut mode: Write,
        space: &mut Space,
        sums: &mut Sums<'_>,
        dx: &mut [f32],
    ) {
        let layer = self.layer;
        let (heads, width, inner) = (layer.heads(), layer.width(), layer.sizes.inner);
        let (queries, keys) = (layer.dims.out.tokens(), layer.dims.grid.tokens());
        let (sample, asked) = (keys * inner, queries * width);
        let k_weight = Mat::dense(layer.parts().1, width, inner);
        let parts =
            space.dq.chunks_exact_mut(asked).zip(space.dseen.chunks_exact(queries * layer.sizes.patch()));
        for ((image, dx), (dq, dseen)) in images.zip(dx.chunks_exact_mut(sample)).zip(parts) {
            let x = &self.x[image * sample..][..sample];
            turn_rows(x, inner, &mut space.turned);
            let (q, k) = (
                &self.kept.q[image * asked..][..asked],
                &self.kept.k[image * width * keys..][..width * keys],
            );
            let (dk, turned) = (&mut space.dk[..], &space.turned[..]);
            let image = Image { turned, dx: &mut *dx, q, dq, k, dk: &mut *dk, dseen };
            heads.backward(image, (&mut *sums.maps, &mut *sums.shares), &mut space.heads);
            let dk = Mat::dense(dk, width, keys);
            // SAFETY: dense matrices of these dimensions; all that is written is this task's own.
            unsafe {
                product(
                    mode,
                    Out::dense(sums.k, width, inner),
                    (width, inner, keys),
                    dk,
                    Mat::dense(x, keys, inner),
                    1.0,
                );
                product(Write::Add, Out::dense(dx, keys, inner), (keys, inner, width), dk.t(), k_weight, 1.0);
            }
            mode = Write::Add;
        }
    }

    /// From the gradient of q to that of the patches that ask.
    fn through_queries(
        &self,
        images: Range<usize>,
        mode: Write,
        space: &mut Space,
        sum: &mut [f32],
        dx: &mut [f32],
    ) {
        let layer = self.layer;
        let (inner, width, rows) = (layer.sizes.inner, layer.width(), images.len() * layer.dims.out.tokens());
        let sample = layer.dims.grid.tokens() * inner;
        let x = &self.x[images.start * sample..images.end * sample];
        let asking = Mat::dense(layer.asking(x, &mut space.asking), rows, inner);
        let dq = Mat::rows(&space.dq, 0, rows, width, width);
        let every = layer.dims.stride == 1;
        let (to, write) = if every { (&mut *dx, Write::Add) } else { (&mut space.dasking[..], Write::Set) };
        // SAFETY: matrices of these dimensions; all that is written is this task's own.
        unsafe {
            product(mode, Out::dense(sum, width, inner), (width, inner, rows), dq.t(), asking, 1.0);
            self.q_weight.multiply(write, Out::rows(to, 0, rows, inner, inner), rows, dq);
        }
        if !every {
            let queries = layer.dims.queries();
            let dasking = space.dasking.chunks_exact(queries.len() * inner);
            for (dx, dasking) in dx.chunks_exact_mut(sample).zip(dasking) {
                for (query, d) in queries.iter().zip(dasking.chunks_exact(inner)) {
                    dx[query * inner..][..inner].iter_mut().zip(d).for_each(|(x, d)| *x += d);
                }
            }
        }
    }
}
