//! Residual blocks: two 3x3 convolutions, or a bottleneck around one.

use dfdx::prelude::*;
use inductive_attention::{OperatorKind, Tokens};
use inductive_ops::{Activation::Relu, Backend, Grid, Result};

use super::layers::{Conv, Convolution, Shortcut};
use crate::{
    batch_norm::{BatchNorm, BatchStatistics},
    switch::{Switches, SwitchesMut},
};

/// `relu(shortcut(x) + branch(x))`, where the branch ends in a batch normalisation whose weight begins at 0.
///
/// Its fields are visited in the order in which the forward pass uses their batch normalisations, shortcut first:
/// [`BatchStatistics`] depends on it.
pub trait ResidualBlock<const I: usize, const O: usize, E: Dtype, D: Backend<E>>:
    TensorCollection<E, D>
{
    /// Of its 3x3 convolution and its shortcut.
    const STRIDE: usize;

    /// What its 3x3 convolutions are at the moment.
    fn operator_kind(&self) -> OperatorKind;

    /// x: `[batch, grid.tokens(), I]`; result: `[batch, tokens, O]` and its grid. What is added to the shortcut goes to
    /// `branch` too, `[batch, tokens, O]`, if it is there.
    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        statistics: Option<&mut BatchStatistics<E>>,
        branch: Option<&mut Vec<E>>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)>;

    /// Its layers that can leave convolution, by their names in the block.
    fn switches(&self) -> Switches<'_>;

    /// The same, to be changed.
    fn switches_mut(&mut self) -> SwitchesMut<'_>;
}

/// `layers` without those that stay convolutions.
fn named<L>(layers: impl IntoIterator<Item = (&'static str, Option<L>)>) -> Vec<(String, L)> {
    layers.into_iter().filter_map(|(name, layer)| Some((name.to_owned(), layer?))).collect()
}

/// Two 3x3 convolutions, the first with stride `S`.
///
/// timm equivalent: `resnet.BasicBlock(I, O, stride=S)`; `SHORTCUT` is its `downsample`, `CONV1` and `CONV2` are the
/// convolutions, which may be such that can become attention.
#[derive(Clone, Debug)]
pub struct BasicBlock<
    const I: usize,
    const O: usize,
    const S: usize,
    SHORTCUT,
    E: Dtype,
    D: Device<E>,
    CONV1 = Conv<I, O, 3, S, E, D>,
    CONV2 = Conv<O, O, 3, 1, E, D>,
> {
    /// Beside the branch.
    pub downsample: SHORTCUT,
    /// `I` to `O` channels.
    pub conv1: CONV1,
    /// After `conv1`, before ReLU.
    pub bn1: BatchNorm<O, E, D>,
    /// `O` to `O` channels.
    pub conv2: CONV2,
    /// After `conv2`, before the sum.
    pub bn2: BatchNorm<O, E, D, true>,
}

impl<const I: usize, const O: usize, const S: usize, SHORTCUT, CONV1, CONV2, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for BasicBlock<I, O, S, SHORTCUT, E, D, CONV1, CONV2>
where
    SHORTCUT: TensorCollection<E, D>,
    CONV1: TensorCollection<E, D>,
    CONV2: TensorCollection<E, D>,
{
    type To<E2: Dtype, D2: Device<E2>> =
        BasicBlock<I, O, S, SHORTCUT::To<E2, D2>, E2, D2, CONV1::To<E2, D2>, CONV2::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("downsample", |s| &s.downsample, |s| &mut s.downsample),
                Self::module("conv1", |s| &s.conv1, |s| &mut s.conv1),
                Self::module("bn1", |s| &s.bn1, |s| &mut s.bn1),
                Self::module("conv2", |s| &s.conv2, |s| &mut s.conv2),
                Self::module("bn2", |s| &s.bn2, |s| &mut s.bn2),
            ),
            |(downsample, conv1, bn1, conv2, bn2)| BasicBlock { downsample, conv1, bn1, conv2, bn2 },
        )
    }
}

impl<const I: usize, const O: usize, const S: usize, SHORTCUT, CONV1, CONV2, E: Dtype, D: Backend<E>>
    ResidualBlock<I, O, E, D> for BasicBlock<I, O, S, SHORTCUT, E, D, CONV1, CONV2>
where
    SHORTCUT: Shortcut<I, O, E, D>,
    CONV1: Convolution<I, O, E, D>,
    CONV2: Convolution<O, O, E, D>,
{
    const STRIDE: usize = S;

    fn operator_kind(&self) -> OperatorKind {
        self.conv1.operator_kind().with(self.conv2.operator_kind())
    }

    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        mut statistics: Option<&mut BatchStatistics<E>>,
        branch: Option<&mut Vec<E>>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let (x, tape) = x.split_tape();
        let shortcut = self.downsample.apply(x.clone().put_tape(tape), grid, statistics.as_deref_mut())?;
        let (shortcut, tape) = shortcut.split_tape();
        let (x, grid) = self.conv1.convolve(x.put_tape(tape), grid)?;
        let x = self.bn1.apply(x, None, Relu, statistics.as_deref_mut())?;
        let (x, grid) = self.conv2.convolve(x, grid)?;
        if let Some(branch) = branch {
            *branch = self.bn2.values(&x, statistics.is_some())?;
        }
        Ok((self.bn2.apply(x, Some(&shortcut), Relu, statistics)?, grid))
    }

    fn switches(&self) -> Switches<'_> {
        named([("conv1", self.conv1.switch()), ("conv2", self.conv2.switch())])
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        named([("conv1", self.conv1.switch_mut()), ("conv2", self.conv2.switch_mut())])
    }
}

/// A 3x3 convolution with stride `S` on `MID` channels, between two that see single pixels.
///
/// timm equivalent: `resnet.Bottleneck(I, MID, stride=S)` with `O = 4 MID`; `SHORTCUT` is its `downsample`, `CONV2` its 3x3
/// convolution, which may be one that can become attention.
#[derive(Clone, Debug)]
pub struct Bottleneck<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    SHORTCUT,
    E: Dtype,
    D: Device<E>,
    CONV2 = Conv<MID, MID, 3, S, E, D>,
> {
    /// Beside the branch.
    pub downsample: SHORTCUT,
    /// `I` to `MID` channels.
    pub conv1: Conv<I, MID, 1, 1, E, D>,
    /// After `conv1`, before ReLU.
    pub bn1: BatchNorm<MID, E, D>,
    /// `MID` to `MID` channels.
    pub conv2: CONV2,
    /// After `conv2`, before ReLU.
    pub bn2: BatchNorm<MID, E, D>,
    /// `MID` to `O` channels.
    pub conv3: Conv<MID, O, 1, 1, E, D>,
    /// After `conv3`, before the sum.
    pub bn3: BatchNorm<O, E, D, true>,
}

impl<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    SHORTCUT,
    CONV2,
    E: Dtype,
    D: Device<E>,
> TensorCollection<E, D> for Bottleneck<I, MID, O, S, SHORTCUT, E, D, CONV2>
where
    SHORTCUT: TensorCollection<E, D>,
    CONV2: TensorCollection<E, D>,
{
    type To<E2: Dtype, D2: Device<E2>> =
        Bottleneck<I, MID, O, S, SHORTCUT::To<E2, D2>, E2, D2, CONV2::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("downsample", |s| &s.downsample, |s| &mut s.downsample),
                Self::module("conv1", |s| &s.conv1, |s| &mut s.conv1),
                Self::module("bn1", |s| &s.bn1, |s| &mut s.bn1),
                Self::module("conv2", |s| &s.conv2, |s| &mut s.conv2),
                Self::module("bn2", |s| &s.bn2, |s| &mut s.bn2),
                (
                    Self::module("conv3", |s| &s.conv3, |s| &mut s.conv3),
                    Self::module("bn3", |s| &s.bn3, |s| &mut s.bn3),
                ),
            ),
            |(downsample, conv1, bn1, conv2, bn2, (conv3, bn3))| Bottleneck {
                downsample,
                conv1,
                bn1,
                conv2,
                bn2,
                conv3,
                bn3,
            },
        )
    }
}

impl<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    SHORTCUT,
    CONV2,
    E: Dtype,
    D: Backend<E>,
> ResidualBlock<I, O, E, D> for Bottleneck<I, MID, O, S, SHORTCUT, E, D, CONV2>
where
    SHORTCUT: Shortcut<I, O, E, D>,
    CONV2: Convolution<MID, MID, E, D>,
{
    const STRIDE: usize = S;

    fn operator_kind(&self) -> OperatorKind {
        self.conv2.operator_kind()
    }

    fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<I, E, D, T>,
        grid: Grid,
        mut statistics: Option<&mut BatchStatistics<E>>,
        branch: Option<&mut Vec<E>>,
    ) -> Result<(Tokens<O, E, D, T>, Grid)> {
        let (x, tape) = x.split_tape();
        let shortcut = self.downsample.apply(x.clone().put_tape(tape), grid, statistics.as_deref_mut())?;
        let (shortcut, tape) = shortcut.split_tape();
        let (x, grid) = self.conv1.apply(x.put_tape(tape), grid)?;
        let x = self.bn1.apply(x, None, Relu, statistics.as_deref_mut())?;
        let (x, grid) = self.conv2.convolve(x, grid)?;
        let x = self.bn2.apply(x, None, Relu, statistics.as_deref_mut())?;
        let (x, grid) = self.conv3.apply(x, grid)?;
        if let Some(branch) = branch {
            *branch = self.bn3.values(&x, statistics.is_some())?;
        }
        Ok((self.bn3.apply(x, Some(&shortcut), Relu, statistics)?, grid))
    }

    fn switches(&self) -> Switches<'_> {
        named([("conv2", self.conv2.switch())])
    }

    fn switches_mut(&mut self) -> SwitchesMut<'_> {
        named([("conv2", self.conv2.switch_mut())])
    }
}
