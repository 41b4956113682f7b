//! The kernel of the convolution tied into dfdx's tape.

use dfdx::prelude::{Const, Cpu, Gradients, HasErr, PutTape, Shape, SplitTape, Tape, Tensor};

use super::{
    Dims, Weight,
    kernel::{add_channels_first, backward, channels_last, forward},
};
use crate::{
    Grid, Result,
    attention::{give_bias, take_bias},
    tape::{
        Borrowed, Rank1, Rank3, Rank4, Tokens, buffer, check_parameters, contiguous, gradient_of, held,
        is_contiguous, take_gradient, tensor, values,
    },
};

/// The parameters, held for the backward pass.
pub(crate) struct Parameters {
    weight: Rank4,
    bias: Option<Rank1>,
}

impl Parameters {
    /// # Errors
    /// A parameter that is not contiguous.
    pub(crate) fn new<const O: usize, const I: usize, const KH: usize, const KW: usize>(
        op: &'static str,
        weight: &Weight<O, I, KH, KW, f32, Cpu>,
        bias: Option<&Tensor<(Const<O>,), f32, Cpu>>,
    ) -> Result<Self> {
        let held = Self { weight: held(weight), bias: bias.map(held) };
        let bias = held.bias.as_ref().is_none_or(is_contiguous);
        check_parameters(op, &[is_contiguous(&held.weight), bias])?;
        Ok(held)
    }

    fn forward(&self, device: &Cpu, dims: Dims, x: &[f32]) -> Result<Rank3> {
        let mut y = buffer(dims.rows() * dims.outer);
        forward(dims, x, values(&self.weight), self.bias.as_ref().map(values), &mut y);
        tensor("conv2d", device, y, (dims.batch, dims.out.tokens(), dims.outer))
    }

    /// Adds the gradients of the parameters, and that of x to `dx`.
    fn backward(
        &self,
        gradients: &mut Gradients<f32, Cpu>,
        dims: Dims,
        dy: &[f32],
        x: &[f32],
        dx: Option<&mut [f32]>,
    ) -> Result<(), <Cpu as HasErr>::Err> {
        let mut dweight = Borrowed::take(gradients, &self.weight)?;
        let mut dbias = take_bias(self.bias.as_ref(), gradients)?;
        let weight = (values(&self.weight), &mut dweight.0[..]);
        backward(dims, dy, (x, dx), weight, dbias.as_mut().map(|d| &mut d.0[..]));
        dweight.give(gradients, &self.weight)?;
        give_bias(self.bias.as_ref(), dbias, gradients)
    }
}

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    x: Tokens<T>,
    parameters: Parameters,
) -> Result<(Tokens<T>, Grid)> {
    let x = contiguous("conv2d", x)?;
    let (x, mut tape) = x.split_tape();
    let y = parameters.forward(device, dims, values(&x))?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let mut dx = Borrowed::take(gradients, &x)?;
            parameters.backward(gradients, dims, &dy, values(&x), Some(&mut dx.0))?;
            dx.give(gradients, &x)
        });
    }
    Ok((y.put_tape(tape), dims.out))
}

pub(crate) fn images_on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    images: Tensor<S, f32, Cpu, T>,
    parameters: Parameters,
    image_gradient: bool,
) -> Result<(Tokens<T>, Grid)> {
    let images = contiguous("conv2d_images", images)?;
    let (images, mut tape) = images.split_tape();
    let x = channels_last(dims, values(&images));
    let y = parameters.forward(device, dims, &x)?;
    if T::OWNS_TAPE {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let mut dx = image_gradient.then(|| vec![0.0; x.len()]);
            parameters.backward(gradients, dims, &dy, &x, dx.as_deref_mut())?;
            if let Some(dx) = dx {
                add_channels_first(dims, &dx, gradient_of(gradients, &images)?);
            }
            Ok(())
        });
    }
    Ok((y.put_tape(tape), dims.out))
}
