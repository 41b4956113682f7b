//! Convolution on the CPU: what the windows see is laid out in rows, a chunk at a time, then it is a product of matrices.

use std::{borrow::Cow, ops::Range};

use rayon::prelude::*;

use super::{
    Dims,
    unfold::{Fold, Unfold},
};
use crate::{
    linear::{self, Operand, add_bias, column_sums},
    matmul::{Mat, Out, Panels, Shared, Write, product_panels, to_panels},
    shards,
    simd::dispatch,
    tape::buffer,
};

/// Numbers of the windows that are laid out at a time: a fraction of the second-level cache, which also holds the results and
/// much of the weight.
const CHUNK: usize = 1 << 15;
/// Numbers that all shards' weight gradients may have together, unless [`FEWEST`] need more.
const SUMS: usize = 1 << 23;
/// Shards of the largest weights.
const FEWEST: usize = 4;

/// How the numbers that a window sees are laid out in a row, and how their gradients get back.
pub(crate) trait Layout: Sync {
    /// Lays out what the windows from `first` on, of all samples' windows, see of `x`: the places of the window one after
    /// the other, row by row, `inner` numbers each.
    fn unfold(&self, first: usize, x: &[f32], patches: &mut [f32]);

    /// The way back of the gradient of what [`Layout::unfold`] laid out.
    fn fold(&self, first: usize, patches: &[f32], back: Back<'_>);

    /// How many numbers the layout sums up by itself over all windows.
    fn sums(&self) -> usize {
        0
    }
}

/// Where the gradient of what windows see goes.
pub(crate) struct Back<'a> {
    pub(crate) x: &'a [f32],
    /// The gradient of x from sample `first_image` on, to be added to.
    pub(crate) dx: &'a mut [f32],
    pub(crate) first_image: usize,
    /// [`Layout::sums`] numbers, to be added to.
    pub(crate) sums: &'a mut [f32],
}

/// The windows of a convolution.
struct Windows(Dims);

impl Layout for Windows {
    fn unfold(&self, first: usize, x: &[f32], patches: &mut [f32]) {
        dispatch(Unfold { dims: self.0, first, x, patches });
    }

    fn fold(&self, first: usize, patches: &[f32], back: Back<'_>) {
        dispatch(Fold { dims: self.0, first, first_image: back.first_image, patches, x: back.dx });
    }
}

/// Windows that are laid out at a time: enough rows for the product even where one sees much.
fn chunk(dims: Dims) -> usize {
    // Whole groups of the rows that the product computes at a time.
    (CHUNK / dims.patch()).clamp(60, 240) / 12 * 12
}

/// Whether each window is one token, and each token is in one window.
fn is_linear(dims: Dims) -> bool {
    dims.window.area() == 1 && dims.window.stride == [1, 1] && dims.window.padding == [0, 0]
}

/// `[outer, inner, places]` to `[outer, places, inner]`: the order in which windows are laid out.
pub(crate) fn weight_rows(dims: Dims, weight: &[f32]) -> Cow<'_, [f32]> {
    let (inner, area) = (dims.inner, dims.window.area());
    if inner == 1 || area == 1 {
        return Cow::Borrowed(weight);
    }
    let mut rows = buffer(weight.len());
    let size = inner * area;
    rows.par_chunks_mut(size).zip(weight.par_chunks(size)).for_each(|(row, weight)| {
        for (place, row) in row.chunks_exact_mut(inner).enumerate() {
            row.iter_mut().zip(weight.iter().skip(place).step_by(area)).for_each(|(r, w)| *r = *w);
        }
    });
    Cow::Owned(rows)
}

/// `y` (overwritten) for `x: [batch, tokens, inner]`.
pub(crate) fn forward(dims: Dims, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if is_linear(dims) {
        return linear::forward(dims.linear(), x, weight, bias, y);
    }
    forward_with(dims, &Windows(dims), x, weight, bias, y);
}

/// [`forward`] for windows that see what `layout` says.
pub(crate) fn forward_with(
    dims: Dims,
    layout: &dyn Layout,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (outer, patch, chunk) = (dims.outer, dims.patch(), chunk(dims));
    let weight = weight_rows(dims, weight);
    let weight = Operand::turned(&weight, patch, dims.rows());
    y.par_chunks_mut(chunk * outer).enumerate().for_each_init(
        || buffer(chunk * patch),
        |patches, (i, y)| {
            let (first, rows) = (i * chunk, y.len() / outer);
            let patches = &mut patches[..rows * patch];
            layout.unfold(first, x, patches);
            // SAFETY: dense matrices of these dimensions; `y` is this task's own.
            unsafe {
                weight.multiply(
                    Write::Set,
                    Out::dense(y, rows, outer),
                    rows,
                    Mat::dense(patches, rows, patch),
                );
            }
            if let Some(bias) = bias {
                add_bias(y, bias);
            }
        },
    );
}

/// Adds the gradients of the weight, of `x` and of the bias where they are given.
pub(crate) fn backward(
    dims: Dims,
    dy: &[f32],
    x: (&[f32], Option<&mut [f32]>),
    weight: (&[f32], &mut [f32]),
    dbias: Option<&mut [f32]>,
) {
    if is_linear(dims) {
        let (weight, dweight) = weight;
        return linear::backward(dims.linear(), dy, x, (weight, Some(dweight)), dbias);
    }
    backward_with(dims, &Windows(dims), dy, x, weight, (dbias, &mut []));
}

/// [`backward`] for windows that see what `layout` says; with the gradient of the bias, the sums of the layout.
pub(crate) fn backward_with(
    dims: Dims,
    layout: &dyn Layout,
    dy: &[f32],
    x: (&[f32], Option<&mut [f32]>),
    weight: (&[f32], &mut [f32]),
    (dbias, own): (Option<&mut [f32]>, &mut [f32]),
) {
    let ((x, dx), (weight, dweight)) = (x, weight);
    let size = dweight.len();
    let count = shard_count(dims, size + own.len());
    let rows = weight_rows(dims, weight);
    let operand = dx.is_some().then(|| Operand::straight(&rows, dims.patch(), dims.rows()));
    let dx = dx.map(Shared::new);
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let images = shards::part(dims.batch, count, index);
            let sample = dims.grid.tokens() * dims.inner;
            // SAFETY: each shard has its own images.
            let dx = dx.map(|dx| unsafe { dx.slice(images.start * sample, images.len() * sample) });
            shard(dims, layout, images, dy, x, operand.as_ref().zip(dx), dbias.is_some())
        })
        .collect();
    let mut turned = vec![0.0; size];
    let mut gradients = vec![&mut turned[..]];
    gradients.extend(dbias);
    gradients.push(own);
    shards::reduce(&sums, gradients);
    add_turned(dims, &turned, dweight);
}

/// Shards that sum up `size` numbers each.
pub(crate) fn shard_count(dims: Dims, size: usize) -> usize {
    shards::count(dims.rows()).min(dims.batch).min((SUMS / size).max(FEWEST))
}

/// The images of one shard: adds to their `dx`, returns the gradients of the weight, `[places, inner, outer]`, and of the
/// bias, and the sums of the layout.
fn shard(
    dims: Dims,
    layout: &dyn Layout,
    images: Range<usize>,
    dy: &[f32],
    x: &[f32],
    mut dx: Option<(&Operand<'_>, &mut [f32])>,
    bias: bool,
) -> Vec<f32> {
    let (outer, patch, chunk) = (dims.outer, dims.patch(), chunk(dims));
    let tokens = dims.out.tokens();
    let all = images.start * tokens..images.end * tokens;
    debug_assert!(dx.is_some() || layout.sums() == 0, "the sums of a layout are gathered on the way back");
    let rest = if bias { outer } else { 0 };
    let mut sums = buffer(patch * outer + rest + layout.sums());
    let (dweight, others) = sums.split_at_mut(patch * outer);
    others.fill(0.0);
    let (dbias, own) = others.split_at_mut(rest);
    let mut patches = buffer(chunk * patch);
    let mut panels = buffer(chunk * outer);
    let mut mode = Write::Set;
    for first in all.clone().step_by(chunk) {
        let rows = chunk.min(all.end - first);
        let dy = &dy[first * outer..][..rows * outer];
        let (patches, panels) = (&mut patches[..rows * patch], &mut panels[..rows * outer]);
        layout.unfold(first, x, patches);
        to_panels(dy, outer, outer, panels);
        let seen = Mat::dense(patches, rows, patch).t();
        // SAFETY: matrices of these dimensions; all that is written is this task's own.
        unsafe {
            let out = Out::dense(dweight, patch, outer);
            product_panels(mode, out, patch, seen, Panels::new(panels, rows, outer));
        }
        mode = Write::Add;
        if bias {
            column_sums(dy, dbias);
        }
        if let Some((weight, dx)) = &mut dx {
            let out = Out::dense(patches, rows, patch);
            // SAFETY: as above.
            unsafe { weight.multiply(Write::Set, out, rows, Mat::dense(dy, rows, outer)) };
            layout.fold(first, patches, Back { x, dx, first_image: images.start, sums: own });
        }
    }
    sums
}

/// `dweight[outer, inner, places] += turned[places, inner, outer]`.
pub(crate) fn add_turned(dims: Dims, turned: &[f32], dweight: &mut [f32]) {
    let (inner, area) = (dims.inner, dims.window.area());
    dweight.par_chunks_mut(inner * area).enumerate().for_each(|(outer, dweight)| {
        for (i, dweight) in dweight.chunks_exact_mut(area).enumerate() {
            for (place, d) in dweight.iter_mut().enumerate() {
                *d += turned[(place * inner + i) * dims.outer + outer];
            }
        }
    });
}

/// `images: [batch, channels, pixels]` to `[batch, pixels, channels]`.
pub(crate) fn channels_last(dims: Dims, images: &[f32]) -> Vec<f32> {
    let (pixels, sample) = (dims.grid.tokens(), dims.grid.tokens() * dims.inner);
    let mut x = buffer(images.len());
    x.par_chunks_mut(sample).zip(images.par_chunks(sample)).for_each(|(x, image)| {
        for (channel, plane) in image.chunks_exact(pixels).enumerate() {
            for (x, value) in x.iter_mut().skip(channel).step_by(dims.inner).zip(plane) {
                *x = *value;
            }
        }
    });
    x
}

/// `images += x` for `images: [batch, channels, pixels]` and `x: [batch, pixels, channels]`.
pub(crate) fn add_channels_first(dims: Dims, x: &[f32], images: &mut [f32]) {
    let (pixels, sample) = (dims.grid.tokens(), dims.grid.tokens() * dims.inner);
    images.par_chunks_mut(sample).zip(x.par_chunks(sample)).for_each(|(image, x)| {
        for (channel, plane) in image.chunks_exact_mut(pixels).enumerate() {
            for (value, x) in plane.iter_mut().zip(x.iter().skip(channel).step_by(dims.inner)) {
                *value += x;
            }
        }
    });
}
