//! A convolution as attention with one full-width head per place of its kernel, and what it becomes when the heads may look
//! elsewhere (arXiv 1911.03584, Theorem 1; T-CNN, arXiv 2106.05795).
//!
//! `y[q] = bias + sum_h W_h z_h[q]` with `z_h[q] = sum_k A_h[q, k] x[k]` and `A_h = C_h + g_h (P_h - C_h)`.
//! `P_h = softmax_k(w_h . r)` with `r = (dx, dy, dx^2 + dy^2)`, key minus query; `C_h = softmax_k(q_h . k_h / sqrt(d))`.
//! Head `K h2 + h1` has the slice `[:, :, h1, h2]` of the convolution's weight and stands for the offset
//! `(dx, dy) = (h2 - K / 2, h1 - K / 2)`: with `w_h = alpha (2 dx, 2 dy, -1)` and a large `alpha`, P is the convolution.

mod content;
mod content_backward;
mod cpu;
mod dense;
mod heads;
mod positions;
mod sight;
mod sparse;

use dfdx::prelude::*;

pub(crate) use cpu::{Parameters, on_cpu};

use crate::{
    Error, Grid, Result,
    broadcast::spread_out,
    erase::held,
    window::{check_grid, check_size, gather},
};

/// What lies beyond the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Nothing: the heads look at the patches of the grid alone. With a large `alpha`, a convolution whose padding
    /// repeats the outermost patches ([`Backend::replicate_pad`](crate::Backend::replicate_pad)).
    Replicate,
    /// A ring of `K / 2` patches of zeros, which the positional maps also look at, the content's do not. With a large
    /// `alpha`, a convolution with zero padding.
    Zero,
}

/// The weights of a convolution as attention with `H = K * K` heads. `QK` is of no account without `content`.
#[derive(Debug)]
pub struct ConvAsAttentionWeights<
    'a,
    const O: usize,
    const C: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    E: Dtype,
    D: Device<E>,
> {
    /// `weight`, the convolution's: `[O, C, K, K]`, `K` odd.
    pub weight: &'a Tensor<Rank4<O, C, K, K>, E, D>,
    /// `bias`, `[O]`
    pub bias: Option<&'a Tensor<Rank1<O>, E, D>>,
    /// `pos_proj.weight`: each head's direction in the space of `(dx, dy, dx^2 + dy^2)`.
    pub position: &'a Tensor<Rank2<H, 3>, E, D>,
    /// The heads' attention to content; without it they look at positions alone.
    pub content: Option<ContentWeights<'a, C, H, QK, E, D>>,
}

/// The content side of a convolution as attention. `QK = H * d`, heads of `d` channels one after the other.
#[derive(Debug)]
pub struct ContentWeights<'a, const C: usize, const H: usize, const QK: usize, E: Dtype, D: Device<E>> {
    /// `gate`, `[H]`: the share of the positional map, or the number whose sigmoid it is.
    pub gate: &'a Tensor<Rank1<H>, E, D>,
    /// Whether the share is the sigmoid of the gate.
    pub sigmoid: bool,
    /// `qk.weight`, `[2, QK, C]`, parts in the order q, k.
    pub qk: &'a Tensor<Rank3<2, QK, C>, E, D>,
}

impl<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize, E: Dtype, D: Device<E>>
    Clone for ConvAsAttentionWeights<'_, O, C, K, H, QK, E, D>
{
    fn clone(&self) -> Self {
        *self
    }
}

impl<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize, E: Dtype, D: Device<E>>
    Copy for ConvAsAttentionWeights<'_, O, C, K, H, QK, E, D>
{
}

impl<const C: usize, const H: usize, const QK: usize, E: Dtype, D: Device<E>> Clone
    for ContentWeights<'_, C, H, QK, E, D>
{
    fn clone(&self) -> Self {
        *self
    }
}

impl<const C: usize, const H: usize, const QK: usize, E: Dtype, D: Device<E>> Copy
    for ContentWeights<'_, C, H, QK, E, D>
{
}

/// Sizes of the maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    /// Rows and columns of the kernel; its square is the number of heads.
    pub(crate) kernel: usize,
    pub(crate) grid: Grid,
    /// The grid of the queries.
    pub(crate) out: Grid,
    pub(crate) stride: usize,
    pub(crate) border: Border,
}

impl Dims {
    pub(crate) fn heads(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The patches that ask: every `stride`-th of every `stride`-th row.
    pub(crate) fn queries(&self) -> Vec<usize> {
        let Self { grid, out, stride, .. } = *self;
        (0..out.tokens()).map(|q| (q / out.cols * grid.cols + q % out.cols) * stride).collect()
    }

    /// Places around the grid that positional maps also look at.
    pub(crate) fn ring(&self) -> usize {
        match self.border {
            Border::Replicate => 0,
            Border::Zero => self.kernel / 2,
        }
    }

    /// Column and row of each patch that positional maps look at: those of the grid, then those of the ring around it.
    fn places(&self) -> Vec<(isize, isize)> {
        let (rows, cols) = (self.grid.rows as isize, self.grid.cols as isize);
        let ring = self.ring() as isize;
        let all = (-ring..rows + ring).flat_map(|y| (-ring..cols + ring).map(move |x| (x, y)));
        let (inside, outside): (Vec<_>, Vec<_>) =
            all.partition(|(x, y)| (0..cols).contains(x) && (0..rows).contains(y));
        [inside, outside].concat()
    }

    /// `(dx, dy, dx^2 + dy^2)` from each query to each of [`Dims::places`]: `[queries, places]`.
    pub(crate) fn relative(&self) -> Vec<[f64; 3]> {
        let places = self.places();
        let from = |query: usize| {
            let (qx, qy) = places[query];
            places.iter().map(move |(x, y)| ((x - qx) as f64, (y - qy) as f64))
        };
        self.queries().into_iter().flat_map(from).map(|(dx, dy)| [dx, dy, dx * dx + dy * dy]).collect()
    }
}

/// The sizes of maps of `H` heads over `x: [batch, grid.tokens(), C]`; `qk`: channels of all heads' queries, if any.
pub(crate) fn check_map<const C: usize, const H: usize>(
    x: &(usize, usize, Const<C>),
    grid: Grid,
    stride: usize,
    border: Border,
    qk: Option<usize>,
) -> Result<Dims> {
    const OP: &str = "conv_as_attention";
    check_grid(OP, x, grid, 0)?;
    let kernel = H.isqrt();
    if kernel * kernel != H || kernel.is_multiple_of(2) {
        return Err(Error::shape(OP, "as many heads as an odd square kernel has places", H));
    }
    if stride == 0 {
        return Err(Error::Argument { op: OP, what: "a stride of 0; at least 1 is needed".to_owned() });
    }
    if let Some(width) = qk.filter(|width| *width == 0 || !width.is_multiple_of(H)) {
        let expected = format!("queries and keys of the same width, not 0, for each of {H} heads");
        return Err(Error::shape(OP, expected, width));
    }
    let out = Grid { rows: grid.rows.div_ceil(stride), cols: grid.cols.div_ceil(stride) };
    let ringed = |side: usize| side.saturating_add(kernel);
    check_size(OP, &[3, H, out.tokens(), ringed(grid.rows), ringed(grid.cols)])?;
    check_size(OP, &[x.0, H, out.tokens(), grid.tokens().max(C)])?;
    check_size(OP, &[x.0, grid.tokens(), 2, qk.unwrap_or(1)])?;
    Ok(Dims { batch: x.0, kernel, grid, out, stride, border })
}

/// The sizes for x and all weights.
pub(crate) fn check<const O: usize, const C: usize, const K: usize, const H: usize>(
    x: &(usize, usize, Const<C>),
    grid: Grid,
    stride: usize,
    border: Border,
    qk: Option<usize>,
) -> Result<Dims> {
    const OP: &str = "conv_as_attention";
    let dims = check_map::<C, H>(x, grid, stride, border, qk)?;
    if dims.kernel != K || O == 0 {
        let expected = format!("weight [outer, {C}, {0}, {0}], not empty, for {H} heads", dims.kernel);
        return Err(Error::shape(OP, expected, [O, C, K, K]));
    }
    check_size(OP, &[O, C, H])?;
    check_size(OP, &[dims.batch, dims.out.tokens(), O])?;
    Ok(dims)
}

/// `[batch, heads, queries, keys]`
type Maps<E, D, T> = Tensor<(usize, usize, usize, usize), E, D, T>;

/// [`ConvAsAttentionWeights`] with their sizes as numbers.
pub(crate) struct Held<E: Dtype, D: Device<E>> {
    weight: Tensor<(usize, usize, usize, usize), E, D>,
    bias: Option<Tensor<(usize,), E, D>>,
    position: Tensor<(usize, usize), E, D>,
    content: Option<HeldContent<E, D>>,
}

impl<E: Dtype, D: Device<E>> Held<E, D> {
    pub(crate) fn new<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize>(
        weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, E, D>,
    ) -> Self {
        let ConvAsAttentionWeights { weight, bias, position, content } = weights;
        let content = content.map(HeldContent::new);
        Self { weight: held(weight), bias: bias.map(held), position: held(position), content }
    }
}

/// [`ContentWeights`] with their sizes as numbers.
pub(crate) struct HeldContent<E: Dtype, D: Device<E>> {
    gate: Tensor<(usize,), E, D>,
    sigmoid: bool,
    qk: Tensor<(usize, usize, usize), E, D>,
}

impl<E: Dtype, D: Device<E>> HeldContent<E, D> {
    pub(crate) fn new<const C: usize, const H: usize, const QK: usize>(
        weights: ContentWeights<'_, C, H, QK, E, D>,
    ) -> Self {
        Self { gate: held(weights.gate), sigmoid: weights.sigmoid, qk: held(weights.qk) }
    }
}

/// `[batch, tokens, channels]`
type Tokens<E, D, T> = Tensor<(usize, usize, usize), E, D, T>;

/// The positional maps, `[heads, queries, keys]`: what goes to the ring is left out after the softmax.
fn positional<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    position: &Tensor<(usize, usize), E, D>,
) -> Result<Tensor<(usize, usize, usize), E, D, T>, D::Err> {
    let relative = dims.relative();
    let (heads, queries, keys) = (dims.heads(), dims.out.tokens(), dims.grid.tokens());
    let places = relative.len() / queries;
    let features = relative.as_flattened().iter().map(|v| E::from_f64(*v).unwrap_or_default()).collect();
    let features: Tensor<(usize, usize), E, D> =
        position.device().try_tensor_from_vec(features, (relative.len(), 3))?;
    let weight = position.retaped::<T>().try_permute::<(usize, usize), Axes2<1, 0>>()?;
    let scores = features.retaped::<T>().try_matmul(weight)?;
    let maps = scores
        .try_permute::<(usize, usize), Axes2<1, 0>>()?
        .try_reshape_like(&(heads, queries, places))?
        .try_softmax::<Axis<2>>()?;
    if places == keys { Ok(maps) } else { maps.try_slice((0..heads, 0..queries, 0..keys)) }
}

/// The content's maps: `softmax(q k^T / sqrt(d))`.
fn content<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tokens<E, D, T>,
    qk: &Tensor<(usize, usize, usize), E, D>,
) -> Result<Maps<E, D, T>, D::Err> {
    let (_, all, channels) = *qk.shape();
    let (heads, head_dim) = (dims.heads(), all / dims.heads());
    // Part 0 or 1 of the weight times some of the tokens, heads apart.
    let project = |part: usize, tokens: Tokens<E, D, T>| {
        let (batch, count, _) = *tokens.shape();
        let weight = qk
            .retaped::<T>()
            .try_slice((part..part + 1, 0..all, 0..channels))?
            .try_reshape_like(&(all, channels))?
            .try_permute::<(usize, usize), Axes2<1, 0>>()?;
        tokens
            .try_reshape_like(&(batch * count, channels))?
            .try_matmul(weight)?
            .try_reshape_like(&(batch, count, heads, head_dim))
    };
    let k = project(1, x.with_empty_tape())?.try_permute::<_, Axes4<0, 2, 3, 1>>()?;
    let asking = if dims.stride == 1 { x } else { gather(x, &dims.queries())? };
    let q = project(0, asking)?.try_permute::<_, Axes4<0, 2, 1, 3>>()?;
    let scale = E::from_f64((head_dim as f64).powf(-0.5)).unwrap_or(E::ONE);
    q.try_matmul(k)?.try_mul(scale)?.try_softmax::<Axis<3>>()
}

/// The maps of all images and heads. Without `content` the positional ones, the same for every image.
pub(crate) fn map<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tokens<E, D, T>,
    position: &Tensor<(usize, usize), E, D>,
    weights: Option<HeldContent<E, D>>,
) -> Result<Maps<E, D, T>, D::Err> {
    let shape = (dims.batch, dims.heads(), dims.out.tokens(), dims.grid.tokens());
    let positional = positional::<E, D, T>(dims, position)?.try_broadcast_like::<_, Axis<0>>(&shape)?;
    let Some(weights) = weights else {
        let (_, tape) = x.split_tape();
        let (maps, own) = spread_out(positional)?.split_tape();
        return Ok(maps.put_tape(tape.merge(own)));
    };
    let share = weights.gate.retaped::<T>();
    let share = if weights.sigmoid { share.try_sigmoid()? } else { share };
    let share = share.try_broadcast_like::<_, Axes3<0, 2, 3>>(&shape)?;
    let content = content(dims, x, &weights.qk)?;
    let towards = positional.try_sub(content.with_empty_tape())?;
    content.try_add(towards.try_mul(share)?)
}

pub(crate) fn composition<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    dims: Dims,
    x: Tokens<E, D, T>,
    weights: Held<E, D>,
) -> Result<Tokens<E, D, T>, D::Err> {
    let (batch, queries, keys) = (dims.batch, dims.out.tokens(), dims.grid.tokens());
    let (outer, channels, _, _) = *weights.weight.shape();
    let heads = dims.heads();
    let values = x.with_empty_tape();
    let maps = map(dims, x, &weights.position, weights.content)?;
    let seen: Tokens<E, D, T> = maps.try_reshape_like(&(batch, heads * queries, keys))?.try_matmul(values)?;
    let seen = seen
        .try_reshape_like(&(batch, heads, queries, channels))?
        .try_permute::<_, Axes4<0, 2, 1, 3>>()?
        .try_reshape_like(&(batch * queries, heads * channels))?;
    // Heads go through the kernel column by column.
    let weight = weights
        .weight
        .retaped::<T>()
        .try_permute::<(usize, usize, usize, usize), Axes4<3, 2, 1, 0>>()?
        .try_reshape_like(&(heads * channels, outer))?;
    let mut y: Tensor<(usize, usize), E, D, T> = seen.try_matmul(weight)?;
    if let Some(bias) = weights.bias {
        let bias = bias.retaped::<T>();
        y = y.try_add(bias.try_broadcast_like::<_, Axis<0>>(&(batch * queries, outer))?)?;
    }
    y.try_reshape_like(&(batch, queries, outer))
}

#[cfg(test)]
mod tests;
