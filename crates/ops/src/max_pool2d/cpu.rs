//! The kernel of max pooling tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    check,
    kernel::{backward, forward},
};
use crate::{
    Grid, Result, Window,
    tape::{buffer, contiguous, gradient_of, take_gradient, tensor, values},
};

type Tokens<const C: usize, T> = Tensor<(usize, usize, Const<C>), f32, Cpu, T>;

pub(crate) fn on_cpu<const C: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<C, T>,
    grid: Grid,
    window: Window,
) -> Result<(Tokens<C, T>, Grid)> {
    let dims = check(x.shape(), grid, window)?;
    let x = contiguous("max_pool2d", x)?;
    let (x, mut tape) = x.split_tape();
    let shape = (dims.batch, dims.out.tokens(), Const);
    let mut y = buffer(shape.0 * shape.1 * C);
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
