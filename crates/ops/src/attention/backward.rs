//! Self-attention on the CPU, backward: shards of the images, a few images at a time, from the gradient of the result
//! through the output projection and the heads, then through the projections and the normalisation.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    AttentionDims, Readout,
    heads::{self, GateSums, Heads},
    kernel::{Kept, Layer, Projection},
};
use crate::{
    linear::{Operand, column_sums, column_sums_of},
    matmul::{Mat, Out, Panels, Shared, Write, panel_parts, product_panels, to_panels},
    residual, shards,
    tape::buffer,
};

/// Adds the gradient of `x` to `dx` and those of the parameters to `gradients`: the projections' weights and the output
/// weight, their biases in the same order, with a branch its weight and bias (as one array of two rows), with a gate its
/// maps (to be multiplied by the share) and shares.
pub(crate) fn backward(
    layer: &Layer<'_>,
    x: &[f32],
    kept: &Kept,
    dy: &[f32],
    dx: &mut [f32],
    gradients: Vec<&mut [f32]>,
) {
    let AttentionDims { batch, tokens, .. } = layer.dims;
    let sample = tokens * layer.dims.width();
    let count = shards::count(batch * tokens).min(batch);
    let width = layer.dims.width();
    let weights = Straight {
        projections: layer
            .projections
            .iter()
            .map(|p| Operand::straight(p.weight, width, batch * tokens))
            .collect(),
        output: Operand::straight(layer.weight, width, batch * layer.queries()),
    };
    let dx = Shared::new(dx);
    let pass = Pass { layer, weights: &weights, x, kept, dy };
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let images = shards::part(batch, count, index);
            // SAFETY: each shard has its own images.
            let dx = unsafe { dx.slice(images.start * sample, images.len() * sample) };
            pass.shard(images, dx)
        })
        .collect();
    shards::reduce(&sums, gradients);
}

/// The weights as the backward pass multiplies by them.
struct Straight<'a> {
    projections: Vec<Operand<'a>>,
    output: Operand<'a>,
}

/// The sums of one shard, parts of one buffer.
struct Sums<'a> {
    weights: Vec<&'a mut [f32]>,
    output: &'a mut [f32],
    biases: Vec<&'a mut [f32]>,
    output_bias: &'a mut [f32],
    norm: &'a mut [f32],
    gate: Option<GateSums<'a>>,
}

impl<'a> Sums<'a> {
    /// Sizes of the weights (which are overwritten first) and of the rest (which have to be zero first).
    fn sizes(layer: &Layer<'_>) -> (usize, usize) {
        let AttentionDims { tokens, heads, .. } = layer.dims;
        let width = layer.dims.width();
        let biases: usize = layer.projections.iter().filter_map(|p| p.bias).map(<[f32]>::len).sum();
        let weights: usize = layer.projections.iter().map(|p| p.weight.len()).sum();
        let norm = if layer.branch.is_some() { 2 * width } else { 0 };
        let gate = if layer.gate.is_some() { heads * tokens * tokens + heads } else { 0 };
        (weights + layer.weight.len(), biases + width + norm + gate)
    }

    fn new(layer: &Layer<'_>, buffer: &'a mut [f32]) -> Self {
        let AttentionDims { tokens, heads, .. } = layer.dims;
        let width = layer.dims.width();
        let mut rest = buffer;
        let mut take = |len: usize| rest.split_off_mut(..len).expect("the buffer has this size");
        let weights = layer.projections.iter().map(|p| take(p.weight.len())).collect();
        let output = take(layer.weight.len());
        let biases = layer.projections.iter().map(|p| take(p.bias.map_or(0, <[f32]>::len))).collect();
        let output_bias = take(width);
        let norm = take(if layer.branch.is_some() { 2 * width } else { 0 });
        let gate = layer
            .gate
            .is_some()
            .then(|| GateSums { maps: take(heads * tokens * tokens), shares: take(heads) });
        Self { weights, output, biases, output_bias, norm, gate }
    }
}

/// A backward pass: what all shards read.
struct Pass<'a> {
    layer: &'a Layer<'a>,
    weights: &'a Straight<'a>,
    x: &'a [f32],
    kept: &'a Kept,
    dy: &'a [f32],
}

/// What one thread computes in, for a group of images.
struct Scratch {
    /// The normalised input in panels.
    normal: Vec<f32>,
    dnormal: Vec<f32>,
    /// The gradient of the layer's result times its drop path.
    scaled: Vec<f32>,
    dmixed: Vec<f32>,
    dqkv: Vec<f32>,
    /// Rows of tokens that are asked for, in panels.
    asked: Vec<f32>,
    heads: heads::Scratch,
}

impl Scratch {
    fn new(layer: &Layer<'_>, heads: &Heads<'_>, images: usize) -> Self {
        let width = layer.dims.width();
        let (rows, asked) = (images * layer.dims.tokens * width, images * layer.queries() * width);
        Self {
            normal: buffer(rows),
            dnormal: buffer(rows),
            scaled: buffer(asked),
            dmixed: buffer(asked),
            dqkv: buffer(3 * rows),
            asked: buffer(asked),
            heads: heads.backward_scratch(),
        }
    }
}

impl Pass<'_> {
    /// The images `all`: adds to `dx`, returns the sums over these images.
    fn shard(&self, all: Range<usize>, dx: &mut [f32]) -> Vec<f32> {
        if all.is_empty() {
            return Vec::new();
        }
        let layer = self.layer;
        let (heads, sample) = (layer.heads(), layer.dims.tokens * layer.dims.width());
        let group = layer.group().min(all.len());
        let (set, zero) = Sums::sizes(layer);
        let mut flat = buffer(set + zero);
        flat[set..].fill(0.0);
        let mut sums = Sums::new(layer, &mut flat);
        let mut scratch = Scratch::new(layer, &heads, group);
        let mut mode = Write::Set;
        for start in all.clone().step_by(group) {
            let images = start..(start + group).min(all.end);
            let dx = &mut dx[(start - all.start) * sample..][..images.len() * sample];
            self.through_output(images.clone(), mode, &heads, &mut scratch, &mut sums);
            self.through_projections(images, mode, &mut scratch, &mut sums, dx);
            mode = Write::Add;
        }
        flat
    }

    /// From the gradient of the result to that of q, k and v.
    fn through_output(
        &self,
        images: Range<usize>,
        mode: Write,
        heads: &Heads<'_>,
        scratch: &mut Scratch,
        sums: &mut Sums<'_>,
    ) {
        let (layer, width) = (self.layer, self.layer.dims.width());
        let (tokens, queries) = (layer.dims.tokens, layer.queries());
        let asked = images.start * queries..images.end * queries;
        let numbers = asked.start * width..asked.end * width;
        let (dy, mixed) = (&self.dy[numbers.clone()], &self.kept.mixed[numbers]);
        let gradient = match &layer.branch {
            None => dy,
            Some(branch) => branch.gradient(asked.clone(), queries, dy, &mut scratch.scaled),
        };
        let rows = asked.len();
        let (dmixed, panels) = (&mut scratch.dmixed[..dy.len()], &mut scratch.asked[..dy.len()]);
        to_panels(mixed, width, width, panels);
        // SAFETY: dense matrices of these dimensions; all that is written is this task's own.
        unsafe {
            let gradient = Mat::dense(gradient, rows, width);
            self.weights.output.multiply(Write::Set, Out::dense(dmixed, rows, width), rows, gradient);
            let out = Out::dense(sums.output, width, width);
            product_panels(mode, out, width, gradient.t(), Panels::new(panels, rows, width));
        }
        column_sums(gradient, sums.output_bias);
        let sample = tokens * 3 * width;
        let qkv = self.kept.qkv[images.start * sample..images.end * sample].chunks_exact(sample);
        let gradients = dmixed.chunks_exact(queries * width).zip(scratch.dqkv.chunks_exact_mut(sample));
        for (qkv, (dmixed, dqkv)) in qkv.zip(gradients) {
            let gate = sums.gate.as_mut().map(|g| GateSums { maps: g.maps, shares: g.shares });
            heads.backward(qkv, dmixed, dqkv, gate, &mut scratch.heads);
        }
    }

    /// From the gradient of q, k and v to that of the layer's input.
    fn through_projections(
        &self,
        images: Range<usize>,
        mode: Write,
        scratch: &mut Scratch,
        sums: &mut Sums<'_>,
        dx: &mut [f32],
    ) {
        let (layer, width) = (self.layer, self.layer.dims.width());
        let (tokens, queries) = (layer.dims.tokens, layer.queries());
        let rows = images.start * tokens..images.end * tokens;
        let x = &self.x[rows.start * width..rows.end * width];
        let Scratch { normal, dnormal, dqkv, asked, .. } = scratch;
        let (normal, dnormal) = (&mut normal[..x.len()], &mut dnormal[..x.len()]);
        match &layer.branch {
            None => to_panels(x, width, width, normal),
            Some(branch) => branch.again(x, &self.kept.statistics[rows.clone()], normal),
        }
        // Without a branch the gradient of the projections' input is the result.
        let (target, mut write) = match &layer.branch {
            Some(_) => (&mut *dnormal, Write::Set),
            None => (&mut *dx, Write::Add),
        };
        let count = images.len();
        let dqkv = &dqkv[..3 * x.len()];
        for (i, p) in projections_all_first(layer.projections) {
            let columns = p.weight.len() / width;
            let (rows, stride) = layer.rows(p.tokens, count, width);
            let gradient = Mat::rows(dqkv, p.first, rows, columns, 3 * stride);
            let input = match p.tokens {
                Readout::All => &*normal,
                Readout::First => {
                    let first = &mut asked[..count * width];
                    first_rows(layer, normal, count, first);
                    first
                }
            };
            // SAFETY: matrices of these dimensions; all that is written is this task's own.
            unsafe {
                let out = Out::rows(target, 0, rows, width, stride);
                self.weights.projections[i].multiply(write, out, rows, gradient);
                let out = Out::dense(sums.weights[i], columns, width);
                product_panels(mode, out, columns, gradient.t(), Panels::new(input, rows, width));
            }
            write = Write::Add;
            if p.bias.is_some() {
                column_sums_of(dqkv, 3 * stride, p.first, sums.biases[i]);
            }
        }
        if let Some(branch) = &layer.branch {
            let dy = &self.dy[images.start * queries * width..images.end * queries * width];
            for (dx, dy) in dx.chunks_exact_mut(tokens * width).zip(dy.chunks_exact(queries * width)) {
                residual::add(dy, &mut dx[..queries * width]);
            }
            branch.backward(x, &self.kept.statistics[rows], dnormal, dx, sums.norm);
        }
    }
}

/// The rows of the images' first tokens from the panels of all their tokens, in panels.
fn first_rows(layer: &Layer<'_>, panels: &[f32], images: usize, first: &mut [f32]) {
    let (tokens, width) = (layer.dims.tokens, layer.dims.width());
    for image in 0..images {
        let from = panel_parts(images * tokens, width, image * tokens);
        for ((_, from), (_, to)) in from.zip(panel_parts(images, width, image)) {
            first[to].copy_from_slice(&panels[from]);
        }
    }
}

/// The projections with their positions, those of all tokens first: what they write is added to by the others.
fn projections_all_first<'p>(
    projections: &'p [Projection<'p>],
) -> impl Iterator<Item = (usize, &'p Projection<'p>)> {
    let of = move |tokens: Readout| projections.iter().enumerate().filter(move |(_, p)| p.tokens == tokens);
    of(Readout::All).chain(of(Readout::First))
}
