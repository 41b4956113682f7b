//! The heads of self-attention and of gated positional self-attention.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Launch, NONE, Scratch, small},
    operation::{Backward, Gradient, Operation},
    pointer::Address,
};
use crate::{AttentionDims, Grid};
use Argument::{Address as At, U32};

/// Warps of a block: each has one query or key at a time.
const WARPS: usize = 8;

/// Whether keys and values of these sizes fit into a block's shared memory.
pub(super) fn fits(gpu: &Gpu, dims: &AttentionDims) -> bool {
    forward_bytes(dims).max(backward_bytes(dims)) <= gpu.shared_bytes
}

/// Numbers of one token: an odd count keeps a warp's lanes in banks of their own.
fn row(dims: &AttentionDims) -> usize {
    dims.head_dim | 1
}

fn forward_bytes(dims: &AttentionDims) -> usize {
    4 * (2 * dims.tokens * row(dims) + WARPS * (dims.tokens + dims.head_dim))
}

fn backward_bytes(dims: &AttentionDims) -> usize {
    4 * (4 * dims.tokens * row(dims) + (3 + 2 * WARPS) * dims.tokens)
}

/// Where queries, keys and values are.
struct Parts {
    q: Address,
    k: Address,
    v: Address,
    /// Numbers from token to token.
    qk_step: usize,
    v_step: usize,
}

/// Numbers of `count` floats further on.
fn after(address: Address, count: usize) -> Address {
    address + 4 * count as u64
}

/// Where their gradients are.
struct PartGradients {
    places: Parts,
    fresh_qk: bool,
    fresh_v: bool,
}

/// Of one packed input, q, k, v.
fn together(dims: &AttentionDims, qkv: Address) -> Parts {
    let width = dims.width();
    Parts { q: qkv, k: after(qkv, width), v: after(qkv, 2 * width), qk_step: 3 * width, v_step: 3 * width }
}

/// Of a packed input q, k, and one with v.
fn values_apart(dims: &AttentionDims, qk: Address, v: Address) -> Parts {
    let width = dims.width();
    Parts { q: qk, k: after(qk, width), v, qk_step: 2 * width, v_step: width }
}

/// The positional map and the gate's parameter.
type Gate = Option<(Address, Address)>;

fn of_gate(gate: Gate) -> [Argument; 2] {
    gate.map_or([NONE; 2], |(map, gating)| [At(map), At(gating)])
}

fn forward(
    gpu: &'static Gpu,
    dims: &AttentionDims,
    parts: &Parts,
    gate: Gate,
    y: Address,
) -> Result<Scratch, CudaError> {
    let statistics = gpu.scratch(2 * dims.batch * dims.heads * dims.tokens)?;
    let launch =
        Launch { grid: (dims.batch, dims.heads), threads: 32 * WARPS, shared_bytes: forward_bytes(dims) };
    let buffers = [parts.q, parts.k, parts.v, y, statistics.address].map(At);
    let sizes = [dims.tokens, dims.head_dim, parts.qk_step, parts.v_step].map(small);
    let scale = [Argument::F32(dims.scale as f32)];
    gpu.launch("attention_forward", launch, &[&buffers[..], &of_gate(gate), &sizes, &scale].concat())?;
    Ok(statistics)
}

/// With a gate, returns the sums over images that its gradients come from, and how many there are.
fn backward(
    gpu: &'static Gpu,
    dims: &AttentionDims,
    (parts, gradients): (&Parts, &PartGradients),
    gate: Gate,
    statistics: Address,
    dy: Address,
) -> Result<Option<(Scratch, Scratch, usize)>, CudaError> {
    // Without a gate, a block for each image; with one, fewer, as each has a map of its own to sum.
    let groups = if gate.is_some() { dims.batch.min(64) } else { dims.batch };
    let sums = match gate {
        Some(_) => {
            let maps = gpu.scratch(groups * dims.heads * dims.tokens * dims.tokens)?;
            Some((maps, gpu.scratch(groups * dims.heads)?, groups))
        }
        None => None,
    };
    let of_sums = sums.as_ref().map_or([NONE; 2], |(maps, gates, _)| [At(maps.address), At(gates.address)]);
    let launch =
        Launch { grid: (groups, dims.heads), threads: 32 * WARPS, shared_bytes: backward_bytes(dims) };
    let buffers = [parts.q, parts.k, parts.v, dy, statistics].map(At);
    let PartGradients { places, fresh_qk, fresh_v } = gradients;
    let of_gradients =
        [At(places.q), At(places.k), U32((*fresh_qk).into()), At(places.v), U32((*fresh_v).into())];
    let sizes = [dims.batch, dims.tokens, dims.head_dim, parts.qk_step, parts.v_step].map(small);
    let scale = [Argument::F32(dims.scale as f32)];
    let arguments = [&buffers[..], &of_gate(gate), &of_gradients, &of_sums, &sizes, &scale].concat();
    gpu.launch("attention_backward", launch, &arguments)?;
    Ok(sums)
}

/// Input: `qkv: [batch, tokens, 3, C]`.
pub(super) struct Heads(pub(super) AttentionDims);

impl Operation for Heads {
    fn name(&self) -> &'static str {
        "attention_heads"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        Ok(vec![forward(gpu, &self.0, &together(&self.0, inputs[0]), None, y)?])
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let Gradient { address, fresh } = pass.gradients[0];
        let places = together(&self.0, address);
        let gradients = PartGradients { places, fresh_qk: fresh, fresh_v: fresh };
        let parts = (&together(&self.0, pass.inputs[0]), &gradients);
        backward(gpu, &self.0, parts, None, pass.kept[0].address, pass.dy).map(|_| ())
    }
}

/// Inputs: `qk: [batch, tokens, 2, C]`, `v: [batch, tokens, C]`, the position's weight and bias, the gate's parameter.
pub(super) struct GatedHeads {
    pub(super) dims: AttentionDims,
    pub(super) grid: Grid,
}

impl GatedHeads {
    fn sizes(&self) -> [Argument; 2] {
        [small(self.dims.tokens), small(self.grid.cols)]
    }
}

impl Operation for GatedHeads {
    fn name(&self) -> &'static str {
        "gated_self_attention"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let dims = &self.dims;
        let &[qk, v, weight, bias, gating] = inputs else { unreachable!("five inputs") };
        let rows = dims.heads * dims.tokens;
        let map = gpu.scratch(rows * dims.tokens)?;
        let arguments =
            [&[weight, bias, map.address].map(At)[..], &[small(dims.heads)], &self.sizes()].concat();
        gpu.warps("position_forward", rows, &arguments)?;
        let gate = Some((map.address, gating));
        let statistics = forward(gpu, dims, &values_apart(dims, qk, v), gate, y)?;
        Ok(vec![statistics, map])
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let Backward { inputs, kept, dy, gradients } = pass;
        let dims = &self.dims;
        let (&[qk, v, _, _, gating], &[dqk, dv, dweight, dbias, dgating]) = (inputs, gradients) else {
            unreachable!("five inputs")
        };
        let [statistics, map] = [kept[0].address, kept[1].address];
        let places = values_apart(dims, dqk.address, dv.address);
        let of_parts = PartGradients { places, fresh_qk: dqk.fresh, fresh_v: dv.fresh };
        let parts = (&values_apart(dims, qk, v), &of_parts);
        let Some((maps, gates, groups)) = backward(gpu, dims, parts, Some((map, gating)), statistics, dy)?
        else {
            return Ok(());
        };
        let launch = Launch {
            grid: (dims.heads, 1),
            threads: 32 * WARPS,
            shared_bytes: 4 * WARPS * (4 + dims.tokens),
        };
        let buffers = [map, gating, maps.address, gates.address].map(At);
        let of_gradients = [dweight, dbias, dgating].map(Gradient::arguments);
        let arguments = [&buffers[..], &[small(groups)], of_gradients.as_flattened(), &self.sizes()].concat();
        gpu.launch("position_backward", launch, &arguments)
    }
}
