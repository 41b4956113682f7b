//! The kernels of a convolution as attention tied into dfdx's tape.

use dfdx::prelude::*;

use super::{Border, ConvAsAttentionWeights, Dims, check, composition, positions::Positions, sight::Sight};
use crate::{
    Error, Grid, Result, Window,
    attention::{give_bias, take_bias},
    conv2d,
    tape::{Borrowed, buffer, check_parameters, contiguous, is_contiguous, take_gradient, tensor, values},
};

/// The sizes of the convolution.
fn convolution(dims: Dims, inner: usize, outer: usize) -> conv2d::Dims {
    let Dims { batch, kernel, grid, out, stride, .. } = dims;
    conv2d::Dims { batch, inner, outer, grid, out, window: Window::square(kernel, stride, kernel / 2) }
}

pub(crate) fn on_cpu<
    const O: usize,
    const C: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    T: Tape<f32, Cpu>,
>(
    device: &Cpu,
    x: Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
    grid: Grid,
    stride: usize,
    border: Border,
    weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, f32, Cpu>,
) -> Result<(Tensor<(usize, usize, Const<O>), f32, Cpu, T>, Grid)> {
    let ConvAsAttentionWeights { weight, bias, position, content } = weights;
    let dims = check::<O, C, K, H>(x.shape(), grid, stride, border, content.map(|_| QK))?;
    let kernel = [is_contiguous(weight), bias.is_none_or(is_contiguous), is_contiguous(position)];
    let attention = content.is_none_or(|c| is_contiguous(c.gate) && is_contiguous(c.qk));
    check_parameters("conv_as_attention", &[kernel.iter().all(|it| *it), attention])?;
    if content.is_some() {
        let y = composition(dims, x, weights).map_err(|e| Error::device("conv_as_attention", e))?;
        return Ok((y, dims.out));
    }
    let x = contiguous("conv_as_attention", x)?;
    let (x, mut tape) = x.split_tape();
    let positions = Positions::new(dims, values(position));
    let mut sight = Sight::new(&positions, C);
    let sizes = convolution(dims, C, O);
    let mut y = buffer(sizes.rows() * O);
    conv2d::forward_with(sizes, sight.layout(), values(&x), values(weight), bias.map(values), &mut y);
    let y = tensor("conv_as_attention", device, y, (dims.batch, dims.out.tokens(), Const))?;
    if T::OWNS_TAPE {
        let (weight, bias, position, y) = (weight.clone(), bias.cloned(), position.clone(), y.clone());
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            sight.widen(&positions);
            let mut sums = vec![0.0; sight.layout().sums()];
            let mut dx = Borrowed::take(gradients, &x)?;
            let mut dweight = Borrowed::take(gradients, &weight)?;
            let mut dbias = take_bias(bias.as_ref(), gradients)?;
            conv2d::backward_with(
                sizes,
                sight.layout(),
                &dy,
                (values(&x), Some(&mut dx.0)),
                (values(&weight), &mut dweight.0),
                (dbias.as_mut().map(|d| &mut d.0[..]), &mut sums),
            );
            dx.give(gradients, &x)?;
            dweight.give(gradients, &weight)?;
            give_bias(bias.as_ref(), dbias, gradients)?;
            let mut dposition = Borrowed::take(gradients, &position)?;
            sight.add_gradient(&positions, &sums, &mut dposition.0);
            dposition.give(gradients, &position)
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
