//! A sequence of blocks of different types: of layers whose widths differ, one type after the other.

use dfdx::prelude::*;
use inductive_attention::{Layout, MixerPath, TokenMixer, Tokens};
use inductive_ops::{Backend, DropPath, Result};

use crate::{
    block::Block,
    model::{Context, Record},
};

/// Block number `INDEX` and those after it, named `INDEX`, `INDEX + 1`, ...
#[derive(Clone, Debug)]
pub struct Chain<const INDEX: usize, B, REST> {
    /// This block.
    pub block: B,
    /// Those after it.
    pub rest: REST,
}

/// Block number `INDEX`, the last.
#[derive(Clone, Debug)]
pub struct Last<const INDEX: usize, B> {
    /// The block.
    pub block: B,
}

impl<const INDEX: usize, B: TensorCollection<E, D>, REST: TensorCollection<E, D>, E: Dtype, D: Device<E>>
    TensorCollection<E, D> for Chain<INDEX, B, REST>
{
    type To<E2: Dtype, D2: Device<E2>> = Chain<INDEX, B::To<E2, D2>, REST::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module(&INDEX.to_string(), |s| &s.block, |s| &mut s.block),
                Self::module("", |s| &s.rest, |s| &mut s.rest),
            ),
            |(block, rest)| Chain { block, rest },
        )
    }
}

impl<const INDEX: usize, B: TensorCollection<E, D>, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Last<INDEX, B>
{
    type To<E2: Dtype, D2: Device<E2>> = Last<INDEX, B::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(Self::module(&INDEX.to_string(), |s| &s.block, |s| &mut s.block), |block| Last {
            block,
        })
    }
}

/// What blocks are run with; the same for all of them but the drop path.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// How the tokens lie.
    pub layout: &'a Layout,
    /// Stochastic depth of every block of the model.
    pub drop_paths: &'a [DropPath],
}

/// Blocks `FIRST..DEPTH` of a model of width `C`.
pub trait Blocks<const C: usize, E: Dtype, D: Backend<E>>: TensorCollection<E, D> {
    /// Blocks of the whole model: the last index, plus one.
    const DEPTH: usize;

    /// tokens: `[batch, tokens, C]`; after the last block only the class token's, unless `record` keeps all.
    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>>;
}

impl<const INDEX: usize, M, REST, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>>
    Blocks<C, E, D> for Chain<INDEX, Block<M, C, HIDDEN, E, D>, REST>
where
    M: TokenMixer<C, E, D> + MixerPath + TensorCollection<E, D>,
    REST: Blocks<C, E, D>,
{
    const DEPTH: usize = REST::DEPTH;

    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let mut context = Context { record, ..Default::default() };
        let readout = context.readout(INDEX, REST::DEPTH);
        let drop_path = run.drop_paths[INDEX];
        let tokens =
            self.block.apply(tokens, run.layout, readout, drop_path, context.record.as_deref_mut())?;
        self.rest.run(tokens, run, context.record)
    }
}

impl<const INDEX: usize, M, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Blocks<C, E, D>
    for Last<INDEX, Block<M, C, HIDDEN, E, D>>
where
    M: TokenMixer<C, E, D> + MixerPath + TensorCollection<E, D>,
{
    const DEPTH: usize = INDEX + 1;

    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let context = Context { record, ..Default::default() };
        let readout = context.readout(INDEX, Self::DEPTH);
        self.block.apply(tokens, run.layout, readout, run.drop_paths[INDEX], context.record)
    }
}
