//! The kernel of self-attention tied into dfdx's tape.

use dfdx::{
    prelude::{Const, Cpu, Gradients, HasShape, PutTape, Rank1, Rank2, Rank3, SplitTape, Tape, Tensor},
    tensor::CpuError,
};

use super::{
    AttentionDims, Kept, Layer, Projection, Readout, SelfAttentionWeights, backward, check, forward,
};
use crate::{
    Branch, Result,
    branch::Held,
    tape::{
        Borrowed, CpuTensor, buffer, check_parameters, contiguous, gradient_of, is_contiguous, take_gradient,
        tensor, values,
    },
};

/// The output projection and the branch of an attention layer, held for the backward pass.
pub(crate) struct HeldOutput<const C: usize> {
    weight: Tensor<Rank2<C, C>, f32, Cpu>,
    bias: Tensor<Rank1<C>, f32, Cpu>,
    branch: Option<Held<C>>,
}

/// See [`HeldOutput`].
///
/// # Errors
/// A tensor that is not contiguous.
pub(crate) fn held_output<const C: usize>(
    op: &'static str,
    weight: &Tensor<Rank2<C, C>, f32, Cpu>,
    bias: &Tensor<Rank1<C>, f32, Cpu>,
    branch: Option<Branch<'_, C, f32, Cpu>>,
) -> Result<HeldOutput<C>> {
    check_parameters(op, &[is_contiguous(weight), is_contiguous(bias), Held::can_hold(branch)])?;
    Ok(HeldOutput { weight: weight.clone(), bias: bias.clone(), branch: branch.map(Held::new) })
}

/// The gradients of a [`HeldOutput`], taken out to be added to.
pub(crate) struct Taken {
    pub(crate) weight: Borrowed,
    pub(crate) bias: Borrowed,
    pub(crate) norm: Vec<Borrowed>,
}

impl<const C: usize> HeldOutput<C> {
    /// The layer with these projections and without a gate.
    pub(crate) fn layer<'a>(
        &'a self,
        dims: AttentionDims,
        readout: Readout,
        projections: &'a [Projection<'a>],
    ) -> Layer<'a> {
        let (weight, bias) = (values(&self.weight), values(&self.bias));
        let branch = self.branch.as_ref().map(Held::slices);
        Layer { dims, readout, projections, weight, bias, gate: None, branch }
    }

    pub(crate) fn take(&self, gradients: &mut Gradients<f32, Cpu>) -> Result<Taken, CpuError> {
        Ok(Taken {
            weight: Borrowed::take(gradients, &self.weight)?,
            bias: Borrowed::take(gradients, &self.bias)?,
            norm: Held::take(self.branch.as_ref(), gradients)?,
        })
    }

    pub(crate) fn give(&self, taken: Taken, gradients: &mut Gradients<f32, Cpu>) -> Result<(), CpuError> {
        taken.weight.give(gradients, &self.weight)?;
        taken.bias.give(gradients, &self.bias)?;
        Held::give(self.branch.as_ref(), taken.norm, gradients)
    }
}

/// The projections to q, k and v: one for all tokens, or of the first token's query apart.
fn projections<'a>(
    readout: Readout,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    width: usize,
) -> Vec<Projection<'a>> {
    match readout {
        Readout::All => vec![Projection { first: 0, weight, bias, tokens: Readout::All }],
        Readout::First => {
            let (query, rest) = weight.split_at(width * width);
            let (query_bias, rest_bias) = bias.map(|b| b.split_at(width)).unzip();
            vec![
                Projection { first: 0, weight: query, bias: query_bias, tokens: Readout::First },
                Projection { first: width, weight: rest, bias: rest_bias, tokens: Readout::All },
            ]
        }
    }
}

/// The gradient of a bias that may not be there, taken out to be added to.
pub(crate) fn take_bias<S: dfdx::shapes::Shape>(
    bias: Option<&CpuTensor<S>>,
    gradients: &mut Gradients<f32, Cpu>,
) -> Result<Option<Borrowed>, CpuError> {
    bias.map(|bias| Borrowed::take(gradients, bias)).transpose()
}

/// Gives back what [`take_bias`] took.
pub(crate) fn give_bias<S: dfdx::shapes::Shape>(
    bias: Option<&CpuTensor<S>>,
    taken: Option<Borrowed>,
    gradients: &mut Gradients<f32, Cpu>,
) -> Result<(), CpuError> {
    match (bias, taken) {
        (Some(bias), Some(taken)) => taken.give(gradients, bias),
        _ => Ok(()),
    }
}

pub(crate) fn on_cpu<const C: usize, T: Tape<f32, Cpu>>(
    device: &Cpu,
    heads: usize,
    x: Tensor<(usize, usize, Const<C>), f32, Cpu, T>,
    weights: SelfAttentionWeights<'_, C, f32, Cpu>,
    readout: Readout,
    branch: Option<Branch<'_, C, f32, Cpu>>,
) -> Result<Tensor<(usize, usize, Const<C>), f32, Cpu, T>> {
    let dims = check(heads, x.shape(), branch.as_ref())?;
    let SelfAttentionWeights { qkv, qkv_bias, proj, proj_bias } = weights;
    check_parameters("self_attention", &[is_contiguous(qkv), qkv_bias.is_none_or(is_contiguous)])?;
    let output = held_output("self_attention", proj, proj_bias, branch)?;
    let x = contiguous("self_attention", x)?;
    let (qkv, qkv_bias): (Tensor<Rank3<3, C, C>, f32, Cpu>, _) = (qkv.clone(), qkv_bias.cloned());
    let (x, mut tape) = x.split_tape();
    let parts = projections(readout, values(&qkv), qkv_bias.as_ref().map(values), C);
    let layer = output.layer(dims, readout, &parts);
    let queries = layer.queries();
    let mut y = buffer(dims.batch * queries * C);
    let mut kept = T::OWNS_TAPE.then(|| Kept::new(&layer));
    forward(&layer, values(&x), kept.as_mut(), &mut y);
    let y = tensor("self_attention", device, y, (dims.batch, queries, Const))?;
    if let Some(kept) = kept {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let mut dqkv = Borrowed::take(gradients, &qkv)?;
            let mut dbias = take_bias(qkv_bias.as_ref(), gradients)?;
            let mut taken = output.take(gradients)?;
            let parts = projections(readout, values(&qkv), qkv_bias.as_ref().map(values), C);
            // The parts of the packed gradients lie one after the other, as those of the weights.
            let mut sums = vec![&mut dqkv.0[..], &mut taken.weight.0[..]];
            sums.extend(dbias.iter_mut().map(|d| &mut d.0[..]));
            sums.push(&mut taken.bias.0);
            sums.extend(taken.norm.iter_mut().map(|d| &mut d.0[..]));
            let dx = gradient_of(gradients, &x)?;
            backward(&output.layer(dims, readout, &parts), values(&x), &kept, &dy, dx, sums);
            dqkv.give(gradients, &qkv)?;
            give_bias(qkv_bias.as_ref(), dbias, gradients)?;
            output.give(taken, gradients)
        });
    }
    Ok(y.put_tape(tape))
}
