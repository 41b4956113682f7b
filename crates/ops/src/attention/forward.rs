//! Self-attention on the CPU, forward, with its projections, normalisation and residual connection: a few images at a
//! time go through all of it while they are in cache.

use rayon::prelude::*;

use super::{
    AttentionDims,
    kernel::{Kept, Layer, Projection},
};
use crate::{
    branch::Slices,
    linear::{Operand, add_bias, add_bias_columns},
    matmul::{Mat, Out, Shared, Write},
    tape::buffer,
};

/// The result of the layer for `x: [batch, tokens, width]`; y: `[batch, queries, width]`, overwritten.
pub(crate) fn forward(layer: &Layer<'_>, x: &[f32], kept: Option<&mut Kept>, y: &mut [f32]) {
    let (AttentionDims { batch, tokens, .. }, width) = (layer.dims, layer.dims.width());
    let (queries, group) = (layer.queries(), layer.group());
    let turned: Vec<Operand<'_>> =
        layer.projections.iter().map(|p| Operand::turned(p.weight, width, batch * tokens)).collect();
    let output = Operand::turned(layer.weight, width, batch * queries);
    let kept = kept.map(|kept| {
        (Shared::new(&mut kept.qkv), Shared::new(&mut kept.mixed), Shared::new(&mut kept.statistics))
    });
    let rows = group * tokens;
    let heads = layer.heads();
    let own = |len: usize| buffer(if kept.is_some() { 0 } else { len });
    let scratch = || {
        let statistics = vec![[0.0; 2]; if kept.is_some() || layer.branch.is_none() { 0 } else { rows }];
        let (qkv, mixed) = (own(rows * 3 * width), own(group * queries * width));
        (
            buffer(if layer.branch.is_some() { rows * width } else { 0 }),
            qkv,
            mixed,
            statistics,
            heads.scratch(),
        )
    };
    y.par_chunks_mut(group * queries * width).enumerate().for_each_init(
        scratch,
        |(normal, qkv, mixed, statistics, scratch), (i, y)| {
            let images = y.len() / (queries * width);
            let (first, rows) = (i * group * tokens, images * tokens);
            // SAFETY: each task has its own images.
            let (qkv, mixed, statistics) = unsafe {
                match kept {
                    Some((qkv, mixed, statistics)) => (
                        qkv.slice(first * 3 * width, rows * 3 * width),
                        mixed.slice(i * group * queries * width, y.len()),
                        if layer.branch.is_some() { statistics.slice(first, rows) } else { &mut [] },
                    ),
                    None => {
                        let statistics =
                            if layer.branch.is_some() { &mut statistics[..rows] } else { &mut [] };
                        (&mut qkv[..rows * 3 * width], &mut mixed[..y.len()], statistics)
                    }
                }
            };
            let x = &x[first * width..][..rows * width];
            let input = match &layer.branch {
                None => x,
                Some(branch) => {
                    branch.enter(x, &mut normal[..x.len()], statistics);
                    &normal[..x.len()]
                }
            };
            for (p, turned) in layer.projections.iter().zip(&turned) {
                project(layer, p, turned, images, input, qkv);
            }
            for (qkv, mixed) in
                qkv.chunks_exact(tokens * 3 * width).zip(mixed.chunks_exact_mut(queries * width))
            {
                heads.forward(qkv, mixed, scratch);
            }
            let rows = images * queries;
            let (out, mixed) = (Out::dense(y, rows, width), Mat::dense(mixed, rows, width));
            // SAFETY: dense matrices of these dimensions; `y` is this task's own.
            unsafe { output.multiply(Write::Set, out, rows, mixed) };
            add_bias(y, layer.bias);
            if let Some(branch) = &layer.branch {
                leave(layer, branch, i * group, x, y);
            }
        },
    );
}

/// One projection of a group of images into its columns of `qkv`.
fn project(
    layer: &Layer<'_>,
    p: &Projection<'_>,
    turned: &Operand<'_>,
    images: usize,
    input: &[f32],
    qkv: &mut [f32],
) {
    let width = layer.dims.width();
    let columns = p.weight.len() / width;
    let (rows, stride) = layer.rows(p.tokens, images, width);
    let input = Mat::rows(input, 0, rows, width, stride);
    let out = Out::rows(qkv, p.first, rows, columns, 3 * stride);
    // SAFETY: matrices of these dimensions; `qkv` is this task's own.
    unsafe { turned.multiply(Write::Set, out, rows, input) };
    if let Some(bias) = p.bias {
        add_bias_columns(qkv, 3 * stride, p.first, bias);
    }
}

/// `y = x + scale y` for the rows that are wanted.
fn leave(layer: &Layer<'_>, branch: &Slices<'_>, first_image: usize, x: &[f32], y: &mut [f32]) {
    let (tokens, queries, width) = (layer.dims.tokens, layer.queries(), layer.dims.width());
    let images = x.chunks_exact(tokens * width).zip(y.chunks_exact_mut(queries * width));
    for (i, (x, y)) in images.enumerate() {
        let row = (first_image + i) * queries;
        branch.leave(row..row + queries, queries, &x[..queries * width], y);
    }
}
