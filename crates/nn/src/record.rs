//! What a forward pass keeps of itself: attention, outputs, and the points between the operators.

use dfdx::prelude::*;
use inductive_ops::{Backend, erased};

use crate::{AttentionRecord, FeatureMap, Layout, OperatorKind, Point, Tokens, is_in};

/// What a forward pass keeps when it is asked to: one entry per block, and the [`Point`]s between the operators. What an
/// earlier pass left in it is dropped.
#[derive(Clone, Debug, Default)]
pub struct Record<E> {
    /// Entries in the order of the blocks.
    pub blocks: Vec<BlockRecord<E>>,
    /// Whether to keep the blocks' outputs (large).
    pub keep_outputs: bool,
    /// Whether to do without attention, which is computed for the record alone.
    pub skip_attention: bool,
    /// All operators in their order, the stem first (up to five times as large as the outputs); `None`: not kept.
    pub points: Option<Vec<Point<E>>>,
    /// Of which list of blocks the next is.
    scope: Scope,
}

impl<E> BlockRecord<E> {
    /// Whether the layer or parameter of this full name is in the block, or is the block.
    pub fn holds(&self, name: &str) -> bool {
        is_in(name, &self.name)
    }
}

impl<E> Record<E> {
    /// Keeps attention and outputs.
    pub fn everything() -> Self {
        Self { keep_outputs: true, ..Self::of_attention() }
    }

    /// Keeps attention alone.
    fn of_attention() -> Self {
        Self {
            blocks: Vec::new(),
            keep_outputs: false,
            skip_attention: false,
            points: None,
            scope: Scope::default(),
        }
    }

    /// Keeps the points alone.
    pub fn of_points() -> Self {
        Self { skip_attention: true, points: Some(Vec::new()), ..Self::of_attention() }
    }
}

/// What one block did.
#[derive(Clone, Debug)]
pub struct BlockRecord<E> {
    /// What the names of its parameters begin with, without the dot: `blocks.3`.
    pub name: String,
    /// Output of the block, `[batch, tokens, C]` row-major; empty unless outputs are kept.
    pub output: Vec<E>,
    /// How the tokens of the output lie on the image.
    pub layout: Layout,
    /// Its attention; `None` for a block that has none, as in a convolutional network, and unless attention is kept.
    pub attention: Option<AttentionRecord<E>>,
}

/// The list that blocks are in, named as in their parameters.
#[derive(Clone, Debug)]
struct Scope {
    name: String,
    /// Blocks before its first.
    first: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { name: "blocks".to_owned(), first: 0 }
    }
}

/// What an operator did to the stream.
pub enum Change<E> {
    /// It added its branch: the difference of the stream after and before.
    Sum,
    /// It added this branch and did more, `[batch, tokens, C]`.
    Branch(Vec<E>),
    /// It put its result in place of the stream.
    Replaced,
}

impl<E: Dtype> Record<E> {
    /// Whether points are kept.
    pub fn keeps_points(&self) -> bool {
        self.points.is_some()
    }

    /// Name of the block that runs now: the next that is entered.
    pub fn block_name(&self) -> String {
        format!("{}.{}", self.scope.name, self.blocks.len().saturating_sub(self.scope.first))
    }

    /// Keeps what operator `name` left behind, if points are kept. after: `[batch, tokens, C]`, as `layout` says.
    pub fn keep_point<const C: usize, D: Backend<E>, T>(
        &mut self,
        name: &str,
        kind: OperatorKind,
        layout: &Layout,
        after: &Tokens<C, E, D, T>,
        change: Change<E>,
    ) {
        self.push_point(name.to_owned(), kind, layout, &erased(after.retaped::<NoneTape>()), change);
    }

    /// The same of a part of the block that runs now, or of all of it for an empty name.
    pub fn keep_part<const C: usize, D: Backend<E>, T>(
        &mut self,
        part: &str,
        kind: OperatorKind,
        layout: &Layout,
        after: &Tokens<C, E, D, T>,
        change: Change<E>,
    ) {
        let dot = if part.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{part}", self.block_name());
        self.push_point(name, kind, layout, &erased(after.retaped::<NoneTape>()), change);
    }

    /// Ends the entry of a block that left `output` behind, `[batch, tokens, C]`.
    pub fn keep_block<const C: usize, D: Backend<E>, T>(
        &mut self,
        output: &Tokens<C, E, D, T>,
        layout: &Layout,
        attention: Option<AttentionRecord<E>>,
    ) {
        let output =
            if self.keep_outputs { erased(output.retaped::<NoneTape>()).as_vec() } else { Vec::new() };
        let name = self.block_name();
        self.blocks.push(BlockRecord { name, output, layout: *layout, attention });
    }

    /// Empties it: an earlier pass may have filled it.
    pub fn start(&mut self) {
        self.blocks.clear();
        self.points.iter_mut().for_each(Vec::clear);
        self.scope = Scope::default();
    }

    /// Names the blocks that come `name.0`, `name.1`, ...; without, they are `blocks.0`, `blocks.1`, ...
    pub fn enter(&mut self, name: &str) {
        self.scope = Scope { name: name.to_owned(), first: self.blocks.len() };
    }

    fn push_point<D: Backend<E>>(
        &mut self,
        name: String,
        kind: OperatorKind,
        layout: &Layout,
        after: &Tensor<(usize, usize, usize), E, D>,
        change: Change<E>,
    ) {
        let Some(points) = &mut self.points else { return };
        let channels = after.shape().2;
        let after = FeatureMap::new(after.as_vec(), layout, channels);
        let branch = match change {
            Change::Sum => points.last().and_then(|before| after.minus(&before.after)),
            Change::Branch(values) => Some(FeatureMap::new(values, layout, channels)),
            Change::Replaced => None,
        };
        points.push(Point { name, kind, after, branch });
    }
}
