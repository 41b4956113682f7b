//! Layer normalisation.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Launch, Scratch, small},
    operation::{Backward, Operation},
    pointer::Address,
    rows::parts,
};
use Argument::Address as At;

/// Inputs: x, weight, bias.
pub(super) struct LayerNorm {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) eps: f32,
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let statistics = gpu.scratch(2 * self.rows)?;
        let buffers = [inputs[0], inputs[1], inputs[2], y, statistics.address].map(At);
        let sizes = [small(self.rows), small(self.width), Argument::F32(self.eps)];
        gpu.warps("layer_norm_forward", self.rows, &[&buffers[..], &sizes].concat())?;
        Ok(vec![statistics])
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        const WARPS: usize = 8;
        let Backward { inputs, kept, dy, gradients } = pass;
        let (x, weight, statistics) = (inputs[0], inputs[1], kept[0].address);
        let [dx, dweight, dbias] = [0, 1, 2].map(|i| gradients[i].arguments());
        let sizes = [small(self.rows), small(self.width)];
        let buffers = [x, weight, statistics, dy].map(At);
        gpu.warps("layer_norm_backward", self.rows, &[&buffers[..], &dx, &sizes].concat())?;
        let parts = parts(self.rows);
        let sums = gpu.scratch(2 * parts * self.width)?;
        let grid = (self.width.div_ceil(32), parts);
        let launch = Launch { grid, threads: 32 * WARPS, shared_bytes: 4 * 2 * 32 * WARPS };
        let buffers = [x, statistics, dy, sums.address].map(At);
        gpu.launch("layer_norm_parameters", launch, &[&buffers[..], &sizes].concat())?;
        let launch = Launch { grid: (self.width.div_ceil(256), 1), threads: 256, shared_bytes: 0 };
        let of_parts = [At(sums.address), small(parts)];
        let arguments = [&of_parts[..], &dweight, &dbias, &[small(self.width)]].concat();
        gpu.launch("layer_norm_add_parts", launch, &arguments)
    }
}
