//! A token mixer without attention: every token gets the mean of all.

use dfdx::prelude::*;
use inductive_nn::{Build, Fill, Layout, Linear, OperatorKind, Result, TokenMixer, Tokens, module};
use inductive_ops::{Backend, custom::run};

use crate::operation::AddMean;

/// `proj(v + share * mean of v)`, `v = W x`.
pub struct MeanMixer<const C: usize, E: Dtype, D: Device<E>> {
    /// `[C, C]`
    pub value: Linear<C, C, false, E, D>,
    /// `[C]`
    pub share: Tensor<Rank1<C>, E, D>,
    /// `[C, C]` and `[C]`
    pub proj: Linear<C, C, true, E, D>,
}

module!([const C: usize] MeanMixer<C, E, D> { value, share, proj });

impl<const C: usize, E: Dtype, D: Backend<E>> Build<E, D> for MeanMixer<C, E, D> {
    fn new(device: &D) -> Result<Self> {
        let share = Fill::Normal(0.5).tensor(device, (Const,))?;
        Ok(Self { value: Build::new(device)?, share, proj: Build::new(device)? })
    }
}

impl<const C: usize> TokenMixer<C, f32, Cpu> for MeanMixer<C, f32, Cpu> {
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Attention
    }

    fn mix<T: Tape<f32, Cpu>>(
        &self,
        tokens: Tokens<C, f32, Cpu, T>,
        _: &Layout,
    ) -> Result<Tokens<C, f32, Cpu, T>> {
        let values = self.value.apply(tokens)?;
        let shape = *values.shape();
        self.proj.apply(run(AddMean, values, &[&self.share], shape)?)
    }
}
