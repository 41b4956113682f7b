//! A training pass that a device has watched once and repeats without tape and without new tensors.
//!
//! A pass through a model has the same operations every time. Where a device can say what they were ([`Backend::watched`](crate::Backend::watched)),
//! it does them again by itself: the same kernels, in the same order, on buffers that stay. So the numbers are those of the pass with a
//! tape, to the bit.

use crate::{Result, Updates};

/// Where numbers are in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) address: u64,
    pub(crate) len: usize,
}

/// The tensors at the ends of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// `[batch, 3, height, width]`
    pub images: Place,
    /// `[batch, classes]`
    pub targets: Place,
    /// `[batch, classes]`
    pub logits: Place,
    /// One number, the mean over the batch.
    pub loss: Place,
    /// Images of the batch.
    pub batch: usize,
}

/// What a device saw of a pass.
pub trait Watched {
    /// What the host gave beside images and targets, in order: the factors of stochastic depth.
    fn given(&self) -> &[Vec<f32>];

    /// The same pass, to be repeated. parameters: where each is, and where its gradient goes, which is written anew every time.
    ///
    /// # Errors
    /// What of the pass cannot be repeated: an operation without a kernel of its own.
    fn replay(&self, ends: Ends, parameters: &[(Place, Place)]) -> Result<Box<dyn Replay>, String>;
}

/// A batch of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `[batch, 3, height, width]`, row-major.
    pub images: &'a [f32],
    /// `[batch, classes]`
    pub targets: &'a [f32],
    /// `[batch]`
    pub labels: &'a [u32],
    /// As in [`Watched::given`].
    pub given: &'a [Vec<f32>],
}

/// What came of a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The mean over the batch.
    pub loss: f32,
    /// Images whose label has the largest logit, the first of equals; none where a logit of the image is no number.
    pub correct: u32,
    /// The gradients' norm before clipping. A number only if the update clipped.
    pub norm: f32,
}

/// A pass that is repeated.
pub trait Replay {
    /// Starts a pass, forwards and backwards, and does not wait for it. The gradients are where [`Watched::replay`] was told.
    ///
    /// # Errors
    /// A batch of other sizes; what the device says.
    fn run(&mut self, batch: Batch<'_>) -> Result<()>;

    /// Updates that leave all as it is as soon as a loss was not finite, of this pass or one before.
    fn guarded(&self) -> Updates;

    /// Whether no more outcomes can be kept: [`run`](Self::run) is an error until they are asked for.
    fn is_full(&self) -> bool;

    /// Waits for the device, and returns the outcomes of all passes that it has not returned yet, in order.
    ///
    /// # Errors
    /// What the device says.
    fn outcomes(&mut self) -> Result<Vec<Outcome>>;
}
