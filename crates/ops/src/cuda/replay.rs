//! Passes that are repeated: see [`crate::replay`].
//!
//! While a pass is watched, each [`Operation`] on a tape is noted with the addresses of its inputs and its result. All tensors of the pass
//! are alive as long as its tape is, so that an address says which it is. A replay does the operations on memory of its own.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    mem::take,
    sync::Arc,
};

use dfdx::tensor::CudaError;

use super::{
    gpu::{Argument, Gpu, Launch, Scratch, small},
    operation::{Backward, Gradient, Operation},
    pointer::Address,
    staging::{Staging, words},
};
use crate::{
    Error, Result, Updates,
    replay::{Batch, Ends, Outcome, Place, Replay, Watched},
};
use Argument::Address as At;

/// How many outcomes are kept.
const OUTCOMES: usize = 1024;

/// An operation as it was seen.
struct Seen {
    operation: Arc<dyn Operation>,
    inputs: Vec<Address>,
    y: Address,
    len: usize,
}

#[derive(Default)]
struct Notes {
    gpu: Option<&'static Gpu>,
    seen: Vec<Seen>,
    /// Addresses of what the host gave.
    places: Vec<Address>,
    given: Vec<Vec<f32>>,
}

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
}

/// Runs `pass` and notes what it does.
pub(super) fn watched<R>(pass: impl FnOnce() -> R) -> (R, Option<Box<dyn Watched>>) {
    NOTES.set(Some(Notes::default()));
    let result = pass();
    let notes = NOTES.take();
    (result, notes.map(|it| Box::new(it) as Box<dyn Watched>))
}

/// Notes an operation, if somebody watches.
pub(super) fn seen(
    gpu: &'static Gpu,
    operation: &Arc<dyn Operation>,
    inputs: &[Address],
    (y, len): (Address, usize),
) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.gpu = Some(gpu);
            notes.seen.push(Seen { operation: operation.clone(), inputs: inputs.to_vec(), y, len });
        }
    });
}

/// Numbers of the host, on the device.
pub(super) fn given(gpu: &'static Gpu, numbers: &[f32]) -> Result<Scratch, CudaError> {
    let copy = gpu.upload(numbers)?;
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.places.push(copy.address);
            notes.given.push(numbers.to_vec());
        }
    });
    Ok(copy)
}

/// What an input of an operation is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Images,
    Targets,
    Given(usize),
    Parameter(usize),
    Node(usize),
}

struct Node {
    operation: Arc<dyn Operation>,
    inputs: Vec<Source>,
    len: usize,
}

impl Watched for Notes {
    fn given(&self) -> &[Vec<f32>] {
        &self.given
    }

    fn replay(&self, ends: Ends, parameters: &[(Place, Place)]) -> Result<Box<dyn Replay>, String> {
        let Some(gpu) = self.gpu else { return Err("no operation has a kernel of its own".to_owned()) };
        let mut known = HashMap::new();
        let mut know = |address: Address, source: Source| match known.entry(address) {
            Entry::Vacant(free) => {
                free.insert(source);
                Ok(())
            }
            Entry::Occupied(other) => Err(format!("{source:?} shares its memory with {:?}", other.get())),
        };
        know(ends.images.address, Source::Images)?;
        know(ends.targets.address, Source::Targets)?;
        for (i, address) in self.places.iter().enumerate() {
            know(*address, Source::Given(i))?;
        }
        for (i, (place, _)) in parameters.iter().enumerate() {
            know(place.address, Source::Parameter(i))?;
        }
        for (i, seen) in self.seen.iter().enumerate() {
            know(seen.y, Source::Node(i))?;
        }
        let node = |(i, seen): (usize, &Seen)| {
            let inputs = seen.inputs.iter().map(|address| match known.get(address) {
                Some(Source::Node(node)) if *node >= i => None,
                other => other.copied(),
            });
            let inputs: Option<Vec<Source>> = inputs.collect();
            let operation = seen.operation.clone();
            let has_no_gradient = |source: &Source| !matches!(source, Source::Node(_) | Source::Parameter(_));
            match inputs {
                Some(inputs)
                    if (0..).zip(&inputs).any(|(i, it)| operation.wants(i) && has_no_gradient(it)) =>
                {
                    Err(format!("`{}` wants the gradient of what is given", operation.name()))
                }
                Some(inputs) => Ok(Node { operation, inputs, len: seen.len }),
                None => Err(format!(
                    "an input of `{}` comes from an operation without a kernel",
                    operation.name()
                )),
            }
        };
        let nodes = self.seen.iter().enumerate().map(node).collect::<Result<Vec<_>, String>>()?;
        let end = |what: &str, place: Place| match known.get(&place.address) {
            Some(Source::Node(node)) => Ok(*node),
            _ => Err(format!("the {what} come from an operation without a kernel")),
        };
        let (logits, loss) = (end("logits", ends.logits)?, end("loss", ends.loss)?);
        if self.given.iter().any(|it| it.len() != ends.batch) {
            return Err("what the host gave is not one number for each image".to_owned());
        }
        let told = |error: CudaError| format!("{error:?}");
        let numbers = |len| gpu.scratch(len).map_err(told);
        let staging = |len| Staging::new(gpu, len, 3).map_err(told);
        let small_len = ends.targets.len + ends.batch * (1 + self.given.len());
        let replay = Replayed {
            gpu,
            logits,
            loss,
            ends,
            images: (numbers(ends.images.len)?, staging(ends.images.len)?),
            small: (numbers(small_len)?, staging(small_len)?),
            given: self.given.len(),
            parameters: parameters.iter().map(|(at, gradient)| (at.address, gradient.address)).collect(),
            one: gpu.upload(&[1.0f32]).map_err(told)?,
            guard: gpu.upload(&[0u32]).map_err(told)?,
            outcomes: gpu.upload(&[0u32; 3 * OUTCOMES]).map_err(told)?,
            waiting: 0,
            nodes,
        };
        Ok(Box::new(replay))
    }
}

struct Replayed {
    gpu: &'static Gpu,
    nodes: Vec<Node>,
    /// Which nodes' results they are.
    logits: usize,
    loss: usize,
    /// How many numbers there are at each.
    ends: Ends,
    images: (Scratch, Staging),
    /// Targets, labels and what is given, one after the other: they go up together.
    small: (Scratch, Staging),
    /// How many are given, each of as many numbers as there are images.
    given: usize,
    /// Where each is, and its gradient.
    parameters: Vec<(Address, Address)>,
    /// The gradient of the loss.
    one: Scratch,
    guard: Scratch,
    /// Losses, then counts, then norms.
    outcomes: Scratch,
    waiting: usize,
}

impl Replayed {
    fn check(&self, batch: &Batch<'_>) -> Result<()> {
        let given =
            self.given == batch.given.len() && batch.given.iter().all(|it| it.len() == self.ends.batch);
        let sizes = [batch.images.len(), batch.targets.len(), batch.labels.len()];
        if !given || sizes != [self.ends.images.len, self.ends.targets.len, self.ends.batch] {
            let (expected, got) = (
                format!("the batch that was seen, {:?}", (self.ends.images.len, self.ends.targets.len)),
                sizes,
            );
            return Err(Error::shape("replay", expected, got));
        }
        if self.is_full() {
            let what = format!("{OUTCOMES} outcomes wait; ask for them first");
            return Err(Error::Argument { op: "replay", what });
        }
        Ok(())
    }

    /// Where the labels are.
    fn labels(&self) -> Address {
        self.small.0.address + 4 * self.ends.targets.len as u64
    }

    fn forward(&self) -> Result<Vec<(Scratch, Vec<Scratch>)>, CudaError> {
        let mut results: Vec<(Scratch, Vec<Scratch>)> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let y = self.gpu.scratch(node.len)?;
            let inputs = self.addresses(node, &results);
            let kept = node.operation.forward(self.gpu, &inputs, y.address)?;
            results.push((y, kept));
        }
        Ok(results)
    }

    fn addresses(&self, node: &Node, results: &[(Scratch, Vec<Scratch>)]) -> Vec<Address> {
        let address = |source: &Source| match *source {
            Source::Images => self.images.0.address,
            Source::Targets => self.small.0.address,
            Source::Given(i) => self.labels() + (4 * self.ends.batch * (1 + i)) as u64,
            Source::Parameter(i) => self.parameters[i].0,
            Source::Node(i) => results[i].0.address,
        };
        node.inputs.iter().map(address).collect()
    }

    /// Gradients are added up in the order of a tape: operations from the last to the first.
    fn backward(&self, mut results: Vec<(Scratch, Vec<Scratch>)>) -> Result<(), CudaError> {
        let mut gradients: Vec<Option<Scratch>> = self.nodes.iter().map(|_| None).collect();
        let mut begun = vec![false; self.parameters.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            let of_loss = i == self.loss;
            let dy = take(&mut gradients[i]);
            let dy_address = match &dy {
                Some(dy) => dy.address,
                None if of_loss => self.one.address,
                // Nothing that the loss depends on.
                None => continue,
            };
            let inputs = self.addresses(node, &results);
            let mut of_inputs = Vec::with_capacity(inputs.len());
            for (input, source) in node.inputs.iter().enumerate() {
                of_inputs.push(match *source {
                    _ if !node.operation.wants(input) => Gradient::NONE,
                    Source::Parameter(i) => Gradient {
                        address: self.parameters[i].1,
                        fresh: !std::mem::replace(&mut begun[i], true),
                    },
                    Source::Node(i) => match &gradients[i] {
                        Some(old) => Gradient { address: old.address, fresh: false },
                        None => {
                            let new = gradients[i].insert(self.gpu.scratch(self.nodes[i].len)?);
                            Gradient { address: new.address, fresh: true }
                        }
                    },
                    Source::Images | Source::Targets | Source::Given(_) => Gradient::NONE,
                });
            }
            // What comes after it has been through already, and nobody reads its own result any more.
            results.truncate(i + 1);
            let kept = results.pop().map(|(_, kept)| kept).unwrap_or_default();
            let pass = Backward { inputs: &inputs, kept: &kept, dy: dy_address, gradients: &of_inputs };
            node.operation.backward(self.gpu, pass)?;
        }
        Ok(())
    }

    fn start(&mut self, batch: &Batch<'_>) -> Result<(), CudaError> {
        self.images.1.send(&self.images.0, &[words(batch.images)])?;
        let given = batch.given.iter().map(|it| words(it));
        let parts: Vec<&[u32]> = [words(batch.targets), batch.labels].into_iter().chain(given).collect();
        self.small.1.send(&self.small.0, &parts)?;
        let results = self.forward()?;
        const WARPS: usize = 8;
        let launch = Launch { grid: (1, 1), threads: 32 * WARPS, shared_bytes: 4 * WARPS };
        let place = |i: usize| At(self.outcomes.address + 4 * i as u64);
        let arguments = [
            At(results[self.logits].0.address),
            At(self.labels()),
            At(results[self.loss].0.address),
            place(self.waiting),
            place(OUTCOMES + self.waiting),
            At(self.guard.address),
            small(self.ends.batch),
            small(self.ends.logits.len / self.ends.batch.max(1)),
        ];
        self.gpu.launch("outcome_of", launch, &arguments)?;
        self.backward(results)
    }
}

impl Replay for Replayed {
    fn run(&mut self, batch: Batch<'_>) -> Result<()> {
        self.check(&batch)?;
        self.start(&batch).map_err(|e| Error::device("replay", e))?;
        self.waiting += 1;
        Ok(())
    }

    fn guarded(&self) -> Updates {
        let guard = Place { address: self.guard.address, len: 1 };
        // Of the pass that was started last.
        let slot = 2 * OUTCOMES + self.waiting.saturating_sub(1);
        let norm = Place { address: self.outcomes.address + 4 * slot as u64, len: 1 };
        Updates { guard: Some(guard), norm: Some(norm), ..Updates::in_place() }
    }

    fn is_full(&self) -> bool {
        self.waiting == OUTCOMES
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>> {
        let waiting = take(&mut self.waiting);
        if waiting == 0 {
            return Ok(Vec::new());
        }
        let mut words = vec![0; 2 * OUTCOMES + waiting];
        self.gpu.copy_from(&self.outcomes, &mut words).map_err(|e| Error::device("replay", e))?;
        let outcome = |i: usize| Outcome {
            loss: f32::from_bits(words[i]),
            correct: words[OUTCOMES + i],
            norm: f32::from_bits(words[2 * OUTCOMES + i]),
        };
        Ok((0..waiting).map(outcome).collect())
    }
}
