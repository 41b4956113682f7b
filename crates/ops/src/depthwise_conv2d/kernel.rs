//! Depthwise convolution on the CPU: a vector of channels of one image at a time, copied with its padding to the
//! first-level cache.

use std::ops::Range;

use rayon::prelude::*;

use super::Dims;
use crate::{
    matmul::Shared,
    residual, shards,
    simd::{Kernel, LANES, dispatch, fma},
};

/// A vector of channels.
type Lanes = [f32; LANES];
const ZERO: Lanes = [0.0; LANES];

/// Pixels whose sums are computed at a time, in registers.
const PIXELS: usize = 4;
/// Places of the kernel whose weight gradients are computed at a time, in registers.
const PLACES: usize = 5;

impl Dims {
    fn area(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Columns of the grid with its padding.
    fn line(&self) -> usize {
        self.grid.cols + 2 * self.padding()
    }

    /// A grid with its padding of zeros, for one vector of channels.
    fn padded(&self) -> Vec<Lanes> {
        vec![ZERO; (self.grid.rows + 2 * self.padding()) * self.line()]
    }

    /// Vectors of channels.
    fn vectors(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// The channels of one vector.
    fn channels(&self, vector: usize) -> Range<usize> {
        vector * LANES..((vector + 1) * LANES).min(self.width)
    }

    /// Numbers of the tokens in front of the grid.
    fn front(&self) -> usize {
        self.prefix * self.width
    }

    /// `[channels, places]` to `[vectors, places]`, backwards if the weight is to be `flipped`.
    fn weights(&self, weight: &[f32], flipped: bool) -> Vec<Lanes> {
        let area = self.area();
        let mut vectors = vec![ZERO; self.vectors() * area];
        for (channel, weight) in weight.chunks_exact(area).enumerate() {
            for (place, w) in weight.iter().enumerate() {
                let place = if flipped { area - 1 - place } else { place };
                vectors[channel / LANES * area + place][channel % LANES] = *w;
            }
        }
        vectors
    }
}

/// `y` (overwritten) for `x: [batch, prefix + tokens, width]`.
pub(crate) fn forward(dims: Dims, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let weights = dims.weights(weight, false);
    let images = y.par_chunks_mut(dims.sample()).zip(x.par_chunks(dims.sample()));
    images.for_each_init(
        || dims.padded(),
        |padded, (y, x)| {
            let ((front, y), (x_front, x)) = (y.split_at_mut(dims.front()), x.split_at(dims.front()));
            front.copy_from_slice(x_front);
            dispatch(Forward { dims, x, weights: &weights, bias, padded, y });
        },
    );
}

/// Adds the gradients of `x`, of the weight and of the bias.
pub(crate) fn backward(
    dims: Dims,
    dy: &[f32],
    (x, dx): (&[f32], &mut [f32]),
    (weight, dweight): (&[f32], &mut [f32]),
    dbias: Option<&mut [f32]>,
) {
    let flipped = dims.weights(weight, true);
    let count = shards::count(dims.batch * dims.grid.tokens()).min(dims.batch);
    let (dx, sample) = (Shared::new(dx), dims.sample());
    let size = dims.vectors() * (dims.area() + 1) * LANES;
    let sums: Vec<Vec<f32>> = (0..count)
        .into_par_iter()
        .map(|index| {
            let mut sums = vec![0.0; size];
            let (mut padded, mut padded_dy) = (dims.padded(), dims.padded());
            for image in shards::part(dims.batch, count, index) {
                // SAFETY: each shard has its own images.
                let dx = unsafe { dx.slice(image * sample, sample) };
                let at = image * sample..(image + 1) * sample;
                let ((dy_front, dy), (dx_front, dx)) =
                    (dy[at.clone()].split_at(dims.front()), dx.split_at_mut(dims.front()));
                residual::add(dy_front, dx_front);
                let (x, weights) = (&x[at][dims.front()..], &flipped[..]);
                let (padded, padded_dy, sums) = (&mut padded[..], &mut padded_dy[..], &mut sums[..]);
                dispatch(Backward { dims, x, dy, weights, padded, padded_dy, dx, sums });
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; size];
    shards::reduce(&sums, vec![&mut total]);
    let (dweights, dbiases) = total.split_at(dims.vectors() * dims.area() * LANES);
    for (channel, dweight) in dweight.chunks_exact_mut(dims.area()).enumerate() {
        let first = channel / LANES * dims.area() * LANES + channel % LANES;
        let of_channel = dweights[first..].iter().step_by(LANES);
        dweight.iter_mut().zip(of_channel).for_each(|(d, sum)| *d += sum);
    }
    if let Some(dbias) = dbias {
        dbias.iter_mut().zip(dbiases).for_each(|(d, sum)| *d += sum);
    }
}

/// One image of the forward pass.
struct Forward<'a> {
    dims: Dims,
    x: &'a [f32],
    weights: &'a [Lanes],
    bias: Option<&'a [f32]>,
    padded: &'a mut [Lanes],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims, x, weights, bias, padded, y } = self;
        for (vector, weights) in weights.chunks_exact(dims.area()).enumerate() {
            let channels = dims.channels(vector);
            let mut start = ZERO;
            if let Some(bias) = bias {
                start[..channels.len()].copy_from_slice(&bias[channels.clone()]);
            }
            load(dims, x, channels.clone(), padded);
            correlate::<FMA>(dims, padded, weights, start, |token, sums| {
                y[token * dims.width..][channels.clone()].copy_from_slice(&sums[..channels.len()]);
            });
        }
    }
}

/// One image of the backward pass. `sums`: of the weights, `[vectors, places]`, then of the bias, `[vectors]`.
struct Backward<'a> {
    dims: Dims,
    x: &'a [f32],
    dy: &'a [f32],
    weights: &'a [Lanes],
    padded: &'a mut [Lanes],
    padded_dy: &'a mut [Lanes],
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims, x, dy, weights, padded, padded_dy, dx, sums } = self;
        let (sums, _) = sums.as_chunks_mut::<LANES>();
        let (dweights, dbiases) = sums.split_at_mut(dims.vectors() * dims.area());
        let of_vector = weights.chunks_exact(dims.area()).zip(dweights.chunks_exact_mut(dims.area()));
        for (vector, ((weights, dweights), dbias)) in of_vector.zip(dbiases).enumerate() {
            let channels = dims.channels(vector);
            load(dims, x, channels.clone(), padded);
            load(dims, dy, channels.clone(), padded_dy);
            correlate::<FMA>(dims, padded_dy, weights, ZERO, |token, sums| {
                let dx = &mut dx[token * dims.width..][channels.clone()];
                dx.iter_mut().zip(sums).for_each(|(dx, sum)| *dx += sum);
            });
            let mut places = [0; PLACES];
            for (group, dweights) in dweights.chunks_mut(PLACES).enumerate() {
                for (i, place) in places.iter_mut().enumerate() {
                    // Places beyond the last repeat it; their sums are dropped.
                    let index = (group * PLACES + i).min(dims.area() - 1);
                    *place = index / dims.kernel * dims.line() + index % dims.kernel;
                }
                let sums = products::<FMA>(dims, padded, padded_dy, places);
                for (d, sum) in dweights.iter_mut().zip(sums) {
                    add(d, &sum);
                }
            }
            for line in padded_dy.chunks_exact(dims.line()) {
                line.iter().for_each(|dy| add(dbias, dy));
            }
        }
    }
}

#[inline(always)]
fn add(to: &mut Lanes, x: &Lanes) {
    for i in 0..LANES {
        to[i] += x[i];
    }
}

/// Copies one vector of channels of an image into the middle of its padding.
#[inline(always)]
fn load(dims: Dims, x: &[f32], channels: Range<usize>, padded: &mut [Lanes]) {
    let (padding, cols) = (dims.padding(), dims.grid.cols);
    for row in 0..dims.grid.rows {
        let to = &mut padded[(padding + row) * dims.line() + padding..][..cols];
        let from = x[row * cols * dims.width..].chunks(dims.width);
        if channels.len() == LANES {
            for (to, from) in to.iter_mut().zip(from) {
                to.copy_from_slice(&from[channels.start..][..LANES]);
            }
        } else {
            for (to, from) in to.iter_mut().zip(from) {
                to[..channels.len()].copy_from_slice(&from[channels.clone()]);
                to[channels.len()..].fill(0.0);
            }
        }
    }
}

/// Calls `write(token, sums)` with `start + sum_place weights[place] padded[token + place]` for each token.
#[inline(always)]
fn correlate<const FMA: bool>(
    dims: Dims,
    padded: &[Lanes],
    weights: &[Lanes],
    start: Lanes,
    mut write: impl FnMut(usize, &Lanes),
) {
    for row in 0..dims.grid.rows {
        let (lines, token) = (&padded[row * dims.line()..], row * dims.grid.cols);
        let mut col = 0;
        while col + PIXELS <= dims.grid.cols {
            let sums = pixels::<FMA>(dims, &lines[col..], weights, start);
            sums.iter().enumerate().for_each(|(i, sums)| write(token + col + i, sums));
            col += PIXELS;
        }
        while col < dims.grid.cols {
            let sums = pixel::<FMA>(dims, &lines[col..], weights, start);
            write(token + col, &sums);
            col += 1;
        }
    }
}

/// `sums += a * x`.
#[inline(always)]
fn multiply_add<const FMA: bool>(a: &Lanes, x: &Lanes, sums: &mut Lanes) {
    for i in 0..LANES {
        sums[i] = fma::<FMA>(a[i], x[i], sums[i]);
    }
}

/// The sums of a few tokens of one row, whose windows start with `lines`. Each has a name of its own, as in [`products`]:
/// the compiler keeps them in registers then.
#[inline(always)]
fn pixels<const FMA: bool>(dims: Dims, lines: &[Lanes], weights: &[Lanes], start: Lanes) -> [Lanes; PIXELS] {
    let (mut a, mut b, mut c, mut d) = (start, start, start, start);
    for (row, weights) in weights.chunks_exact(dims.kernel).enumerate() {
        let line = &lines[row * dims.line()..][..dims.kernel - 1 + PIXELS];
        for (weight, x) in weights.iter().zip(line.windows(PIXELS)) {
            multiply_add::<FMA>(weight, &x[0], &mut a);
            multiply_add::<FMA>(weight, &x[1], &mut b);
            multiply_add::<FMA>(weight, &x[2], &mut c);
            multiply_add::<FMA>(weight, &x[3], &mut d);
        }
    }
    [a, b, c, d]
}

/// The sum of one token, as [`pixels`].
#[inline(always)]
fn pixel<const FMA: bool>(dims: Dims, lines: &[Lanes], weights: &[Lanes], start: Lanes) -> Lanes {
    let mut sums = start;
    for (row, weights) in weights.chunks_exact(dims.kernel).enumerate() {
        for (weight, x) in weights.iter().zip(&lines[row * dims.line()..]) {
            multiply_add::<FMA>(weight, x, &mut sums);
        }
    }
    sums
}

/// `sum_token dy[token] x[token + place]` for each place.
#[inline(always)]
fn products<const FMA: bool>(
    dims: Dims,
    x: &[Lanes],
    dy: &[Lanes],
    places: [usize; PLACES],
) -> [Lanes; PLACES] {
    let (padding, cols) = (dims.padding(), dims.grid.cols);
    let (mut a, mut b, mut c, mut d, mut e) = (ZERO, ZERO, ZERO, ZERO, ZERO);
    for row in 0..dims.grid.rows {
        let dy = &dy[(padding + row) * dims.line() + padding..][..cols];
        let line = |place: usize| &x[row * dims.line() + places[place]..][..cols];
        let (at_a, at_b, at_c, at_d, at_e) = (line(0), line(1), line(2), line(3), line(4));
        for col in 0..cols {
            let dy = &dy[col];
            multiply_add::<FMA>(dy, &at_a[col], &mut a);
            multiply_add::<FMA>(dy, &at_b[col], &mut b);
            multiply_add::<FMA>(dy, &at_c[col], &mut c);
            multiply_add::<FMA>(dy, &at_d[col], &mut d);
            multiply_add::<FMA>(dy, &at_e[col], &mut e);
        }
    }
    [a, b, c, d, e]
}
