//! The blocks of a model as one type: all alike, or of layers whose widths differ, one type after the other.

use dfdx::prelude::*;
use inductive_attention::{Layout, MixerPath, TokenMixer, Tokens};
use inductive_ops::{Backend, DropPath, Result};

use crate::{block::Block, model::Record};

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

/// Blocks `0..DEPTH` of one type.
#[derive(Clone, Debug)]
pub struct Repeat<const DEPTH: usize, B> {
    /// The blocks.
    pub blocks: Vec<B>,
}

impl<const DEPTH: usize, B: TensorCollection<E, D>, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Repeat<DEPTH, B>
{
    type To<E2: Dtype, D2: Device<E2>> = Repeat<DEPTH, B::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let names: Vec<String> = (0..DEPTH).map(|i| i.to_string()).collect();
        let blocks: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Self::module(name, move |s| &s.blocks[i], move |s| &mut s.blocks[i]))
            .collect();
        visitor.visit_fields(blocks, |blocks| Repeat { blocks })
    }
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

/// The last blocks of a model of width `C`, or all of them.
pub trait Blocks<const C: usize, E: Dtype, D: Backend<E>>: TensorCollection<E, D> {
    /// Index of the first of them.
    const FIRST: usize;
    /// Blocks of the whole model: the last index, plus one.
    const DEPTH: usize;

    /// [`TokenMixer::CONV_CHANNELS`] of these blocks.
    fn conv_channels() -> Vec<usize>;

    /// tokens: `[batch, tokens, C]`; after the last block only the class token's, unless `record` keeps all.
    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>>;
}

impl<'a> Run<'a> {
    /// Runs block `index` of `depth`.
    fn block<M, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>, T: Tape<E, D>>(
        self,
        block: &Block<M, C, HIDDEN, E, D>,
        (index, depth): (usize, usize),
        tokens: Tokens<C, E, D, T>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>>
    where
        M: TokenMixer<C, E, D> + MixerPath,
    {
        let readout = crate::model::readout(index, depth, record.is_some());
        block.apply(tokens, self.layout, readout, self.drop_paths[index], record)
    }
}

impl<const INDEX: usize, M, REST, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>>
    Blocks<C, E, D> for Chain<INDEX, Block<M, C, HIDDEN, E, D>, REST>
where
    M: TokenMixer<C, E, D> + MixerPath + TensorCollection<E, D>,
    REST: Blocks<C, E, D>,
{
    const FIRST: usize = {
        assert!(REST::FIRST == INDEX + 1, "blocks are numbered one after the other");
        INDEX
    };
    const DEPTH: usize = REST::DEPTH;

    fn conv_channels() -> Vec<usize> {
        [vec![M::CONV_CHANNELS], REST::conv_channels()].concat()
    }

    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        mut record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let tokens = run.block(&self.block, (INDEX, REST::DEPTH), tokens, record.as_deref_mut())?;
        self.rest.run(tokens, run, record)
    }
}

impl<const INDEX: usize, M, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Blocks<C, E, D>
    for Last<INDEX, Block<M, C, HIDDEN, E, D>>
where
    M: TokenMixer<C, E, D> + MixerPath + TensorCollection<E, D>,
{
    const FIRST: usize = INDEX;
    const DEPTH: usize = INDEX + 1;

    fn conv_channels() -> Vec<usize> {
        vec![M::CONV_CHANNELS]
    }

    fn run<T: Tape<E, D>>(
        &self,
        tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        run.block(&self.block, (INDEX, INDEX + 1), tokens, record)
    }
}

impl<const N: usize, M, const C: usize, const HIDDEN: usize, E: Dtype, D: Backend<E>> Blocks<C, E, D>
    for Repeat<N, Block<M, C, HIDDEN, E, D>>
where
    M: TokenMixer<C, E, D> + MixerPath + TensorCollection<E, D>,
{
    const FIRST: usize = 0;
    const DEPTH: usize = N;

    fn conv_channels() -> Vec<usize> {
        vec![M::CONV_CHANNELS; N]
    }

    fn run<T: Tape<E, D>>(
        &self,
        mut tokens: Tokens<C, E, D, T>,
        run: Run<'_>,
        mut record: Option<&mut Record<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        for (index, block) in self.blocks.iter().enumerate() {
            tokens = run.block(block, (index, N), tokens, record.as_deref_mut())?;
        }
        Ok(tokens)
    }
}
