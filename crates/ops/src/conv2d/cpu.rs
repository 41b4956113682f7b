//! The kernel of the convolution tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    Dims, Weight, check, check_images,
    kernel::{add_channels_first, backward, channels_last, forward},
};
use crate::{
    Grid, Result, Window,
    attention::{give_bias, take_bias},
    tape::{
        Borrowed, buffer, check_parameters, contiguous, gradient_of, is_contiguous, take_gradient, tensor,
        values,
    },
};

/// The parameters, held for the backward pass.
struct Parameters<const O: usize, const I: usize, const KH: usize, const KW: usize> {
    weight: Weight<O, I, KH, KW, f32, Cpu>,
    bias: Option<Tensor<(Const<O>,), f32, Cpu>>,
}

impl<const O: usize, const I: usize, const KH: usize, const KW: usize> Parameters<O, I, KH, KW> {
    fn new(weight: &Weight<O, I, KH, KW, f32, Cpu>, bias: Option<&Tensor<(Const<O>,), f32, Cpu>>) -> Self {
        Self { weight: weight.clone(), bias: bias.cloned() }
    }

    fn forward(
        &self,
        device: &Cpu,
        dims: Dims,
        x: &[f32],
    ) -> Result<Tensor<(usize, usize, Const<O>), f32, Cpu>> {
        let mut y = buffer(dims.rows() * O);
        forward(dims, x, values(&self.weight), self.bias.as_ref().map(values), &mut y);
        tensor("conv2d", device, y, (dims.batch, dims.out.tokens(), Const))
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

pub(crate) fn on_cpu<const O: usize, const I: usize, const KH: usize, const KW: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tensor<(usize, usize, Const<I>), f32, Cpu, T>,
    grid: Grid,
    weight: &Weight<O, I, KH, KW, f32, Cpu>,
    bias: Option<&Tensor<(Const<O>,), f32, Cpu>>,
    window: Window,
) -> Result<(Tensor<(usize, usize, Const<O>), f32, Cpu, T>, Grid)> {
    let dims = check::<O, I, KH, KW>(x.shape(), grid, window)?;
    check_parameters("conv2d", &[is_contiguous(weight), bias.is_none_or(is_contiguous)])?;
    let x = contiguous("conv2d", x)?;
    let (x, mut tape) = x.split_tape();
    let parameters = Parameters::new(weight, bias);
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

pub(crate) fn images_on_cpu<
    S: Shape,
    const O: usize,
    const I: usize,
    const KH: usize,
    const KW: usize,
    T: Tape<f32, Cpu>,
>(
    device: &Cpu,
    images: Tensor<S, f32, Cpu, T>,
    weight: &Weight<O, I, KH, KW, f32, Cpu>,
    bias: Option<&Tensor<(Const<O>,), f32, Cpu>>,
    window: Window,
    image_gradient: bool,
) -> Result<(Tensor<(usize, usize, Const<O>), f32, Cpu, T>, Grid)> {
    let dims = check_images::<S, O, I, KH, KW>(images.shape(), window)?;
    check_parameters("conv2d_images", &[is_contiguous(weight), bias.is_none_or(is_contiguous)])?;
    let images = contiguous("conv2d_images", images)?;
    let (images, mut tape) = images.split_tape();
    let parameters = Parameters::new(weight, bias);
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
