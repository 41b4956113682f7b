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

/// Layers by name, first to last.
pub(crate) type Switches<'a> = Vec<(String, &'a dyn SwitchLayer)>;
/// Layers by name, first to last, to be changed.
pub(crate) type SwitchesMut<'a> = Vec<(String, &'a mut dyn SwitchLayer)>;

/// Puts the name of the module that holds them before the names of layers.
pub(crate) fn within<L>(module: &str, layers: Vec<(String, L)>) -> impl Iterator<Item = (String, L)> {
    layers.into_iter().map(move |(name, layer)| {
        let name = if name.is_empty() { module.to_owned() } else { format!("{module}.{name}") };
        (name, layer)
    })
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
