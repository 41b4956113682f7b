//! The MLP's kernel tied into dfdx's tape.

use dfdx::prelude::*;

use super::{
    Dims, MlpWeights,
    kernel::{Kept, Weights, backward, forward},
};
use crate::{
    Branch, Result,
    branch::{self, Held},
    tape::{
        Borrowed, buffer, check_parameters, contiguous, gradient_of, is_contiguous, take_gradient, tensor,
        values,
    },
};

/// The parameters, held for the backward pass.
struct Parameters<const C: usize, const HIDDEN: usize> {
    weight1: Tensor<Rank2<HIDDEN, C>, f32, Cpu>,
    bias1: Tensor<Rank1<HIDDEN>, f32, Cpu>,
    weight2: Tensor<Rank2<C, HIDDEN>, f32, Cpu>,
    bias2: Tensor<Rank1<C>, f32, Cpu>,
    branch: Option<Held<C>>,
}

impl<const C: usize, const HIDDEN: usize> Parameters<C, HIDDEN> {
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

pub(crate) fn on_cpu<S: Shape, const C: usize, const HIDDEN: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    x: Tensor<S, f32, Cpu, T>,
    weights: MlpWeights<'_, C, HIDDEN, f32, Cpu>,
    branch: Option<Branch<'_, C, f32, Cpu>>,
) -> Result<Tensor<S, f32, Cpu, T>> {
    let shape = *x.shape();
    let dims = Dims::new::<S, C, HIDDEN>(&shape)?;
    branch::check(&shape, branch.as_ref())?;
    let MlpWeights { weight1, bias1, weight2, bias2 } = weights;
    let first = is_contiguous(weight1) && is_contiguous(bias1);
    let second = is_contiguous(weight2) && is_contiguous(bias2);
    check_parameters("mlp", &[first, second, Held::can_hold(branch)])?;
    let x = contiguous("mlp", x)?;
    let (x, mut tape) = x.split_tape();
    let parameters = Parameters {
        weight1: weight1.clone(),
        bias1: bias1.clone(),
        weight2: weight2.clone(),
        bias2: bias2.clone(),
        branch: branch.map(Held::new),
    };
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
