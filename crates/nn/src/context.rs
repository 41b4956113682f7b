//! How a forward pass runs.

use std::collections::VecDeque;

use inductive_ops::DropPath;

use crate::{BatchStatistics, Layout, OperatorKind, Record, Tokens, record::Change};
use dfdx::prelude::Dtype;
use inductive_ops::Backend;

/// How a forward pass runs; passed from the model to its blocks.
#[derive(Debug, Default)]
pub struct Context<'a, E> {
    /// Stochastic depth, in training: the rate of the last block (earlier ones have less), and the step's seed.
    pub drop_path: DropPath,
    /// Where to keep what happens.
    pub record: Option<&'a mut Record<E>>,
    /// Where batch normalisation adds the statistics of the batch, by which it then normalises; without, it normalises by
    /// its running averages.
    pub batch_statistics: Option<&'a mut BatchStatistics<E>>,
    /// Whether the images receive a gradient (saliency, adversarial examples); training does without.
    pub image_gradient: bool,
    /// Of the blocks that are still to come; [`Context::begin`] fills it.
    pub drop_paths: VecDeque<DropPath>,
}

impl<E: Dtype> Context<'_, E> {
    /// Begins a pass through blocks of this stochastic depth, and empties the record: an earlier pass may have filled it.
    pub fn begin(&mut self, drop_paths: Vec<DropPath>) {
        self.drop_paths = drop_paths.into();
        if let Some(record) = &mut self.record {
            record.start();
        }
    }

    /// Stochastic depth of the block that comes now; none beyond those that the pass began with.
    pub fn next_block(&mut self) -> DropPath {
        self.drop_paths.pop_front().unwrap_or_default()
    }

    /// Blocks that are still to come.
    pub fn blocks_left(&self) -> usize {
        self.drop_paths.len()
    }

    /// Keeps what the blocks begin with, if points are kept. tokens: `[batch, tokens, C]`.
    pub fn keep_stem<const C: usize, D: Backend<E>, T>(
        &mut self,
        name: &str,
        layout: &Layout,
        tokens: &Tokens<C, E, D, T>,
    ) {
        if let Some(record) = &mut self.record {
            record.keep_point(name, OperatorKind::Stem, layout, tokens, Change::Replaced);
        }
    }

    /// [`Record::enter`], if there is a record.
    pub fn enter(&mut self, name: &str) {
        if let Some(record) = &mut self.record {
            record.enter(name);
        }
    }
}
