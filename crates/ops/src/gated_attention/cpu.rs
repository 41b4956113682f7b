//! The kernel of gated positional self-attention tied into dfdx's tape.

use dfdx::prelude::{Cpu, HasShape, PutTape, Shape, SplitTape, Tape};

use super::{
    GatedSelfAttentionWeights, Grid, PositionalGate,
    kernel::{Maps, Position, maps},
};
use crate::{
    Branch, Result,
    attention::{
        AttentionDims, Gate, HeldOutput, Kept, Layer, Projection, Readout, backward, forward, give_bias,
        held_output, take_bias,
    },
    tape::{
        Borrowed, Rank1, Rank2, Rank3, Tokens, buffer, check_parameters, contiguous, gradient_of, held,
        is_contiguous, take_gradient, tensor, values,
    },
};

/// The parameters, held for the backward pass.
pub(crate) struct Parameters {
    qk: Rank3,
    qk_bias: Option<Rank2>,
    v: Rank2,
    v_bias: Option<Rank1>,
    output: HeldOutput,
    weight: Rank2,
    bias: Rank1,
    gating: Rank1,
}

impl Parameters {
    /// # Errors
    /// A tensor that is not contiguous.
    pub(crate) fn new<const C: usize, const H: usize>(
        weights: &GatedSelfAttentionWeights<'_, C, H, f32, Cpu>,
        branch: Option<Branch<'_, C, f32, Cpu>>,
    ) -> Result<Self> {
        let PositionalGate { weight, bias, gating } = weights.gate;
        let output = held_output("gated_self_attention", weights.proj, weights.proj_bias, branch)?;
        let held = Self {
            qk: held(weights.qk),
            qk_bias: weights.qk_bias.map(held),
            v: held(weights.v),
            v_bias: weights.v_bias.map(held),
            output,
            weight: held(weight),
            bias: held(bias),
            gating: held(gating),
        };
        let packed = is_contiguous(&held.qk) && held.qk_bias.as_ref().is_none_or(is_contiguous);
        let value = is_contiguous(&held.v) && held.v_bias.as_ref().is_none_or(is_contiguous);
        let gate = is_contiguous(&held.weight) && is_contiguous(&held.bias) && is_contiguous(&held.gating);
        check_parameters("gated_self_attention", &[packed, value, gate])?;
        Ok(held)
    }

    fn projections(&self, width: usize) -> [Projection<'_>; 2] {
        let project = |first, weight, bias| Projection { first, weight, bias, tokens: Readout::All };
        [
            project(0, values(&self.qk), self.qk_bias.as_ref().map(values)),
            project(2 * width, values(&self.v), self.v_bias.as_ref().map(values)),
        ]
    }

    fn maps(&self, grid: Grid) -> Maps {
        maps(Position {
            grid,
            weight: values(&self.weight),
            bias: values(&self.bias),
            gating: values(&self.gating),
        })
    }

    fn layer<'a>(&'a self, dims: AttentionDims, parts: &'a [Projection<'a>], maps: &'a Maps) -> Layer<'a> {
        let gate = Some(Gate { maps: &maps.maps, shares: &maps.shares });
        Layer { gate, ..self.output.layer(dims, Readout::All, parts) }
    }
}

pub(crate) fn on_cpu<T: Tape<f32, Cpu>>(
    device: &Cpu,
    dims: AttentionDims,
    grid: Grid,
    x: Tokens<T>,
    parameters: Parameters,
) -> Result<Tokens<T>> {
    let x = contiguous("gated_self_attention", x)?;
    let (x, mut tape) = x.split_tape();
    let maps = parameters.maps(grid);
    let parts = parameters.projections(dims.width());
    let layer = parameters.layer(dims, &parts, &maps);
    let mut y = buffer(x.shape().num_elements());
    let mut kept = T::OWNS_TAPE.then(|| Kept::new(&layer));
    forward(&layer, values(&x), kept.as_mut(), &mut y);
    let y = tensor("gated_self_attention", device, y, *x.shape())?;
    if let Some(kept) = kept {
        let y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, &y)?;
            drop(y);
            let p = &parameters;
            let mut dqk = Borrowed::take(gradients, &p.qk)?;
            let mut dqk_bias = take_bias(p.qk_bias.as_ref(), gradients)?;
            let mut dv = Borrowed::take(gradients, &p.v)?;
            let mut dv_bias = take_bias(p.v_bias.as_ref(), gradients)?;
            let mut taken = p.output.take(gradients)?;
            let (mut dmaps, mut dshares) = (vec![0.0; maps.maps.len()], vec![0.0; dims.heads]);
            let mut sums = vec![&mut dqk.0[..], &mut dv.0[..], &mut taken.weight.0[..]];
            sums.extend(dqk_bias.iter_mut().chain(&mut dv_bias).map(|d| &mut d.0[..]));
            sums.push(&mut taken.bias.0);
            sums.extend(taken.norm.iter_mut().map(|d| &mut d.0[..]));
            sums.extend([&mut dmaps[..], &mut dshares[..]]);
            let parts = p.projections(dims.width());
            let dx = gradient_of(gradients, &x)?;
            backward(&p.layer(dims, &parts, &maps), values(&x), &kept, &dy, dx, sums);
            dqk.give(gradients, &p.qk)?;
            give_bias(p.qk_bias.as_ref(), dqk_bias, gradients)?;
            dv.give(gradients, &p.v)?;
            give_bias(p.v_bias.as_ref(), dv_bias, gradients)?;
            p.output.give(taken, gradients)?;
            let mut dweight = Borrowed::take(gradients, &p.weight)?;
            let mut dbias = Borrowed::take(gradients, &p.bias)?;
            let mut dgating = Borrowed::take(gradients, &p.gating)?;
            maps.backward(&dmaps, &dshares, [&mut dweight.0, &mut dbias.0, &mut dgating.0]);
            dweight.give(gradients, &p.weight)?;
            dbias.give(gradients, &p.bias)?;
            dgating.give(gradients, &p.gating)
        });
    }
    Ok(y.put_tape(tape))
}
