//! The kernel of max pooling tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, SplitTape, Tape};

use super::{
    Dims,
    kernel::{backward, forward},
};
use crate::{
    Grid, Result,
    tape::{Tokens, buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(device: &Cpu, dims: Dims, x: Tokens<T>) -> Result<(Tokens<T>, Grid)> {
    let x = contiguous("max_pool2d", x)?;
    let (x, mut tape) = x.split_tape();
    let shape = (dims.batch, dims.out.tokens(), x.shape().2);
    let mut y = buffer(shape.0 * shape.1 * shape.2);
    let mut winners = vec![0; y.len()];
    forward(dims, values(&x), &mut y, &mut winners);
    let y = tensor("max_pool2d", device, y, shape)?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            backward(dims, &winners, &dy, gradient_of(gradients, &x)?);
            Ok(())
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
