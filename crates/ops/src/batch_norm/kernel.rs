//! Batch normalisation on the CPU: statistics in one pass over memory, gradients in two.
//!
//! Channels lie next to each other, so every loop runs along them. Sums over rows are `f32` within a block, which stays
//! in cache, and `f64` beyond it; neither blocks nor shards depend on the threads.

use rayon::prelude::*;

use super::Activation;
use crate::{
    shards,
    simd::{Kernel, dispatch, fma},
};

/// Numbers of a block.
const BLOCK: usize = 1 << 14;
/// Fewest numbers that the inner loops run over: several rows are handled as one where they are shorter.
const LINE: usize = 64;

/// Numbers of a line: one row, or several short ones.
fn line(width: usize) -> usize {
    width * LINE.div_ceil(width)
}

/// Numbers of a block of whole lines.
fn block(width: usize) -> usize {
    line(width) * (BLOCK / line(width)).max(1)
}

/// The numbers of the channels, repeated over a line.
fn along_line(values: impl Iterator<Item = f64>) -> Vec<f32> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    values.repeat(line(values.len()) / values.len())
}

/// Adds up the rows of a line for each channel.
#[inline(always)]
fn fold(sums: &[f32], total: &mut [f64]) {
    for row in sums.chunks_exact(total.len()) {
        for (total, sum) in total.iter_mut().zip(row) {
            *total += f64::from(*sum);
        }
    }
}

/// Mean and sum of squared deviations of each channel over some rows.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    rows: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Spread {
    fn empty(width: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Takes in other rows (Chan, Golub and LeVeque 1979). Nothing cancels, however far from 0 the mean is.
    #[inline(always)]
    fn merge(&mut self, other: &Self) {
        let rows = self.rows + other.rows;
        let (share, both) = (other.rows / rows, self.rows * other.rows / rows);
        let others = other.mean.iter().zip(&other.squares);
        for ((mean, squares), (other, more)) in self.mean.iter_mut().zip(&mut self.squares).zip(others) {
            let apart = other - *mean;
            *mean += apart * share;
            *squares += more + apart * apart * both;
        }
        self.rows = rows;
    }

    /// The mean of each channel.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The biased variance of each channel, divided by the number of rows.
    pub(crate) fn biased(&self) -> Vec<f64> {
        self.squares.iter().map(|squares| squares / self.rows).collect()
    }

    /// The unbiased variance of each channel.
    pub(crate) fn unbiased(&self) -> Vec<f64> {
        self.squares.iter().map(|squares| squares / (self.rows - 1.0)).collect()
    }
}

/// Mean and deviations of rows of `width` numbers.
pub(crate) fn spread(width: usize, x: &[f32]) -> Spread {
    let rows = x.len() / width;
    let count = shards::count(rows);
    let parts: Vec<Spread> = (0..count)
        .into_par_iter()
        .map(|index| {
            let part = shards::part(rows, count, index);
            dispatch(Spreads { width, x: &x[part.start * width..part.end * width] })
        })
        .collect();
    let mut total = Spread::empty(width);
    parts.iter().filter(|part| part.rows > 0.0).for_each(|part| total.merge(part));
    total
}

struct Spreads<'a> {
    width: usize,
    x: &'a [f32],
}

impl Kernel for Spreads<'_> {
    type Output = Spread;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Spread {
        let Self { width, x } = self;
        let line = line(width);
        let (mut sums, mut center) = (vec![0.0; line], vec![0.0; line]);
        let (mut total, mut part) = (Spread::empty(width), Spread::empty(width));
        for block in x.chunks(block(width)) {
            part.rows = (block.len() / width) as f64;
            sums.fill(0.0);
            for line in block.chunks(line) {
                for (sum, x) in sums.iter_mut().zip(line) {
                    *sum += x;
                }
            }
            part.mean.fill(0.0);
            fold(&sums, &mut part.mean);
            part.mean.iter_mut().for_each(|mean| *mean /= part.rows);
            for row in center.chunks_exact_mut(width) {
                row.iter_mut().zip(&part.mean).for_each(|(center, mean)| *center = *mean as f32);
            }
            sums.fill(0.0);
            for line in block.chunks(line) {
                for ((sum, x), center) in sums.iter_mut().zip(line).zip(&center) {
                    *sum = fma::<FMA>(x - center, x - center, *sum);
                }
            }
            part.squares.fill(0.0);
            fold(&sums, &mut part.squares);
            total.merge(&part);
        }
        total
    }
}

/// What normalisation does to each channel: `(x - center) * factor + bias`.
pub(crate) struct Channels {
    width: usize,
    /// `1 / sqrt(variance + eps)`, one number per channel; the others are repeated over a line.
    inverse: Vec<f64>,
    center: Vec<f32>,
    factor: Vec<f32>,
    bias: Vec<f32>,
}

impl Channels {
    pub(crate) fn new(mean: &[f64], variance: &[f64], eps: f64, weight: &[f32], bias: &[f32]) -> Self {
        let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + eps).sqrt()).collect();
        let factor = inverse.iter().zip(weight).map(|(inverse, weight)| inverse * f64::from(*weight));
        Self {
            width: weight.len(),
            center: along_line(mean.iter().copied()),
            factor: along_line(factor),
            bias: along_line(bias.iter().map(|bias| f64::from(*bias))),
            inverse,
        }
    }

    /// `y = then((x - center) * factor + bias + residual)`; `y` is overwritten.
    pub(crate) fn forward(&self, then: Activation, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        let block = block(self.width);
        y.par_chunks_mut(block).zip(x.par_chunks(block)).enumerate().for_each(|(index, (y, x))| {
            let residual = residual.map(|residual| &residual[index * block..][..y.len()]);
            dispatch(Forward { channels: self, then, x, residual, y });
        });
    }

    /// Turns `dy` into the gradient before the activation, whose result was `y`, and returns the gradients of bias and
    /// weight.
    pub(crate) fn sums(&self, then: Activation, x: &[f32], y: &[f32], dy: &mut [f32]) -> Sums {
        let (width, rows) = (self.width, x.len() / self.width);
        let count = shards::count(rows);
        let mut rest = dy;
        let mut parts = Vec::with_capacity(count);
        for index in 0..count {
            let part = shards::part(rows, count, index);
            let (dy, later) = rest.split_at_mut(part.len() * width);
            rest = later;
            parts.push((part.start * width..part.end * width, dy));
        }
        let parts: Vec<Sums> = parts
            .into_par_iter()
            .map(|(at, dy)| dispatch(Gradients { channels: self, then, x: &x[at.clone()], y: &y[at], dy }))
            .collect();
        let mut total = Sums { bias: vec![0.0; width], weight: vec![0.0; width] };
        for part in &parts {
            total.bias.iter_mut().zip(&part.bias).for_each(|(total, part)| *total += part);
            total.weight.iter_mut().zip(&part.weight).for_each(|(total, part)| *total += part);
        }
        total.weight.iter_mut().zip(&self.inverse).for_each(|(sum, inverse)| *sum *= inverse);
        total
    }

    /// Adds the gradient of x to `dx`, where `dy` is the gradient before the activation. With `own` its sums over the
    /// batch, mean and variance depend on x: with n = normalised x,
    /// `dx = factor * (dy - mean(dy) - n mean(dy n))`; else `dx = factor * dy`.
    pub(crate) fn backward(&self, own: Option<&Sums>, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let block = block(self.width);
        let shares = own.map(|sums| {
            let rows = (x.len() / self.width) as f64;
            let channels = sums.weight.iter().zip(&self.inverse);
            [
                along_line(sums.bias.iter().map(|sum| sum / rows)),
                along_line(channels.map(|(sum, inverse)| sum * inverse / rows)),
            ]
        });
        let shares = shares.as_ref();
        dx.par_chunks_mut(block).zip(x.par_chunks(block).zip(dy.par_chunks(block))).for_each(
            |(dx, (x, dy))| {
                dispatch(Backward { channels: self, shares, x, dy, dx });
            },
        );
    }
}

struct Forward<'a> {
    channels: &'a Channels,
    then: Activation,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { channels: Channels { center, factor, bias, .. }, then, x, residual, y } = self;
        let line = center.len();
        for (index, (y, x)) in y.chunks_mut(line).zip(x.chunks(line)).enumerate() {
            let channels = center.iter().zip(factor).zip(bias);
            match residual {
                None => {
                    for ((y, x), ((center, factor), bias)) in y.iter_mut().zip(x).zip(channels) {
                        *y = then.of(fma::<FMA>(x - center, *factor, *bias));
                    }
                }
                Some(residual) => {
                    let residual = &residual[index * line..][..y.len()];
                    let numbers = y.iter_mut().zip(x).zip(residual);
                    for (((y, x), residual), ((center, factor), bias)) in numbers.zip(channels) {
                        *y = then.of(fma::<FMA>(x - center, *factor, *bias) + residual);
                    }
                }
            }
        }
    }
}

/// Sums over the rows for each channel: of the gradient, and of its product with the normalised input.
pub(crate) struct Sums {
    /// The gradient of the bias.
    pub(crate) bias: Vec<f64>,
    /// The gradient of the weight.
    pub(crate) weight: Vec<f64>,
}

struct Gradients<'a> {
    channels: &'a Channels,
    then: Activation,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a mut [f32],
}

impl Kernel for Gradients<'_> {
    type Output = Sums;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Sums {
        let Self { channels: Channels { width, center, .. }, then, x, y, dy } = self;
        let (line, block) = (center.len(), block(*width));
        let mut total = Sums { bias: vec![0.0; *width], weight: vec![0.0; *width] };
        let (mut sums, mut products) = (vec![0.0; line], vec![0.0; line]);
        for (dy, (x, y)) in dy.chunks_mut(block).zip(x.chunks(block).zip(y.chunks(block))) {
            sums.fill(0.0);
            products.fill(0.0);
            for (dy, (x, y)) in dy.chunks_mut(line).zip(x.chunks(line).zip(y.chunks(line))) {
                let channels = sums.iter_mut().zip(&mut products).zip(center);
                for (((dy, x), y), ((sum, product), center)) in dy.iter_mut().zip(x).zip(y).zip(channels) {
                    let g = then.backward(*y, *dy);
                    *dy = g;
                    *sum += g;
                    *product = fma::<FMA>(g, x - center, *product);
                }
            }
            fold(&sums, &mut total.bias);
            fold(&products, &mut total.weight);
        }
        total
    }
}

struct Backward<'a> {
    channels: &'a Channels,
    shares: Option<&'a [Vec<f32>; 2]>,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { channels: Channels { center, factor, .. }, shares, x, dy, dx } = self;
        let line = center.len();
        for (dx, (x, dy)) in dx.chunks_mut(line).zip(x.chunks(line).zip(dy.chunks(line))) {
            match shares {
                None => {
                    for ((dx, dy), factor) in dx.iter_mut().zip(dy).zip(factor) {
                        *dx = fma::<FMA>(*dy, *factor, *dx);
                    }
                }
                Some([mean, slope]) => {
                    let channels = center.iter().zip(factor).zip(mean.iter().zip(slope));
                    for (((dx, x), dy), ((center, factor), (mean, slope))) in
                        dx.iter_mut().zip(x).zip(dy).zip(channels)
                    {
                        let centered = fma::<FMA>(center - x, *slope, dy - mean);
                        *dx = fma::<FMA>(centered, *factor, *dx);
                    }
                }
            }
        }
    }
}
