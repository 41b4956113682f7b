//! The kernel of the depthwise convolution tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    check,
    kernel::{backward, forward},
};
use crate::{
    Grid, Result,
    attention::{give_bias, take_bias},
    tape::{
        Borrowed, buffer, check_parameters, contiguous, gradient_of, is_contiguous, take_gradient, tensor,
        values,
    },
};

type Tokens<const C: usize, T> = Tensor<(usize, usize, Const<C>), f32, Cpu, T>;

pub(crate) fn on_cpu<const C: usize, const K: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<C, T>,
    grid: Grid,
    prefix: usize,
    weight: &Tensor<(Const<C>, Const<1>, Const<K>, Const<K>), f32, Cpu>,
    bias: Option<&Tensor<(Const<C>,), f32, Cpu>>,
) -> Result<Tokens<C, T>> {
    let dims = check::<C, K>(x.shape(), grid, prefix)?;
    check_parameters("depthwise_conv2d", &[is_contiguous(weight), bias.is_none_or(is_contiguous)])?;
    let x = contiguous("depthwise_conv2d", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = buffer(dims.batch * dims.sample());
    forward(dims, values(&x), values(weight), bias.map(values), &mut y);
    let y = tensor("depthwise_conv2d", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let (weight, bias, y) = (weight.clone(), bias.cloned(), y.clone());
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let mut dweight = Borrowed::take(gradients, &weight)?;
            let mut dbias = take_bias(bias.as_ref(), gradients)?;
            let dx = gradient_of(gradients, &x)?;
            let weights = (values(&weight), &mut dweight.0[..]);
            backward(dims, &dy, (values(&x), dx), weights, dbias.as_mut().map(|d| &mut d.0[..]));
            dweight.give(gradients, &weight)?;
            give_bias(bias.as_ref(), dbias, gradients)
        });
    }
    Ok(y.put_tape(tape))
}
