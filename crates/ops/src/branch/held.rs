//! A branch's tensors, held on the CPU for the backward pass.

use dfdx::{
    prelude::{Cpu, Gradients, Rank1, Tensor},
    tensor::CpuError,
};

use super::{Branch, Slices};
use crate::tape::{Borrowed, is_contiguous, values};

/// A [`Branch`] that owns what it points to.
pub(crate) struct Held<const C: usize> {
    weight: Tensor<Rank1<C>, f32, Cpu>,
    bias: Tensor<Rank1<C>, f32, Cpu>,
    eps: f32,
    scale: Option<Vec<f32>>,
}

impl<const C: usize> Held<C> {
    /// Whether kernels can read `branch`.
    pub(crate) fn can_hold(branch: Option<Branch<'_, C, f32, Cpu>>) -> bool {
        branch.is_none_or(|b| is_contiguous(b.weight) && is_contiguous(b.bias))
    }

    pub(crate) fn new(branch: Branch<'_, C, f32, Cpu>) -> Self {
        Self {
            weight: branch.weight.clone(),
            bias: branch.bias.clone(),
            eps: branch.eps as f32,
            scale: branch.scale.map(<[f32]>::to_vec),
        }
    }

    pub(crate) fn slices(&self) -> Slices<'_> {
        Slices {
            weight: values(&self.weight),
            bias: values(&self.bias),
            eps: self.eps,
            scale: self.scale.as_deref(),
        }
    }

    /// The gradients of weight and bias, taken out to be added to; none without a branch.
    pub(crate) fn take(
        branch: Option<&Self>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<Vec<Borrowed>, CpuError> {
        let Some(held) = branch else { return Ok(Vec::new()) };
        Ok(vec![Borrowed::take(gradients, &held.weight)?, Borrowed::take(gradients, &held.bias)?])
    }

    /// Gives back what [`Held::take`] took.
    pub(crate) fn give(
        branch: Option<&Self>,
        taken: Vec<Borrowed>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<(), CpuError> {
        let Some(held) = branch else { return Ok(()) };
        for (taken, of) in taken.into_iter().zip([&held.weight, &held.bias]) {
            taken.give(gradients, of)?;
        }
        Ok(())
    }
}
