//! Updates without a tape, where a device can repeat a pass that it has watched.

use std::{cell::Cell, collections::VecDeque};

use dfdx::prelude::Gradients;
use inductive_models::{Model, Zoo, block_drop_paths};
use inductive_nn::ModuleExt;
use inductive_ops::{
    DropPath,
    replay::{Ends, Outcome, Place, Replay, Watched},
};

use crate::{Error, Result, StepReport};

/// What a learner knows of repeating its updates.
pub(crate) struct Repeat<D: Zoo> {
    /// Whether parameters may share their memory with tensors of others: someone has had the model in hand since they last got memory of
    /// their own.
    pub lent: Cell<bool>,
    passes: Vec<Pass<D>>,
    /// A pass of this model cannot be repeated, and why: none need be watched any more.
    hopeless: Option<String>,
    /// Updates that have been started and whose outcome has not been read, in order.
    started: VecDeque<Started>,
}

/// A pass that can be repeated, and where it leaves its gradients.
pub(crate) struct Pass<D: Zoo> {
    images: usize,
    parameters: Vec<Place>,
    pub replay: Box<dyn Replay>,
    pub gradients: Gradients<f32, D>,
}

struct Started {
    step: u64,
    images: usize,
    clips: bool,
}

/// Sizes of batches: all of an epoch, and its last.
const MOST: usize = 2;

impl<D: Zoo> Default for Repeat<D> {
    fn default() -> Self {
        Self { lent: Cell::new(true), passes: Vec::new(), hopeless: None, started: VecDeque::new() }
    }
}

impl<D: Zoo> Repeat<D> {
    /// Forgets all passes: parameters have got other memory, or the model computes something else.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The pass of so many images, if the parameters of `model` are where it reads them.
    pub fn pass(&mut self, model: &dyn Model<f32, D>, images: usize) -> Result<Option<&mut Pass<D>>> {
        if self.lent.get() {
            return Ok(None);
        }
        let Some(pass) = self.passes.iter_mut().find(|it| it.images == images) else { return Ok(None) };
        let mut expected = pass.parameters.iter();
        let mut same = true;
        model.for_each_parameter(&mut |p| {
            same &= p.place().as_ref() == expected.next();
            Ok(())
        })?;
        if !same || expected.next().is_some() {
            self.lent.set(true);
            return Ok(None);
        }
        Ok(Some(pass))
    }

    /// Whether a pass of so many images is to be watched.
    pub fn watches(&self, images: usize) -> bool {
        let new = !self.passes.iter().any(|it| it.images == images);
        self.hopeless.is_none() && !self.lent.get() && new && self.passes.len() < MOST
    }

    /// Takes a pass in, if it can be repeated. factors: those of this step, as [`factors`] gives them.
    pub fn take_in(
        &mut self,
        model: &mut dyn Model<f32, D>,
        watched: Option<Box<dyn Watched>>,
        ends: Option<Ends>,
        factors: &[Vec<f32>],
    ) -> Result<()> {
        let mut hopeless = |why: &str| {
            self.hopeless = Some(why.to_owned());
            Ok(())
        };
        let (Some(watched), Some(ends)) = (watched, ends) else {
            return hopeless("the device repeats nothing");
        };
        if watched.given() != factors {
            return hopeless("the factors of stochastic depth are not those of a transformer's blocks");
        }
        let mut gradients = Gradients::leaky();
        let mut places: Option<Vec<(Place, Place)>> = Some(Vec::new());
        model.for_each_parameter_mut(&mut |p| {
            let of_gradient = p.gradient_place(&mut gradients)?;
            match (&mut places, p.place().zip(of_gradient)) {
                (Some(places), Some(both)) => places.push(both),
                _ => places = None,
            }
            Ok(())
        })?;
        let Some(places) = places else { return hopeless("parameters are views") };
        match watched.replay(ends, &places) {
            Ok(replay) => {
                let parameters = places.iter().map(|it| it.0).collect();
                self.passes.push(Pass { images: ends.batch, parameters, replay, gradients });
                Ok(())
            }
            Err(why) => hopeless(&why),
        }
    }

    /// Why passes are not repeated.
    pub fn hopeless(&self) -> Option<&str> {
        self.hopeless.as_deref()
    }

    /// Whether outcomes have to be read before an update of so many images: there is room for no more, or those that wait are of another
    /// pass, and what is not finite in one stops that one alone.
    pub fn must_settle(&self, images: usize) -> bool {
        let full = self.passes.iter().any(|it| it.replay.is_full());
        full || self.started.back().is_some_and(|it| it.images != images)
    }

    /// Notes an update that [`Repeat::pass`] has been used for.
    pub fn started(&mut self, step: u64, images: usize, clips: bool) {
        self.started.push_back(Started { step, images, clips });
    }

    /// Updates whose outcome has not been read.
    pub fn waiting(&self) -> usize {
        self.started.len()
    }

    /// The outcomes of all that were started, in order: the numbers of the updates, and what they did. Waits for the device.
    pub fn outcomes(&mut self) -> Result<Vec<(u64, StepReport)>> {
        let mut of_pass: Vec<(usize, std::vec::IntoIter<Outcome>)> = Vec::new();
        for pass in &mut self.passes {
            of_pass.push((pass.images, pass.replay.outcomes()?.into_iter()));
        }
        let report = |Started { step, images, clips }| {
            let outcome = of_pass.iter_mut().find(|it| it.0 == images).and_then(|it| it.1.next());
            let missing = || Error::part("learner", format!("update {step} has no outcome"));
            let Outcome { loss, correct, norm } = outcome.ok_or_else(missing)?;
            let (correct, gradient_norm) = (correct as usize, clips.then_some(f64::from(norm)));
            Ok((step, StepReport { loss: f64::from(loss), correct, images, gradient_norm }))
        };
        self.started.drain(..).map(report).collect()
    }
}

/// The factors of stochastic depth of one pass, in the order in which the blocks of a transformer ask for them.
pub(crate) fn factors(drop_path: DropPath, depth: usize, images: usize) -> Result<Vec<Vec<f32>>> {
    let blocks = block_drop_paths(drop_path, depth)?;
    let of_block = |block: &DropPath| [0, 1].map(|sublayer| block.fork(sublayer).scales(images));
    Ok(blocks.iter().flat_map(of_block).flatten().collect())
}
