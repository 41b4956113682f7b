//! Operations on the sequence of tokens.

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Scratch, large},
    operation::{Backward, Operation},
    pointer::Address,
    rows::add_column_sums,
};
use Argument::Address as At;

/// Adds a position embedding to every sample. Inputs: x, position.
pub(super) struct AddPosition {
    pub(super) batch: usize,
    pub(super) sample: usize,
}

impl Operation for AddPosition {
    fn name(&self) -> &'static str {
        "add_position"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let arguments = [At(inputs[0]), At(inputs[1]), At(y), large(self.sample)];
        gpu.each("rows_add", self.batch * self.sample, &arguments)?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let arguments = [&[At(pass.dy)][..], &pass.gradients[0].arguments()].concat();
        gpu.each("accumulate", self.batch * self.sample, &arguments)?;
        add_column_sums(gpu, pass.dy, (self.batch, self.sample), pass.gradients[1])
    }
}

/// A token in front of each sample. Inputs: x, token.
pub(super) struct PrependToken {
    pub(super) batch: usize,
    /// Numbers of a sample, and of a token.
    pub(super) sample: usize,
    pub(super) width: usize,
}

impl Operation for PrependToken {
    fn name(&self) -> &'static str {
        "prepend_token"
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let arguments = [At(inputs[0]), At(inputs[1]), At(y), large(self.sample), large(self.width)];
        gpu.each("prepend_forward", self.batch * (self.sample + self.width), &arguments)?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let [dx, dtoken] = [0, 1].map(|i| pass.gradients[i].arguments());
        let sizes = [large(self.sample), large(self.width)];
        let arguments = [&[At(pass.dy)][..], &dx, &dtoken, &sizes].concat();
        gpu.each("prepend_backward", self.batch * self.sample + self.width, &arguments)
    }
}

/// `factor` times the sum of some tokens of each sample: one of them, or a mean. Input: x.
pub(super) struct SumTokens {
    pub(super) name: &'static str,
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) width: usize,
    pub(super) first: usize,
    pub(super) taken: usize,
    pub(super) factor: f32,
}

impl SumTokens {
    fn sizes(&self) -> [Argument; 5] {
        let [tokens, width, first, taken] = [self.tokens, self.width, self.first, self.taken].map(large);
        [tokens, width, first, taken, Argument::F32(self.factor)]
    }
}

impl Operation for SumTokens {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, gpu: &'static Gpu, inputs: &[Address], y: Address) -> Result<Vec<Scratch>, CudaError> {
        let arguments = [&[At(inputs[0]), At(y)][..], &self.sizes()].concat();
        gpu.each("tokens_forward", self.batch * self.width, &arguments)?;
        Ok(Vec::new())
    }

    fn backward(&self, gpu: &'static Gpu, pass: Backward<'_>) -> Result<(), CudaError> {
        let arguments = [&[At(pass.dy)][..], &pass.gradients[0].arguments(), &self.sizes()].concat();
        gpu.each("tokens_backward", self.batch * self.tokens * self.width, &arguments)
    }
}
