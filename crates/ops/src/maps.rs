//! Attention maps on the CPU, for inspection: the compositions, compiled here once and not by everybody who asks.

use dfdx::prelude::{Cpu, ReshapeTo, Tensor};

use crate::{
    AttentionDims, Error, Grid, Result, attention, conv_as_attention, gated_attention,
    tape::{CpuTensor, Rank1, Rank2, Rank3},
};

/// `[batch, heads, queries, keys]`
type Maps = CpuTensor<(usize, usize, usize, usize)>;

pub(crate) fn of_attention(dims: AttentionDims, qkv: Rank1) -> Result<Maps> {
    attention::map(dims, qkv, 3).map(|(map, _)| map).map_err(|e| Error::device("attention_map", e))
}

pub(crate) fn of_gated_attention(
    dims: AttentionDims,
    grid: Grid,
    qk: Rank1,
    gate: &gated_attention::HeldGate<f32, Cpu>,
) -> Result<Maps> {
    gated_attention::map(dims, grid, qk, gate).map_err(|e| Error::device("gated_attention_map", e))
}

pub(crate) fn of_conv_as_attention(
    dims: conv_as_attention::Dims,
    x: Rank3,
    position: &Rank2,
    content: Option<conv_as_attention::HeldContent<f32, Cpu>>,
) -> Result<Maps> {
    conv_as_attention::map(dims, x, position, content)
        .and_then(Tensor::try_contiguous)
        .map_err(|e| Error::device("conv_as_attention_map", e))
}
