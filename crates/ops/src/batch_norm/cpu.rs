//! The kernel of batch normalisation tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, Shape, SplitTape, Tape};

use super::{Held, kernel::Channels};
use crate::{
    Result,
    residual::accumulate,
    tape::{
        Tokens, buffer, check_parameters, contiguous_pair, gradient_of, is_contiguous, take_gradient, tensor,
        values,
    },
};

/// Normalises with the mean and variance of each channel, which are `own`: those of x itself.
pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tokens<T>,
    (mean, variance, own): (&[f64], &[f64], bool),
    eps: f64,
    affine: Held<f32, Cpu>,
) -> Result<Tokens<T>> {
    let Held { weight, bias, residual, then } = affine;
    check_parameters("batch_norm", &[is_contiguous(&weight), is_contiguous(&bias)])?;
    let (x, residual) = match residual {
        Some(residual) => contiguous_pair("batch_norm", x, &residual).map(|(x, it)| (x, Some(it)))?,
        None => (x, None),
    };
    let (x, mut tape) = x.split_tape();
    let channels = Channels::new(mean, variance, eps, values(&weight), values(&bias));
    let mut y = buffer(x.shape().num_elements());
    channels.forward(then, values(&x), residual.as_ref().map(values), &mut y);
    let y = tensor("batch_norm", device, y, *x.shape())?;
    if T::OWNS_TAPE {
        let y = y.clone();
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
