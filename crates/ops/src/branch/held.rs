//! A branch's tensors, held on the CPU for the backward pass.

use dfdx::{
    prelude::{Cpu, Gradients},
    tensor::CpuError,
};

use super::{Branch, Slices};
use crate::{
    Result,
    tape::{Borrowed, Rank1, check_parameters, held, is_contiguous, values},
};

/// A [`Branch`] that owns what it points to.
pub(crate) struct Held {
    weight: Rank1,
    bias: Rank1,
    eps: f32,
    scale: Option<Vec<f32>>,
}

impl Held {
    /// # Errors
    /// A parameter that is not contiguous.
    pub(crate) fn new<const C: usize>(op: &'static str, branch: Branch<'_, C, f32, Cpu>) -> Result<Self> {
        let held = Self {
            weight: held(branch.weight),
            bias: held(branch.bias),
            eps: branch.eps as f32,
            scale: branch.scale.map(<[f32]>::to_vec),
        };
        check_parameters(op, &[is_contiguous(&held.weight), is_contiguous(&held.bias)])?;
        Ok(held)
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
