//! The MLP's kernel tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, Shape, SplitTape, Tape, Tensor};

use super::{
    Dims, MlpWeights,
    kernel::{Kept, Weights, backward, forward},
};
use crate::{
    Branch, Result,
    branch::Held,
    tape::{
        Borrowed, Rank1, Rank2, buffer, check_parameters, contiguous, gradient_of, held, is_contiguous,
        take_gradient, tensor, values,
    },
};

/// The parameters, held for the backward pass.
pub(crate) struct Parameters {
    weight1: Rank2,
    bias1: Rank1,
    weight2: Rank2,
    bias2: Rank1,
    branch: Option<Held>,
}

impl Parameters {
    /// # Errors
    /// A parameter that is not contiguous.
    pub(crate) fn new<const C: usize, const HIDDEN: usize>(
        weights: MlpWeights<'_, C, HIDDEN, f32, Cpu>,
        branch: Option<Branch<'_, C, f32, Cpu>>,
    ) -> Result<Self> {
        let MlpWeights { weight1, bias1, weight2, bias2 } = weights;
        let branch = branch.map(|branch| Held::new("mlp", branch)).transpose()?;
        let held = Self {
            weight1: held(weight1),
            bias1: held(bias1),
            weight2: held(weight2),
            bias2: held(bias2),
            branch,
        };
        let first = is_contiguous(&held.weight1) && is_contiguous(&held.bias1);
        let second = is_contiguous(&held.weight2) && is_contiguous(&held.bias2);
        check_parameters("mlp", &[first, second])?;
        Ok(held)
    }

    fn weights(&self) -> Weights<'_> {
        Weights {
            weight1: values(&self.weight1),
            bias1: values(&self.bias1),
            weight2: values(&self.weight2),
            bias2: values(&self.bias2),
            branch: self.branch.as_ref().map(Held::slices),
        }
    }
}

pub(crate) fn on_cpu<S: Shape, T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: Dims,
    x: Tensor<S, f32, Cpu, T>,
    parameters: Parameters,
) -> Result<Tensor<S, f32, Cpu, T>> {
    let shape = *x.shape();
    let x = contiguous("mlp", x)?;
    let (x, mut tape) = x.split_tape();
    let mut y = buffer(shape.num_elements());
    let mut kept = T::OWNS_TAPE.then(|| Kept::new(dims, parameters.branch.is_some()));
    forward(dims, values(&x), parameters.weights(), kept.as_mut(), &mut y);
    let y = tensor("mlp", device, y, shape)?;
    if let Some(kept) = kept {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let Parameters { weight1, bias1, weight2, bias2, branch } = &parameters;
            let mut dweight1 = Borrowed::take(gradients, weight1)?;
            let mut dweight2 = Borrowed::take(gradients, weight2)?;
            let mut dbias1 = Borrowed::take(gradients, bias1)?;
            let mut dbias2 = Borrowed::take(gradients, bias2)?;
            let mut dnorm = Held::take(branch.as_ref(), gradients)?;
            let mut sums =
                vec![&mut dweight1.0[..], &mut dweight2.0[..], &mut dbias1.0[..], &mut dbias2.0[..]];
            sums.extend(dnorm.iter_mut().map(|d| &mut d.0[..]));
            let dx = gradient_of(gradients, &x)?;
            backward(dims, values(&x), &kept, parameters.weights(), &dy, dx, sums);
            dweight1.give(gradients, weight1)?;
            dweight2.give(gradients, weight2)?;
            dbias1.give(gradients, bias1)?;
            dbias2.give(gradients, bias2)?;
            Held::give(branch.as_ref(), dnorm, gradients)
        });
    }
    Ok(y.put_tape(tape))
}
