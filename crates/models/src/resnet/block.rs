//! Residual blocks: two 3x3 convolutions, or a bottleneck around one.

use dfdx::prelude::*;
use inductive_nn::{BatchNorm, BatchStatistics, Build, Module, OperatorKind, Result, Tokens, module};
use inductive_ops::{Activation::Relu, Backend, Grid};

use super::layers::{Conv, Convolution, Shortcut};

/// `relu(shortcut(x) + branch(x))`, where the branch ends in a batch normalisation whose weight begins at 0.
pub trait ResidualBlock<const I: usize, const O: usize, E: Dtype, D: Backend<E>>:
    Module<E, D> + Build<E, D>
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

module!(
    [const I: usize, const O: usize, const S: usize,
     SHORTCUT: Shortcut<I, O, E, D>, CONV1: Convolution<I, O, E, D>, CONV2: Convolution<O, O, E, D>]
    BasicBlock<I, O, S, SHORTCUT, E, D, CONV1, CONV2> { downsample, conv1, bn1, conv2, bn2 }
);

impl<const I: usize, const O: usize, const S: usize, SHORTCUT, CONV1, CONV2, E: Dtype, D: Backend<E>>
    Build<E, D> for BasicBlock<I, O, S, SHORTCUT, E, D, CONV1, CONV2>
where
    SHORTCUT: Build<E, D>,
    CONV1: Build<E, D>,
    CONV2: Build<E, D>,
{
    fn new(device: &D) -> Result<Self> {
        Ok(Self {
            downsample: Build::new(device)?,
            conv1: Build::new(device)?,
            bn1: Build::new(device)?,
            conv2: Build::new(device)?,
            bn2: Build::new(device)?,
        })
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

module!(
    [const I: usize, const MID: usize, const O: usize, const S: usize,
     SHORTCUT: Shortcut<I, O, E, D>, CONV2: Convolution<MID, MID, E, D>]
    Bottleneck<I, MID, O, S, SHORTCUT, E, D, CONV2> { downsample, conv1, bn1, conv2, bn2, conv3, bn3 }
);

impl<
    const I: usize,
    const MID: usize,
    const O: usize,
    const S: usize,
    SHORTCUT: Build<E, D>,
    CONV2: Build<E, D>,
    E: Dtype,
    D: Backend<E>,
> Build<E, D> for Bottleneck<I, MID, O, S, SHORTCUT, E, D, CONV2>
{
    fn new(device: &D) -> Result<Self> {
        Ok(Self {
            downsample: Build::new(device)?,
            conv1: Build::new(device)?,
            bn1: Build::new(device)?,
            conv2: Build::new(device)?,
            bn2: Build::new(device)?,
            conv3: Build::new(device)?,
            bn3: Build::new(device)?,
        })
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
}
