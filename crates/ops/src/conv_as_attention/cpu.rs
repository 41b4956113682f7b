//! The kernels of a convolution as attention tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, SplitTape, Tape};

use super::{
    ContentWeights, ConvAsAttentionWeights, Dims,
    content::{Kept, Layer, forward},
    content_backward::{self, backward},
    positions::Positions,
    sight::Sight,
};
use crate::{
    Grid, Result, Window,
    attention::{give_bias, take_bias},
    conv2d,
    tape::{
        Borrowed, Rank1, Rank2, Rank3, Rank4, Tokens, buffer, check_parameters, contiguous, held,
        is_contiguous, take_gradient, tensor, values,
    },
};

const OP: &str = "conv_as_attention";

/// The parameters, held for the backward pass.
pub(crate) struct Parameters {
    weight: Rank4,
    bias: Option<Rank1>,
    position: Rank2,
    content: Option<Content>,
}

/// Those of the content.
struct Content {
    gate: Rank1,
    sigmoid: bool,
    qk: Rank3,
}

impl Parameters {
    /// # Errors
    /// A parameter that is not contiguous.
    pub(crate) fn new<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize>(
        weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, f32, Cpu>,
    ) -> Result<Self> {
        let ConvAsAttentionWeights { weight, bias, position, content } = weights;
        let content = content.map(|content: ContentWeights<'_, C, H, QK, f32, Cpu>| Content {
            gate: held(content.gate),
            sigmoid: content.sigmoid,
            qk: held(content.qk),
        });
        let held = Self { weight: held(weight), bias: bias.map(held), position: held(position), content };
        let kernel = is_contiguous(&held.weight) && held.bias.as_ref().is_none_or(is_contiguous);
        let attention = held.content.as_ref().is_none_or(|c| is_contiguous(&c.gate) && is_contiguous(&c.qk));
        check_parameters(OP, &[kernel, is_contiguous(&held.position), attention])?;
        Ok(held)
    }
}

impl Content {
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

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    x: Tokens<T>,
    mut parameters: Parameters,
) -> Result<(Tokens<T>, Grid)> {
    let x = contiguous(OP, x)?;
    // A share of 1 leaves nothing of the content but the gradient of the share.
    let content = parameters.content.take();
    let content = content.filter(|c| T::OWNS_TAPE || c.shares().iter().any(|s| *s != 1.0));
    let y = match content {
        None => parameters.by_positions(device, dims, x),
        Some(content) => parameters.with_content(device, dims, x, content),
    }?;
    Ok((y, dims.out))
}

impl Parameters {
    /// Channels of the result.
    fn outer(&self) -> usize {
        self.weight.shape().0
    }

    /// Positions alone.
    fn by_positions<T: Tape<f32, Cpu>>(self, device: &Cpu, dims: Dims, x: Tokens<T>) -> Result<Tokens<T>> {
        let (inner, outer) = (x.shape().2, self.outer());
        let (x, mut tape) = x.split_tape();
        let positions = Positions::new(dims, values(&self.position));
        let mut sight = Sight::new(&positions, inner);
        let sizes = convolution(dims, inner, outer);
        let mut y = buffer(sizes.rows() * outer);
        let bias = self.bias.as_ref().map(values);
        conv2d::forward_with(sizes, sight.layout(), values(&x), values(&self.weight), bias, &mut y);
        let y = tensor(OP, device, y, (dims.batch, dims.out.tokens(), outer))?;
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

    fn with_content<T: Tape<f32, Cpu>>(
        self,
        device: &Cpu,
        dims: Dims,
        x: Tokens<T>,
        content: Content,
    ) -> Result<Tokens<T>> {
        let (outer, heads) = (self.outer(), dims.heads());
        let (x, mut tape) = x.split_tape();
        let positions = Positions::new(dims, values(&self.position));
        let (queries, keys) = (dims.out.tokens(), dims.grid.tokens());
        let row = move |i: usize| (i / queries, i % queries);
        let (mut maps, shares) = (buffer(heads * queries * keys), content.shares());
        positions.fill(&mut maps, row);
        let layer = self.layer(dims, &content, &maps, &shares);
        let mut y = buffer(layer.sizes.rows() * outer);
        let mut kept = T::OWNS_TAPE.then(|| Kept::new(&layer));
        forward(&layer, values(&x), kept.as_mut(), &mut y);
        drop(layer);
        let y = tensor(OP, device, y, (dims.batch, queries, outer))?;
        if let Some(kept) = kept {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &y)?;
                drop(y);
                let mut dx = Borrowed::take(gradients, &x)?;
                let mut dweight = Borrowed::take(gradients, &self.weight)?;
                let mut dbias = take_bias(self.bias.as_ref(), gradients)?;
                let mut dqk = Borrowed::take(gradients, &content.qk)?;
                let (mut dmaps, mut dshares) = (vec![0.0; maps.len()], vec![0.0; heads]);
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

    fn layer<'a>(
        &'a self,
        dims: Dims,
        content: &'a Content,
        maps: &'a [f32],
        shares: &'a [f32],
    ) -> Layer<'a> {
        let sizes = convolution(dims, content.qk.shape().2, self.outer());
        let weight = conv2d::weight_rows(sizes, values(&self.weight));
        let bias = self.bias.as_ref().map(values);
        Layer { dims, sizes, weight, bias, qk: values(&content.qk), maps, shares }
    }
}
