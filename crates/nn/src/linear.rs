//! Linear layers with timm's initialisation: N(0, 0.02^2) weights, zero bias.

use dfdx::prelude::*;
use inductive_ops::Backend;

use crate::{
    Build, Fill, Result,
    init::{normal, zeros},
    mixer::Tokens,
    module,
};

/// `y = x W^T + b`, with or without bias (a type-level choice: it changes the set of parameters).
///
/// timm equivalent: `nn.Linear(I, O, bias=BIAS)` after `init_weights`.
#[derive(Clone, Debug)]
pub struct Linear<const I: usize, const O: usize, const BIAS: bool, E: Dtype, D: Device<E>> {
    /// `[O, I]`
    pub weight: Tensor<Rank2<O, I>, E, D>,
    /// `[O]`, present if `BIAS`.
    pub bias: Option<Tensor<Rank1<O>, E, D>>,
}

impl<const I: usize, const O: usize, const BIAS: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Linear<I, O, BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Linear<I, O, BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight =
            Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_with(normal));
        let bias = BIAS.then(|| {
            Self::tensor(
                "bias",
                |s| s.bias.as_ref().expect("BIAS is true"),
                |s| s.bias.as_mut().expect("BIAS is true"),
                TensorOptions::reset_with(zeros),
            )
        });
        let fields = (weight, bias.into_iter().collect::<Vec<_>>());
        visitor.visit_fields(fields, |(weight, bias)| Linear { weight, bias: bias.into_iter().next() })
    }
}

module!([const I: usize, const O: usize, const BIAS: bool] Linear<I, O, BIAS, E, D> { weight, bias });

impl<const I: usize, const O: usize, const BIAS: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for Linear<I, O, BIAS, E, D>
{
    fn new(device: &D) -> Result<Self> {
        let weight = Fill::LINEAR.tensor(device, (Const, Const))?;
        let bias = BIAS.then(|| Fill::ZEROS.tensor(device, (Const,))).transpose()?;
        Ok(Self { weight, bias })
    }
}

impl<const I: usize, const O: usize, const BIAS: bool, E: Dtype, D: Backend<E>> Linear<I, O, BIAS, E, D> {
    /// x: `[batch, tokens, I]`; result: `[batch, tokens, O]`.
    pub fn apply<T: Tape<E, D>>(&self, x: Tokens<I, E, D, T>) -> Result<Tokens<O, E, D, T>> {
        let (batch, tokens, _) = *x.shape();
        Ok(x.device().clone().linear(x, &self.weight, self.bias.as_ref(), (batch, tokens, Const))?)
    }

    /// x: `[batch, I]`; result: `[batch, O]`.
    pub fn apply_flat<T: Tape<E, D>>(
        &self,
        x: Tensor<(usize, Const<I>), E, D, T>,
    ) -> Result<Tensor<(usize, Const<O>), E, D, T>> {
        let (batch, _) = *x.shape();
        Ok(x.device().clone().linear(x, &self.weight, self.bias.as_ref(), (batch, Const))?)
    }
}

impl<const I: usize, const O: usize, E: Dtype, D: Device<E>> Linear<I, O, true, E, D> {
    /// `[O]`; there is one, as the type says.
    pub fn bias(&self) -> &Tensor<Rank1<O>, E, D> {
        self.bias.as_ref().expect("BIAS is true")
    }
}

/// `PARTS` projections of `C` to `C` channels in one matrix: queries and keys, or queries, keys and values.
///
/// timm equivalent: `nn.Linear(C, PARTS * C, bias=BIAS)`; a checkpoint holds `[PARTS * C, C]`.
#[derive(Clone, Debug)]
pub struct Packed<const PARTS: usize, const C: usize, const BIAS: bool, E: Dtype, D: Device<E>> {
    /// `[PARTS, C, C]`
    pub weight: Tensor<Rank3<PARTS, C, C>, E, D>,
    /// `[PARTS, C]`, present if `BIAS`.
    pub bias: Option<Tensor<Rank2<PARTS, C>, E, D>>,
}

impl<const PARTS: usize, const C: usize, const BIAS: bool, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Packed<PARTS, C, BIAS, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Packed<PARTS, C, BIAS, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight =
            Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, TensorOptions::reset_with(normal));
        let bias = BIAS.then(|| {
            Self::tensor(
                "bias",
                |s| s.bias.as_ref().expect("BIAS is true"),
                |s| s.bias.as_mut().expect("BIAS is true"),
                TensorOptions::reset_with(zeros),
            )
        });
        let fields = (weight, bias.into_iter().collect::<Vec<_>>());
        visitor.visit_fields(fields, |(weight, bias)| Packed { weight, bias: bias.into_iter().next() })
    }
}

module!([const PARTS: usize, const C: usize, const BIAS: bool] Packed<PARTS, C, BIAS, E, D> {
    weight as Stacked,
    bias as Stacked,
});

impl<const PARTS: usize, const C: usize, const BIAS: bool, E: Dtype, D: Backend<E>> Build<E, D>
    for Packed<PARTS, C, BIAS, E, D>
{
    fn new(device: &D) -> Result<Self> {
        let weight = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
        let bias = BIAS.then(|| Fill::ZEROS.tensor(device, (Const, Const))).transpose()?;
        Ok(Self { weight, bias })
    }
}

impl<const PARTS: usize, const C: usize, const BIAS: bool, E: Dtype, D: Backend<E>>
    Packed<PARTS, C, BIAS, E, D>
{
    /// x: `[batch, tokens, C]`; result: `[batch, tokens, PARTS, C]`.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
    ) -> Result<Tensor<(usize, usize, Const<PARTS>, Const<C>), E, D, T>> {
        let (batch, tokens, _) = *x.shape();
        Ok(x.device().clone().linear(x, &self.weight, self.bias.as_ref(), (batch, tokens, Const, Const))?)
    }
}
