//! Self-attention on the CPU with its projections, normalisation and residual connection: a few images at a time go
//! through all of it while they are in cache.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    AttentionDims, Readout,
    heads::{Columns, Gate, GateSums, Heads},
};
use crate::{
    branch::Slices,
    linear::{Operand, add_bias, add_bias_columns, column_sums, column_sums_of},
    matmul::{Mat, Out, Panels, Shared, Write, panel_parts, product_panels, to_panels},
    residual, shards,
    tape::buffer,
};

/// Rows (tokens of several images) that go through together.
const ROWS: usize = 256;

/// A linear map to some of the columns of q, k and v.
#[derive(Clone, Copy)]
pub(crate) struct Projection<'a> {
    /// Its first column among those of q, k and v.
    pub(crate) first: usize,
    /// `[columns, width]`
    pub(crate) weight: &'a [f32],
    /// `[columns]`
    pub(crate) bias: Option<&'a [f32]>,
    /// The tokens that need it.
    pub(crate) tokens: Readout,
}

/// A layer with its weights.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) dims: AttentionDims,
    /// Tokens whose result is wanted.
    pub(crate) readout: Readout,
    pub(crate) projections: &'a [Projection<'a>],
    /// The output projection, `[width, width]` and `[width]`.
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) gate: Option<Gate<'a>>,
    pub(crate) branch: Option<Slices<'a>>,
}

/// What the forward pass keeps for the backward pass.
pub(crate) struct Kept {
    /// `[batch, tokens, 3, width]`
    qkv: Vec<f32>,
    /// The heads' result before the output projection, `[batch, queries, width]`.
    mixed: Vec<f32>,
    /// Of each row's normalisation; unused without a branch.
    statistics: Vec<[f32; 2]>,
}

impl Kept {
    pub(crate) fn new(layer: &Layer<'_>) -> Self {
        let (rows, width) = (layer.dims.batch * layer.dims.tokens, layer.dims.width());
        let queries = layer.dims.batch * layer.queries();
        let statistics = vec![[0.0; 2]; if layer.branch.is_some() { rows } else { 0 }];
        Self { qkv: buffer(rows * 3 * width), mixed: buffer(queries * width), statistics }
    }
}

impl<'a> Layer<'a> {
    /// Tokens of an image whose result is wanted.
    pub(crate) fn queries(&self) -> usize {
        match self.readout {
            Readout::All => self.dims.tokens,
            Readout::First => 1,
        }
    }

    fn heads(&self) -> Heads<'a> {
        let width = self.dims.width();
        let columns = Columns { stride: 3 * width, q: 0, k: width, v: 2 * width };
        Heads { dims: self.dims, queries: self.queries(), columns, gate: self.gate }
    }

    /// Images that go through together.
    fn group(&self) -> usize {
        (ROWS / self.dims.tokens).clamp(1, self.dims.batch)
    }

    /// The rows of `x` (of `width` numbers) that `tokens` names, for `images` images: their number and stride.
    fn rows(&self, tokens: Readout, images: usize, width: usize) -> (usize, usize) {
        match tokens {
            Readout::All => (images * self.dims.tokens, width),
            Readout::First => (images, self.dims.tokens * width),
        }
    }
}

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
            for ((qkv, mixed), _) in qkv
                .chunks_exact(tokens * 3 * width)
                .zip(mixed.chunks_exact_mut(queries * width))
                .zip(0..images)
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
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let images = shards::part(batch, count, index);
            // SAFETY: each shard has its own images.
            let dx = unsafe { dx.slice(images.start * sample, images.len() * sample) };
            shard(layer, &weights, images, x, kept, dy, dx)
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

/// The images `all` of the backward pass: adds to `dx`, returns the sums over these images.
fn shard(
    layer: &Layer<'_>,
    operands: &Straight<'_>,
    all: Range<usize>,
    x: &[f32],
    kept: &Kept,
    dy: &[f32],
    dx: &mut [f32],
) -> Vec<f32> {
    if all.is_empty() {
        return Vec::new();
    }
    let (tokens, queries, width) = (layer.dims.tokens, layer.queries(), layer.dims.width());
    let group = layer.group().min(all.len());
    let (set, zero) = Sums::sizes(layer);
    let mut flat = buffer(set + zero);
    flat[set..].fill(0.0);
    let mut sums = Sums::new(layer, &mut flat);
    let heads = layer.heads();
    let mut maps = heads.backward_scratch();
    let rows = group * tokens;
    let (mut dqkv, mut normal, mut dnormal) =
        (buffer(rows * 3 * width), buffer(rows * width), buffer(rows * width));
    let asked = group * queries * width;
    let (mut scaled, mut dmixed, mut panels) = (buffer(asked), buffer(asked), buffer(asked));
    let mut mode = Write::Set;
    for start in all.clone().step_by(group) {
        let at = start..(start + group).min(all.end);
        let images = at.len();
        let rows = at.start * tokens..at.end * tokens;
        let asked = at.start * queries..at.end * queries;
        let x = &x[rows.start * width..rows.end * width];
        let dx = &mut dx[(at.start - all.start) * tokens * width..][..x.len()];
        let dy = &dy[asked.start * width..asked.end * width];
        let (dqkv, dnormal) = (&mut dqkv[..3 * x.len()], &mut dnormal[..x.len()]);
        let normal = &mut normal[..x.len()];
        let gradient = match &layer.branch {
            None => {
                to_panels(x, width, width, normal);
                dy
            }
            Some(branch) => {
                branch.again(x, &kept.statistics[rows.clone()], normal);
                branch.gradient(asked.clone(), queries, dy, &mut scaled)
            }
        };
        // Through the output projection and the heads.
        let mixed = &kept.mixed[asked.start * width..asked.end * width];
        let dmixed = &mut dmixed[..dy.len()];
        let count = asked.len();
        // SAFETY: dense matrices of these dimensions; all that is written is this task's own.
        unsafe {
            let gradient = Mat::dense(gradient, count, width);
            operands.output.multiply(Write::Set, Out::dense(dmixed, count, width), count, gradient);
            let panels = &mut panels[..mixed.len()];
            to_panels(mixed, width, width, panels);
            let out = Out::dense(sums.output, width, width);
            product_panels(mode, out, width, gradient.t(), Panels::new(panels, count, width));
        }
        column_sums(gradient, sums.output_bias);
        let qkv = &kept.qkv[rows.start * 3 * width..rows.end * 3 * width];
        let sample = tokens * 3 * width;
        for image in 0..images {
            let (qkv, dqkv) = (&qkv[image * sample..][..sample], &mut dqkv[image * sample..][..sample]);
            let dmixed = &dmixed[image * queries * width..][..queries * width];
            let gate = sums.gate.as_mut().map(|g| GateSums { maps: g.maps, shares: g.shares });
            heads.backward(qkv, dmixed, dqkv, gate, &mut maps);
        }
        // Through the projections. Without a branch the gradient of their input is the result.
        let (target, mut write) = match &layer.branch {
            Some(_) => (&mut *dnormal, Write::Set),
            None => (&mut *dx, Write::Add),
        };
        for (i, p) in projections_all_first(layer.projections) {
            let columns = p.weight.len() / width;
            let (rows, stride) = layer.rows(p.tokens, images, width);
            let gradient = Mat::rows(dqkv, p.first, rows, columns, 3 * stride);
            let input = match p.tokens {
                Readout::All => &*normal,
                // The rows of the first tokens again, by themselves.
                Readout::First => {
                    let first = &mut panels[..images * width];
                    first_rows(layer, normal, images, first);
                    first
                }
            };
            // SAFETY: matrices of these dimensions; all that is written is this task's own.
            unsafe {
                let out = Out::rows(target, 0, rows, width, stride);
                operands.projections[i].multiply(write, out, rows, gradient);
                let out = Out::dense(sums.weights[i], columns, width);
                product_panels(mode, out, columns, gradient.t(), Panels::new(input, rows, width));
            }
            write = Write::Add;
            if p.bias.is_some() {
                column_sums_of(dqkv, 3 * stride, p.first, sums.biases[i]);
            }
        }
        mode = Write::Add;
        if let Some(branch) = &layer.branch {
            for (dx, dy) in dx.chunks_exact_mut(tokens * width).zip(dy.chunks_exact(queries * width)) {
                residual::add(dy, &mut dx[..queries * width]);
            }
            branch.backward(x, &kept.statistics[rows], dnormal, dx, sums.norm);
        }
    }
    flat
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
