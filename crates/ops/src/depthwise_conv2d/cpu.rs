//! The kernel of the depthwise convolution tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, SplitTape, Tape};

use super::{
    Dims,
    kernel::{backward, forward},
};
use crate::{
    Result,
    attention::{give_bias, take_bias},
    tape::{
        Borrowed, Rank1, Rank4, Tokens, buffer, check_parameters, contiguous, gradient_of, is_contiguous,
        take_gradient, tensor, values,
    },
};

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    x: Tokens<T>,
    weight: Rank4,
    bias: Option<Rank1>,
) -> Result<Tokens<T>> {
    let of_bias = bias.as_ref().is_none_or(is_contiguous);
    check_parameters("depthwise_conv2d", &[is_contiguous(&weight), of_bias])?;
    let x = contiguous("depthwise_conv2d", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = buffer(dims.batch * dims.sample());
    forward(dims, values(&x), values(&weight), bias.as_ref().map(values), &mut y);
    let y = tensor("depthwise_conv2d", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let y = y.clone();
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
