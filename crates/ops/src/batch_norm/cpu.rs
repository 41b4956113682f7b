//! The kernel of batch normalisation tied into dfdx's tape.

use dfdx::prelude::*;

use super::{Affine, Tokens, kernel::Channels};
use crate::{
    Result,
    residual::accumulate,
    tape::{buffer, gradient_of, is_contiguous, take_gradient, tensor, values},
};

/// Whether the kernel can read all of them.
pub(crate) fn are_contiguous<const C: usize, T>(
    x: &Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
    affine: &Affine<'_, C, f32, Cpu>,
) -> bool {
    let Affine { weight, bias, residual, .. } = affine;
    is_contiguous(x) && is_contiguous(*weight) && is_contiguous(*bias) && residual.is_none_or(is_contiguous)
}

/// Normalises with the mean and variance of each channel, which are `own`: those of x itself.
pub(crate) fn on_cpu<const C: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<C, f32, Cpu, T>,
    (mean, variance, own): (&[f64], &[f64], bool),
    eps: f64,
    affine: Affine<'_, C, f32, Cpu>,
) -> Result<Tokens<C, f32, Cpu, T>> {
    let Affine { weight, bias, residual, then } = affine;
    let (x, mut tape) = x.split_tape();
    let channels = Channels::new(mean, variance, eps, values(weight), values(bias));
    let mut y = buffer(x.shape().num_elements());
    channels.forward(then, values(&x), residual.map(values), &mut y);
    let y = tensor("batch_norm", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let (weight, bias, residual, y) = (weight.clone(), bias.clone(), residual.cloned(), y.clone());
        tape.add_backward_op(move |gradients| {
            let mut dy = take_gradient(gradients, &y)?;
            let sums = channels.sums(then, values(&x), values(&y), &mut dy);
            drop(y);
            for (parameter, sums) in [(&weight, &sums.weight), (&bias, &sums.bias)] {
                let gradient = gradient_of(gradients, parameter)?;
                gradient.iter_mut().zip(sums).for_each(|(gradient, sum)| *gradient += *sum as f32);
            }
            if let Some(residual) = &residual {
                accumulate(&dy, gradient_of(gradients, residual)?);
            }
            channels.backward(own.then_some(&sums), values(&x), &dy, gradient_of(gradients, &x)?);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
