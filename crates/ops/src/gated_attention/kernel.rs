//! The positional side of gated attention on the CPU: maps and gates, computed once per call for all images, and the
//! loops that mix them with the content's attention.

use rayon::prelude::*;

use super::Grid;
use crate::{
    relative_positions,
    simd::{Kernel, dispatch, dot, exp_row, fma, softmax_row},
};

/// The weights of the positional side.
#[derive(Clone, Copy)]
pub(crate) struct Position<'a> {
    pub(crate) grid: Grid,
    /// `[heads, 3]`
    pub(crate) weight: &'a [f32],
    /// `[heads]`
    pub(crate) bias: &'a [f32],
    /// `[heads]`
    pub(crate) gating: &'a [f32],
}

/// What the positional side gives to every image.
pub(crate) struct Maps {
    /// `(dx, dy, dx^2 + dy^2)`, `[tokens, tokens, 3]`
    relative: Vec<f32>,
    /// `[heads, tokens, tokens]`
    pub(crate) maps: Vec<f32>,
    /// `[heads]`: the sigmoid of the gating parameters.
    pub(crate) shares: Vec<f32>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Maps and shares of all heads.
pub(crate) fn maps(position: Position<'_>) -> Maps {
    let tokens = position.grid.tokens();
    let relative = relative_positions(position.grid);
    let mut maps = vec![0.0; position.bias.len() * tokens * tokens];
    maps.par_chunks_mut(tokens * tokens).enumerate().for_each(|(head, map)| {
        let weight = [0, 1, 2].map(|i| position.weight[3 * head + i]);
        dispatch(PositionalMap { tokens, weight, bias: position.bias[head], relative: &relative, map });
    });
    Maps { relative, maps, shares: position.gating.iter().map(|v| sigmoid(*v)).collect() }
}

impl Maps {
    /// From the sums over images of the gradients of maps (to be multiplied by the share) and shares to those of weight,
    /// bias and gating parameter, which are added to.
    pub(crate) fn backward(&self, dmaps: &[f32], dshares: &[f32], gradients: [&mut [f32]; 3]) {
        let heads = self.shares.len();
        let pairs = self.maps.len() / heads;
        let tokens = pairs.isqrt();
        let sums: Vec<[f32; 4]> = (0..heads)
            .into_par_iter()
            .map(|head| {
                let part = head * pairs..(head + 1) * pairs;
                let (map, dmap) = (&self.maps[part.clone()], &dmaps[part]);
                dispatch(PositionalGradient { tokens, relative: &self.relative, map, dmap })
            })
            .collect();
        let [weight, bias, gating] = gradients;
        for (head, sums) in sums.iter().enumerate() {
            let share = self.shares[head];
            gating[head] += dshares[head] * share * (1.0 - share);
            for (gradient, sum) in weight[3 * head..].iter_mut().zip(&sums[..3]) {
                *gradient += share * sum;
            }
            bias[head] += share * sums[3];
        }
    }
}

/// `map = softmax(weight . relative + bias)`, row by row.
struct PositionalMap<'a> {
    tokens: usize,
    weight: [f32; 3],
    bias: f32,
    relative: &'a [f32],
    map: &'a mut [f32],
}

impl Kernel for PositionalMap<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [x, y, square] = self.weight;
        let rows = self.map.chunks_exact_mut(self.tokens).zip(self.relative.chunks_exact(3 * self.tokens));
        for (row, relative) in rows {
            for (score, r) in row.iter_mut().zip(relative.chunks_exact(3)) {
                *score = x * r[0] + y * r[1] + square * r[2] + self.bias;
            }
            softmax_row::<FMA>(row);
        }
    }
}

/// `map = (1 - share) softmax(map) + share positional`, row by row.
pub(crate) struct GatedSoftmax<'a> {
    pub(crate) tokens: usize,
    pub(crate) share: f32,
    pub(crate) positional: &'a [f32],
    pub(crate) map: &'a mut [f32],
}

impl Kernel for GatedSoftmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.map.chunks_exact_mut(self.tokens).zip(self.positional.chunks_exact(self.tokens));
        for (row, positional) in rows {
            let factor = (1.0 - self.share) / exp_row::<FMA>(row);
            for (v, p) in row.iter_mut().zip(positional) {
                *v = fma::<FMA>(self.share, *p, *v * factor);
            }
        }
    }
}

/// The gated map and its backward pass for one (image, head).
///
/// In: `content` holds the scores, `dmap` the gradient of the mixed map. Out: `mixed` holds the mixed map, `dmap` the
/// gradient of the scores; the mixed map's gradient has been added to `dpositional` (to be multiplied by the share);
/// returns the gradient of the share, `sum (positional - content) dmap`.
pub(crate) struct GatedSoftmaxBackward<'a> {
    pub(crate) tokens: usize,
    pub(crate) share: f32,
    pub(crate) positional: &'a [f32],
    pub(crate) content: &'a mut [f32],
    pub(crate) mixed: &'a mut [f32],
    pub(crate) dmap: &'a mut [f32],
    pub(crate) dpositional: &'a mut [f32],
}

impl Kernel for GatedSoftmaxBackward<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let rest = 1.0 - self.share;
        let width = self.tokens;
        let mut dshare = 0.0;
        let rows = self
            .content
            .chunks_exact_mut(width)
            .zip(self.mixed.chunks_exact_mut(width))
            .zip(self.dmap.chunks_exact_mut(width))
            .zip(self.dpositional.chunks_exact_mut(width))
            .zip(self.positional.chunks_exact(width));
        for ((((content, mixed), dmap), dpositional), positional) in rows {
            let factor = 1.0 / exp_row::<FMA>(content);
            for (c, (m, p)) in content.iter_mut().zip(mixed.iter_mut().zip(positional)) {
                *c *= factor;
                *m = fma::<FMA>(self.share, *p, *c * rest);
            }
            let mean = dot::<FMA>(content, dmap);
            dshare += dot::<FMA>(positional, dmap) - mean;
            for ((d, c), dp) in dmap.iter_mut().zip(&*content).zip(dpositional) {
                *dp += *d;
                *d = *c * (*d - mean) * rest;
            }
        }
        dshare
    }
}

/// Through the softmax of the positional map to `(dw_x, dw_y, dw_square, db)`.
struct PositionalGradient<'a> {
    tokens: usize,
    relative: &'a [f32],
    map: &'a [f32],
    dmap: &'a [f32],
}

impl Kernel for PositionalGradient<'_> {
    type Output = [f32; 4];
    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f32; 4] {
        let mut sums = [0.0f64; 4];
        let rows = self.map.chunks_exact(self.tokens).zip(self.dmap.chunks_exact(self.tokens));
        for ((map, dmap), relative) in rows.zip(self.relative.chunks_exact(3 * self.tokens)) {
            let mean = dot::<FMA>(map, dmap);
            for ((p, d), r) in map.iter().zip(dmap).zip(relative.chunks_exact(3)) {
                let dscore = (p * (d - mean)) as f64;
                for (sum, feature) in sums.iter_mut().zip([r[0], r[1], r[2], 1.0]) {
                    *sum += dscore * feature as f64;
                }
            }
        }
        sums.map(|v| v as f32)
    }
}
