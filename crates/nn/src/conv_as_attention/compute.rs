//! What the layer computes: as convolution, and as attention.

use dfdx::prelude::*;
use inductive_ops::{Backend, Border, ContentWeights, ConvAsAttentionWeights, Grid, Window, erased, typed};

use super::{
    ConvAsAttention, GateForm, Operator, Positions, SwitchLayer,
    layer::{check_gates, elements, to_f64},
};
use crate::{
    Error, Result,
    mixer::{AttentionRecord, Layout, TokenMixer, Tokens},
    point::OperatorKind,
};

impl<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> ConvAsAttention<I, O, IG, K, H, QK, S, ZERO, BIAS, E, D>
{
    const BORDER: Border = if ZERO { Border::Zero } else { Border::Replicate };

    /// What it is at the moment; attention where its buffer says nothing known, with which it refuses to compute.
    pub fn kind(&self) -> OperatorKind {
        match self.operator() {
            Ok(Operator::Convolution) => OperatorKind::Convolution,
            _ => OperatorKind::Attention,
        }
    }

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid, `ceil(side / S)` on each side.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let device = x.device().clone();
        let (weight, of_weight) = self.full_weight::<T>()?;
        let (x, tape) = x.split_tape();
        let x = x.put_tape(tape.merge(of_weight));
        let bias = self.bias.as_ref();
        let form = match self.operator()? {
            Operator::Convolution if ZERO || K == 1 => {
                return Ok(device.conv2d(x, grid, &weight, bias, Window::square(K, S, K / 2))?);
            }
            Operator::Convolution => {
                let (x, grid) = device.replicate_pad(x, grid, K / 2)?;
                return Ok(device.conv2d(x, grid, &weight, bias, Window::square(K, S, 0))?);
            }
            Operator::Positional => None,
            Operator::Attention(form) => Some(form),
        };
        let content = form.map(|form| self.content(form)).transpose()?;
        let weights = ConvAsAttentionWeights { weight: &weight, bias, position: &self.pos_proj, content };
        Ok(device.conv_as_attention(x, grid, S, Self::BORDER, weights)?)
    }

    /// The maps that [`ConvAsAttention::apply`] uses, `[batch, H, queries, keys]`; of a convolution those of the attention that
    /// it equals.
    pub fn map(&self, x: &Tokens<I, E, D>, grid: Grid) -> Result<Vec<E>> {
        let device = x.device().clone();
        let operator = self.operator()?;
        let mut position = self.pos_proj.clone();
        if operator == Operator::Convolution {
            let rows = Positions::default().rows(K, 0).unwrap_or_default();
            position.copy_from(&elements(&rows));
        }
        let content = match operator {
            Operator::Attention(form) => Some(self.content(form)?),
            Operator::Convolution | Operator::Positional => None,
        };
        Ok(device.conv_as_attention_map(x, grid, S, Self::BORDER, &position, content)?.as_vec())
    }

    fn content(&self, form: GateForm) -> Result<ContentWeights<'_, I, H, QK, E, D>> {
        let sigmoid = form == GateForm::Sigmoid;
        if !sigmoid {
            check_gates(&to_f64(&self.gate.as_vec()))?;
        }
        Ok(ContentWeights { gate: &self.gate, sigmoid, qk: &self.qk })
    }

    /// The weight with zeros between groups, and the tape of that.
    #[allow(clippy::type_complexity)]
    fn full_weight<T: Tape<E, D>>(&self) -> Result<(Tensor<Rank4<O, I, K, K>, E, D>, T)> {
        if I == IG {
            return Ok((self.weight.clone().realize(), T::default()));
        }
        let weight = erased(self.weight.retaped::<T>());
        let full = block_diagonal(weight, I / IG).map_err(|e| Error::device("ConvAsAttention", e))?;
        Ok(typed("ConvAsAttention", full)?.split_tape())
    }
}

/// The weight of `groups` groups, `[O, I / groups, K, K]`, as one of all channels, `[O, I, K, K]`, with zeros between groups.
#[allow(clippy::type_complexity)]
fn block_diagonal<E: Dtype, D: Backend<E>, T: Tape<E, D>>(
    weight: Tensor<(usize, usize, usize, usize), E, D, T>,
    groups: usize,
) -> Result<Tensor<(usize, usize, usize, usize), E, D, T>, D::Err> {
    let (outer, inner, rows, columns) = *weight.shape();
    let shape = (outer, groups, inner, rows * columns);
    let mask = (0..outer * groups)
        .map(|n| if n / groups / (outer / groups) == n % groups { E::ONE } else { E::default() });
    let mask: Tensor<(usize, usize), E, D> =
        weight.device().try_tensor_from_vec(mask.collect(), (outer, groups))?;
    let blocks = weight.try_reshape_like(&(outer, inner, rows * columns))?;
    let blocks = blocks.try_broadcast_like::<_, Axis<1>>(&shape)?;
    let full = blocks.try_mul(mask.try_broadcast_like::<_, Axes2<2, 3>>(&shape)?)?;
    full.try_reshape_like(&(outer, groups * inner, rows, columns))
}

impl<
    const C: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const ZERO: bool,
    const BIAS: bool,
    E: Dtype,
    D: Backend<E>,
> TokenMixer<C, E, D> for ConvAsAttention<C, C, IG, K, H, QK, 1, ZERO, BIAS, E, D>
{
    const PATH: &'static str = "mixer";
    fn operator_kind(&self) -> OperatorKind {
        self.kind()
    }

    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>> {
        check(tokens.shape().1, layout)?;
        Ok(self.apply(tokens, layout.grid)?.0)
    }

    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        check(tokens.shape().1, layout)?;
        let map = self.map(tokens, layout.grid)?;
        let (batch, gates) = (tokens.shape().0, Some(SwitchLayer::gates(self)?));
        Ok(Some(AttentionRecord { map, batch, heads: H, layout: *layout, gates }))
    }
}

fn check(count: usize, layout: &Layout) -> Result<()> {
    if layout.prefix > 0 || count != layout.tokens() {
        let expected =
            format!("{} patch tokens of a {} grid and no class token", layout.grid.tokens(), layout.grid);
        let got = format!("{count} tokens, {} in front", layout.prefix);
        return Err(Error::shape("ConvAsAttention", expected, got));
    }
    Ok(())
}
