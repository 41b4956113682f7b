//! The kernel of self-attention tied into dfdx's tape.

use dfdx::{
    prelude::{Cpu, Gradients, PutTape, SplitTape, Tape, Tensor},
    tensor::CpuError,
};

use super::{AttentionDims, Kept, Layer, Projection, Readout, SelfAttentionWeights, backward, forward};
use crate::{
    Branch, Result,
    branch::Held,
    tape::{
        Borrowed, CpuTensor, Rank1, Rank2, Rank3, Tokens, buffer, check_parameters, contiguous, gradient_of,
        held, is_contiguous, take_gradient, tensor, values,
    },
};

/// The output projection and the branch of an attention layer, held for the backward pass.
pub(crate) struct HeldOutput {
    weight: Rank2,
    bias: Rank1,
    branch: Option<Held>,
}

/// See [`HeldOutput`].
///
/// # Errors
/// A tensor that is not contiguous.
pub(crate) fn held_output<const C: usize>(
    op: &'static str,
    weight: &Tensor<dfdx::shapes::Rank2<C, C>, f32, Cpu>,
    bias: &Tensor<dfdx::shapes::Rank1<C>, f32, Cpu>,
    branch: Option<Branch<'_, C, f32, Cpu>>,
) -> Result<HeldOutput> {
    let branch = branch.map(|branch| Held::new(op, branch)).transpose()?;
    let output = HeldOutput { weight: held(weight), bias: held(bias), branch };
    check_parameters(op, &[is_contiguous(&output.weight), is_contiguous(&output.bias)])?;
    Ok(output)
}

/// The gradients of a [`HeldOutput`], taken out to be added to.
pub(crate) struct Taken {
    pub(crate) weight: Borrowed,
    pub(crate) bias: Borrowed,
    pub(crate) norm: Vec<Borrowed>,
}

impl HeldOutput {
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

/// The parameters, held for the backward pass.
pub(crate) struct Parameters {
    qkv: Rank3,
    qkv_bias: Option<Rank2>,
    output: HeldOutput,
}

impl Parameters {
    /// # Errors
    /// A parameter that is not contiguous.
    pub(crate) fn new<const C: usize>(
        weights: SelfAttentionWeights<'_, C, f32, Cpu>,
        branch: Option<Branch<'_, C, f32, Cpu>>,
    ) -> Result<Self> {
        let SelfAttentionWeights { qkv, qkv_bias, proj, proj_bias } = weights;
        let output = held_output("self_attention", proj, proj_bias, branch)?;
        let held = Self { qkv: held(qkv), qkv_bias: qkv_bias.map(held), output };
        let packed = is_contiguous(&held.qkv) && held.qkv_bias.as_ref().is_none_or(is_contiguous);
        check_parameters("self_attention", &[packed])?;
        Ok(held)
    }
}

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: AttentionDims,
    x: Tokens<T>,
    Parameters { qkv, qkv_bias, output }: Parameters,
    readout: Readout,
) -> Result<Tokens<T>> {
    let width = dims.width();
    let x = contiguous("self_attention", x)?;
    let (x, mut tape) = x.split_tape();
    let parts = projections(readout, values(&qkv), qkv_bias.as_ref().map(values), width);
    let layer = output.layer(dims, readout, &parts);
    let queries = layer.queries();
    let mut y = buffer(dims.batch * queries * width);
    let mut kept = T::OWNS_TAPE.then(|| Kept::new(&layer));
    forward(&layer, values(&x), kept.as_mut(), &mut y);
    let y = tensor("self_attention", device, y, (dims.batch, queries, width))?;
    if let Some(kept) = kept {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let mut dqkv = Borrowed::take(gradients, &qkv)?;
            let mut dbias = take_bias(qkv_bias.as_ref(), gradients)?;
            let mut taken = output.take(gradients)?;
            let parts = projections(readout, values(&qkv), qkv_bias.as_ref().map(values), width);
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
