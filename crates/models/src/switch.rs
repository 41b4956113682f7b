//! Layers of a model that can leave convolution for attention.

use inductive_attention::{HeadPosition, Operator, Reparameterization, SwitchLayer};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A layer that can leave convolution, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Switchable {
    /// Its name: what the names of its parameters begin with, without the dot.
    pub name: String,
    /// What it computes.
    pub operator: Operator,
    /// The share of position in each head's attention; 1 for a convolution.
    pub gates: Vec<f64>,
    /// Where each head looks by position; empty for a convolution.
    pub heads: Vec<HeadPosition>,
    /// Full names of its parameters that have no effect now.
    pub idle: Vec<String>,
}

/// What a staged network is beyond patches: its stages, each on half the rows and columns of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagesSpec {
    /// Channels of each stage.
    pub widths: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
}

impl StagesSpec {
    /// Multiplications and additions (pairs) of all blocks, their mixers as 3x3 convolutions, and of the 2x2 convolutions
    /// between the stages. tokens: of the first stage; mlp_ratio: hidden channels of an MLP per channel.
    pub fn macs(&self, tokens: usize, mlp_ratio: f64) -> u64 {
        let blocks = self.sum(tokens, |n, c| 9 * n * c * c + 2 * n * c * (mlp_ratio * c as f64) as usize);
        let between = self.widths.windows(2).enumerate().map(|(stage, widths)| {
            let places = tokens >> (2 * (stage + 1));
            (4 * places * widths[0] * widths[1]) as u64
        });
        blocks + between.sum::<u64>()
    }

    /// What is added when all layers are attention with this many heads and numbers in a query: aggregation over the
    /// tokens, scores, projections of queries and keys. Attention by position alone has only the first, and of sharp
    /// positions one product per head and token.
    pub fn attention_macs(&self, tokens: usize, heads: usize, query: usize) -> u64 {
        self.sum(tokens, |n, c| heads * (n * n * c + n * n * query + 2 * n * c * query))
    }

    /// Over all blocks, of their tokens and channels.
    fn sum(&self, tokens: usize, of: impl Fn(usize, usize) -> usize) -> u64 {
        let stages = self.widths.iter().zip(&self.blocks).enumerate();
        stages.map(|(stage, (width, blocks))| (blocks * of(tokens >> (2 * stage), *width)) as u64).sum()
    }
}

/// Layers by name, first to last.
pub(crate) type Switches<'a> = Vec<(String, &'a dyn SwitchLayer)>;
/// Layers by name, first to last, to be changed.
pub(crate) type SwitchesMut<'a> = Vec<(String, &'a mut dyn SwitchLayer)>;

/// Layers with the name of the module that holds them before their own.
pub(crate) fn within<L>(module: impl std::fmt::Display, layers: Vec<(String, L)>) -> Vec<(String, L)> {
    layers.into_iter().map(|(name, layer)| (format!("{module}.{name}"), layer)).collect()
}

pub(crate) fn describe(switches: Switches<'_>) -> Result<Vec<Switchable>> {
    let describe = |(name, layer): (String, &dyn SwitchLayer)| {
        let idle = layer.idle()?.iter().map(|parameter| format!("{name}.{parameter}")).collect();
        Ok(Switchable {
            operator: layer.operator()?,
            gates: layer.gates()?,
            heads: layer.heads()?,
            idle,
            name,
        })
    };
    switches.into_iter().map(describe).collect()
}

pub(crate) fn reparameterize(
    model: &str,
    switches: SwitchesMut<'_>,
    index: usize,
    how: &Reparameterization,
) -> Result<()> {
    let count = switches.len();
    let Some((_, layer)) = switches.into_iter().nth(index) else {
        let what = match count {
            0 => "no layer can leave convolution; `prs_*` and `resnet*_switch` have such layers".to_owned(),
            _ => format!("there is no layer {index} that can leave convolution; there are {count}, from 0"),
        };
        return Err(Error::Option { model: model.to_owned(), what });
    };
    Ok(layer.reparameterize(how, index)?)
}
