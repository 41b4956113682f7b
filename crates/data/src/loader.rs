//! Shuffled batches, made ahead on another thread; which batch is a function of (seed, epoch, position) alone.

use crate::random::{Purpose, stream};
use crate::{Dataset, Error, Image, Pipeline};
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// How a [`Loader`] makes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Images per batch; default 128.
    pub batch_size: usize,
    /// Whether each epoch has its own random order; default true. Otherwise the order is the set's.
    pub shuffle: bool,
    /// Whether the last batch is left out if it is smaller than the others; default false.
    pub drop_last: bool,
    /// Seed of order and transforms; default 0.
    pub seed: u64,
    /// Finished batches that wait at most, besides the one being made; default 2.
    pub prefetch: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { batch_size: 128, shuffle: true, drop_last: false, seed: 0, prefetch: 2 }
    }
}

impl LoaderConfig {
    /// For evaluation: every image once, in the order of the set.
    pub fn eval(batch_size: usize) -> Self {
        Self { batch_size, shuffle: false, ..Self::default() }
    }
}

/// Batches of a data set, epoch by epoch.
///
/// The bits of a batch depend on (set, pipeline, seed, epoch, batch size, batch number) and neither on time, threads
/// and prefetching nor on which batches were made before: an epoch can be taken up anywhere.
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    pipeline: Pipeline,
    config: LoaderConfig,
}

impl Loader {
    /// A loader of `dataset` through `pipeline`.
    ///
    /// # Errors
    /// [`Error::Loader`] if the set or a batch is empty, the set is too large (2^32 images), or `drop_last` leaves no
    /// batch.
    pub fn new(dataset: Arc<dyn Dataset>, pipeline: Pipeline, config: LoaderConfig) -> Result<Self, Error> {
        let loader = Self { dataset, pipeline, config };
        let images = loader.dataset.len();
        if config.batch_size == 0 {
            Err(loader.error("the batch size must be at least 1"))
        } else if images == 0 {
            Err(loader.error("the set is empty"))
        } else if u32::try_from(images).is_err() {
            Err(loader.error("more images than a 32-bit index reaches"))
        } else if loader.batches_per_epoch() == 0 {
            Err(loader.error("no batch is full, and what is not full is left out: take a smaller batch, more images, or `drop_last = false`"))
        } else {
            Ok(loader)
        }
    }

    /// The set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// How batches are made.
    pub fn config(&self) -> &LoaderConfig {
        &self.config
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        let (images, size) = (self.dataset.len(), self.config.batch_size);
        if self.config.drop_last { images / size } else { images.div_ceil(size) }
    }

    /// The images of an epoch in order, as indices into the set.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.dataset.len() as u32).collect();
        if self.config.shuffle {
            order.shuffle(&mut stream(Purpose::Order, self.config.seed, epoch, 0));
        }
        order
    }

    /// All batches of an epoch.
    ///
    /// # Errors
    /// As [`epoch_from`](Self::epoch_from).
    pub fn epoch(&self, epoch: u64) -> Result<Batches, Error> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from number `first_batch` on, without making those before it.
    ///
    /// # Errors
    /// [`Error::Loader`] if `first_batch` is more than [`batches_per_epoch`](Self::batches_per_epoch), or no thread can
    /// be started.
    pub fn epoch_from(&self, epoch: u64, first_batch: usize) -> Result<Batches, Error> {
        let batches = self.batches_per_epoch();
        if first_batch > batches {
            return Err(self.error(format!("cannot start at batch {first_batch} of {batches}")));
        }
        let (sender, receiver) = sync_channel(self.config.prefetch);
        let (recycler, recycled) = channel();
        let loader = self.clone();
        let producer = thread::Builder::new()
            .name("inductive-loader".into())
            .spawn(move || loader.produce(epoch, first_batch, &sender, &recycler, &recycled))
            .map_err(|reason| self.error(format!("cannot start a thread: {reason}")))?;
        Ok(Batches { receiver: Some(receiver), producer: Some(producer), left: batches - first_batch })
    }

    fn produce(
        &self,
        epoch: u64,
        first_batch: usize,
        sender: &SyncSender<Batch>,
        recycler: &Sender<Buffers>,
        recycled: &Receiver<Buffers>,
    ) {
        let order = self.order(epoch);
        for number in first_batch..self.batches_per_epoch() {
            let mut buffers = recycled.try_recv().unwrap_or_default();
            let first = number * self.config.batch_size;
            self.fill(
                &mut buffers,
                epoch,
                first,
                &order[first..order.len().min(first + self.config.batch_size)],
            );
            let Buffers { images, labels, indices } = buffers;
            let batch = Batch { images, labels, indices, recycler: recycler.clone() };
            if sender.send(batch).is_err() {
                return; // Nobody iterates any more.
            }
        }
    }

    /// Makes the batch of the images `indices`, the first of which is at `first_position` of the epoch.
    fn fill(&self, buffers: &mut Buffers, epoch: u64, first_position: usize, indices: &[u32]) {
        let (height, width) = (self.dataset.height(), self.dataset.width());
        buffers.images.resize(indices.len() * 3 * height * width, 0.0);
        buffers.labels.clear();
        buffers.indices.clear();
        let outputs = buffers.images.chunks_exact_mut(3 * height * width);
        for (position, (&index, output)) in (first_position as u64..).zip(indices.iter().zip(outputs)) {
            let mut rng = stream(Purpose::Augment, self.config.seed, epoch, position);
            let image = Image::new(self.dataset.image(index as usize), height, width);
            self.pipeline.apply(image, &mut rng, output);
            buffers.labels.push(self.dataset.label(index as usize));
            buffers.indices.push(index);
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Loader {
            spec: self.dataset.spec().into(),
            batch_size: self.config.batch_size,
            images: self.dataset.len(),
            reason: reason.into(),
        }
    }
}

#[derive(Default)]
struct Buffers {
    images: Vec<f32>,
    labels: Vec<u32>,
    indices: Vec<u32>,
}

/// Images with their labels; its memory goes back to the loader when it is dropped.
///
/// A vector may be taken out with [`std::mem::take`]: then a new one is allocated for a later batch.
#[derive(Debug)]
pub struct Batch {
    /// Normalised images: `[batch, 3, height, width]`.
    pub images: Vec<f32>,
    /// Class of each image: `[batch]`.
    pub labels: Vec<u32>,
    /// Index of each image in the set: `[batch]`.
    pub indices: Vec<u32>,
    recycler: Sender<Buffers>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image; never so for a batch from a loader.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let Self { images, labels, indices, recycler } = self;
        let buffers = Buffers {
            images: std::mem::take(images),
            labels: std::mem::take(labels),
            indices: std::mem::take(indices),
        };
        // After the last batch nobody wants the buffers back: then they are freed.
        let _ = recycler.send(buffers);
    }
}

/// The batches of an epoch; dropping it stops the thread that makes them.
#[derive(Debug)]
pub struct Batches {
    /// None once the iterator is being dropped.
    receiver: Option<Receiver<Batch>>,
    producer: Option<JoinHandle<()>>,
    left: usize,
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.left = self.left.checked_sub(1)?;
        let batch = self.receiver.as_ref()?.recv().ok();
        if batch.is_none() {
            // The thread ended too early: only a panic (in a data set or transform) does that. Pass it on.
            if let Some(Err(panic)) = self.producer.take().map(JoinHandle::join) {
                std::panic::resume_unwind(panic);
            }
        }
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        // A producer that waits to send wakes up with an error once the receiver is gone.
        self.receiver = None;
        if let Some(producer) = self.producer.take() {
            let _ = producer.join();
        }
    }
}
