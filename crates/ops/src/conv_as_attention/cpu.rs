//! The kernels of a convolution as attention tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    Border, ContentWeights, ConvAsAttentionWeights, Dims, check,
    content::{Kept, Layer, forward},
    content_backward::{self, backward},
    positions::Positions,
    sight::Sight,
};
use crate::{
    Grid, Result, Window,
    attention::{give_bias, take_bias},
    conv2d,
    tape::{Borrowed, buffer, check_parameters, contiguous, is_contiguous, take_gradient, tensor, values},
};

const OP: &str = "conv_as_attention";

/// The convolution's parameters, held for the backward pass.
struct Parameters<const O: usize, const C: usize, const K: usize, const H: usize> {
    weight: Tensor<Rank4<O, C, K, K>, f32, Cpu>,
    bias: Option<Tensor<Rank1<O>, f32, Cpu>>,
    position: Tensor<Rank2<H, 3>, f32, Cpu>,
}

/// The content's parameters, held for the backward pass.
struct Content<const C: usize, const H: usize, const QK: usize> {
    gate: Tensor<Rank1<H>, f32, Cpu>,
    sigmoid: bool,
    qk: Tensor<Rank3<2, QK, C>, f32, Cpu>,
}

impl<const C: usize, const H: usize, const QK: usize> Content<C, H, QK> {
    fn new(weights: ContentWeights<'_, C, H, QK, f32, Cpu>) -> Self {
        Self { gate: weights.gate.clone(), sigmoid: weights.sigmoid, qk: weights.qk.clone() }
    }

    fn shares(&self) -> Vec<f32> {
        let share = |gate: &f32| if self.sigmoid { 1.0 / (1.0 + (-gate).exp()) } else { *gate };
        values(&self.gate).iter().map(share).collect()
    }

    /// What the gradients of the shares are multiplied by to give those of the gate.
    fn slope(&self, share: f32) -> f32 {
        if self.sigmoid { share * (1.0 - share) } else { 1.0 }
    }
}

/// The sizes of the convolution.
fn convolution(dims: Dims, inner: usize, outer: usize) -> conv2d::Dims {
    let Dims { batch, kernel, grid, out, stride, .. } = dims;
    conv2d::Dims { batch, inner, outer, grid, out, window: Window::square(kernel, stride, kernel / 2) }
}

type Tokens<const C: usize, T> = Tensor<(usize, usize, Const<C>), f32, Cpu, T>;

pub(crate) fn on_cpu<
    const O: usize,
    const C: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    T: Tape<f32, Cpu>,
>(
    device: &Cpu,
    x: Tokens<C, T>,
    grid: Grid,
    stride: usize,
    border: Border,
    weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, f32, Cpu>,
) -> Result<(Tokens<O, T>, Grid)> {
    let ConvAsAttentionWeights { weight, bias, position, content } = weights;
    let dims = check::<O, C, K, H>(x.shape(), grid, stride, border, content.map(|_| QK))?;
    let kernel = [is_contiguous(weight), bias.is_none_or(is_contiguous), is_contiguous(position)];
    let attention = content.is_none_or(|c| is_contiguous(c.gate) && is_contiguous(c.qk));
    check_parameters(OP, &[kernel.iter().all(|it| *it), attention])?;
    let parameters = Parameters { weight: weight.clone(), bias: bias.cloned(), position: position.clone() };
    let x = contiguous(OP, x)?;
    // A share of 1 leaves nothing of the content but the gradient of the share.
    let content = content.map(Content::new).filter(|c| T::OWNS_TAPE || c.shares().iter().any(|s| *s != 1.0));
    let y = match content {
        None => parameters.by_positions(device, dims, x),
        Some(content) => parameters.with_content(device, dims, x, content),
    }?;
    Ok((y, dims.out))
}

impl<const O: usize, const C: usize, const K: usize, const H: usize> Parameters<O, C, K, H> {
    /// Positions alone.
    fn by_positions<T: Tape<f32, Cpu>>(
        self,
        device: &Cpu,
        dims: Dims,
        x: Tokens<C, T>,
    ) -> Result<Tokens<O, T>> {
        let (x, mut tape) = x.split_tape();
        let positions = Positions::new(dims, values(&self.position));
        let mut sight = Sight::new(&positions, C);
        let sizes = convolution(dims, C, O);
        let mut y = buffer(sizes.rows() * O);
        let bias = self.bias.as_ref().map(values);
        conv2d::forward_with(sizes, sight.layout(), values(&x), values(&self.weight), bias, &mut y);
        let y = tensor(OP, device, y, (dims.batch, dims.out.tokens(), Const))?;
        if T::OWNS_TAPE {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                drop(y);
                sight.widen(&positions);
                let mut sums = vec![0.0; sight.layout().sums()];
                let mut dx = Borrowed::take(gradients, &x)?;
                let mut dweight = Borrowed::take(gradients, &self.weight)?;
                let mut dbias = take_bias(self.bias.as_ref(), gradients)?;
                conv2d::backward_with(
                    sizes,
                    sight.layout(),
                    &dy,
                    (values(&x), Some(&mut dx.0)),
                    (values(&self.weight), &mut dweight.0),
                    (dbias.as_mut().map(|d| &mut d.0[..]), &mut sums),
                );
                dx.give(gradients, &x)?;
                dweight.give(gradients, &self.weight)?;
                give_bias(self.bias.as_ref(), dbias, gradients)?;
                let mut dposition = Borrowed::take(gradients, &self.position)?;
                sight.add_gradient(&positions, &sums, &mut dposition.0);
                dposition.give(gradients, &self.position)
            });
        }
        Ok(y.put_tape(tape))
    }

    fn with_content<const QK: usize, T: Tape<f32, Cpu>>(
        self,
        device: &Cpu,
        dims: Dims,
        x: Tokens<C, T>,
        content: Content<C, H, QK>,
    ) -> Result<Tokens<O, T>> {
        let (x, mut tape) = x.split_tape();
        let positions = Positions::new(dims, values(&self.position));
        let (queries, keys) = (dims.out.tokens(), dims.grid.tokens());
        let row = move |i: usize| (i / queries, i % queries);
        let (mut maps, shares) = (buffer(H * queries * keys), content.shares());
        positions.fill(&mut maps, row);
        let layer = self.layer(dims, &content, &maps, &shares);
        let mut y = buffer(layer.sizes.rows() * O);
        let mut kept = T::OWNS_TAPE.then(|| Kept::new(&layer));
        forward(&layer, values(&x), kept.as_mut(), &mut y);
        drop(layer);
        let y = tensor(OP, device, y, (dims.batch, queries, Const))?;
        if let Some(kept) = kept {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                drop(y);
                let mut dx = Borrowed::take(gradients, &x)?;
                let mut dweight = Borrowed::take(gradients, &self.weight)?;
                let mut dbias = take_bias(self.bias.as_ref(), gradients)?;
                let mut dqk = Borrowed::take(gradients, &content.qk)?;
                let (mut dmaps, mut dshares) = (vec![0.0; maps.len()], vec![0.0; H]);
                let targets = content_backward::Gradients {
                    x: &mut dx.0,
                    weight: &mut dweight.0,
                    bias: dbias.as_mut().map(|d| &mut d.0[..]),
                    qk: &mut dqk.0,
                    maps: &mut dmaps,
                    shares: &mut dshares,
                };
                backward(&self.layer(dims, &content, &maps, &shares), values(&x), &kept, &dy, targets);
                dx.give(gradients, &x)?;
                dweight.give(gradients, &self.weight)?;
                give_bias(self.bias.as_ref(), dbias, gradients)?;
                dqk.give(gradients, &content.qk)?;
                let mut dgate = Borrowed::take(gradients, &content.gate)?;
                for ((dgate, dshare), share) in dgate.0.iter_mut().zip(&dshares).zip(&shares) {
                    *dgate += dshare * content.slope(*share);
                }
                dgate.give(gradients, &content.gate)?;
                for (dmap, share) in dmaps.chunks_exact_mut(queries * keys).zip(&shares) {
                    dmap.iter_mut().for_each(|d| *d *= share);
                }
                let mut dposition = Borrowed::take(gradients, &self.position)?;
                positions.add_gradient(&dmaps, &mut dposition.0, row);
                dposition.give(gradients, &self.position)
            });
        }
        Ok(y.put_tape(tape))
    }

    fn layer<'a, const QK: usize>(
        &'a self,
        dims: Dims,
        content: &'a Content<C, H, QK>,
        maps: &'a [f32],
        shares: &'a [f32],
    ) -> Layer<'a> {
        let sizes = convolution(dims, C, O);
        let weight = conv2d::weight_rows(sizes, values(&self.weight));
        let bias = self.bias.as_ref().map(values);
        Layer { dims, sizes, weight, bias, qk: values(&content.qk), maps, shares }
    }
}
