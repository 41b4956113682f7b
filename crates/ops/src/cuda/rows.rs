//! Operations on each number or each row, and sums over rows.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Launch, NONE, Scratch, large, small},
    operation::{Backward, Gradient, Operation},
    pointer::Address,
};
use Argument::Address as At;

/// Parts that sums over rows are made in: enough blocks for the device, and few partial sums.
pub(super) fn parts(rows: usize) -> usize {
    rows.div_ceil(64).clamp(1, 64)
}

/// Adds the sum over the rows of `x: [rows, columns]` to a gradient.
pub(super) fn add_column_sums(
    gpu: &'static Gpu,
    x: Address,
    (rows, columns): (usize, usize),
    to: Gradient,
) -> Result<(), CudaError> {
    const WARPS: usize = 8;
    let parts = parts(rows);
    let sums = gpu.scratch(parts * columns)?;
    let launch =
        Launch { grid: (columns.div_ceil(32), parts), threads: 32 * WARPS, shared_bytes: 4 * 32 * WARPS };
    gpu.launch("column_sums", launch, &[At(x), At(sums.address), large(rows), small(columns)])?;
    let of_parts = [At(sums.address), small(parts)];
    gpu.each("add_parts", columns, &[&of_parts[..], &to.arguments()].concat())
}

/// An operation on each of so many numbers.
pub(super) struct Each {
    pub(super) name: &'static str,
    /// `f(x, y, count)` and `f(x, dy, dx, fresh, count)`.
    pub(super) kernels: (&'static str, &'static str),
    pub(super) count: usize,
}

impl Operation for Each {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        gpu.each(self.kernels.0, self.count, &[At(inputs[0]), At(y)])?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let arguments = [&[At(pass.inputs[0]), At(pass.dy)][..], &pass.gradients[0].arguments()].concat();
        gpu.each(self.kernels.1, self.count, &arguments)
    }
}

/// `residual + scale[b] * branch`. Inputs: branch, residual and, where samples have factors, these.
pub(super) struct AddResidual {
    pub(super) batch: usize,
    pub(super) sample: usize,
}

fn scale(inputs: &[Address]) -> Argument {
    inputs.get(2).map_or(NONE, |it| At(*it))
}

impl Operation for AddResidual {
    fn name(&self) -> &'static str {
        "add_residual"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let arguments = [At(inputs[0]), At(inputs[1]), scale(inputs), At(y), large(self.sample)];
        gpu.each("residual_forward", self.batch * self.sample, &arguments)?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let [branch, residual] = [0, 1].map(|i| pass.gradients[i].arguments());
        let arguments =
            [&[At(pass.dy), scale(pass.inputs)][..], &branch, &residual, &[large(self.sample)]].concat();
        gpu.each("residual_backward", self.batch * self.sample, &arguments)
    }

    fn wants(&self, input: usize) -> bool {
        input < 2
    }
}

/// Cross-entropy with soft targets. Inputs: logits, targets.
pub(super) struct CrossEntropy {
    pub(super) rows: usize,
    pub(super) classes: usize,
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let (losses, gradient) = (gpu.scratch(self.rows)?, gpu.scratch(self.rows * self.classes)?);
        let arguments = [
            At(inputs[0]),
            At(inputs[1]),
            At(losses.address),
            At(gradient.address),
            small(self.rows),
            small(self.classes),
        ];
        gpu.warps("cross_entropy_forward", self.rows, &arguments)?;
        let launch = Launch { grid: (1, 1), threads: 256, shared_bytes: 4 * 8 };
        gpu.launch("mean_of", launch, &[At(losses.address), At(y), small(self.rows)])?;
        Ok(vec![gradient])
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let buffers = [At(pass.kept[0].address), At(pass.dy)];
        let arguments = [&buffers[..], &pass.gradients[0].arguments()].concat();
        gpu.each("accumulate_scaled", self.rows * self.classes, &arguments)
    }

    fn wants(&self, input: usize) -> bool {
        input == 0
    }
}
