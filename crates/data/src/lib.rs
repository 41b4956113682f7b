//! Image data sets, transforms and a deterministic loader, with embedded synthetic sets.
//!
//! A [`DataSpec`] names a data set (`synthetic`, `cifar10:PATH`, `cifar100:PATH`, `folder:DIR`), a [`Source`], of which others can
//! [add](Sources::add) their own, and loads it into a [`Split`] of two [`Dataset`]s: labelled uint8 images, [3, height, width], all of one size. A [`Subset`] takes a few
//! images per class. A [`Loader`] turns a set into shuffled batches of normalised f32 images through a [`Pipeline`] of
//! [`Transform`]s. Facts about the known data sets are [`Descriptor`]s.
//!
//! Invariants:
//! - Same seed, same bits: order and transforms are functions of (seed, epoch, position), not of time or threads, and
//!   an epoch can be taken up at any batch.
//! - Nothing from a path, an archive or a file panics: see [`Error`].
//! - No network: archives are downloaded elsewhere.
//!
//! ```
//! use inductive_data::{DataSpec, LoadOptions, Loader, LoaderConfig, PerClass, Pipeline, Subset, SyntheticConfig};
//! use std::sync::Arc;
//!
//! let options = LoadOptions { synthetic: SyntheticConfig { train: 200, test: 50, seed: 0 }, ..LoadOptions::default() };
//! let split = "synthetic".parse::<DataSpec>()?.load(&options)?;
//!
//! let train = Arc::new(Subset::first(split.train, PerClass::Fraction(0.5))?);
//! let pipeline = Pipeline::train(split.test.info());
//! let loader = Loader::new(train, pipeline, LoaderConfig { batch_size: 64, ..LoaderConfig::default() })?;
//! for batch in loader.epoch(0)? {
//!     assert_eq!(batch.images.len(), batch.len() * 3 * 32 * 32);
//!     assert_eq!(batch.labels.len(), batch.len());
//! }
//! assert_eq!(loader.batches_per_epoch(), 2); // 64 + 36 images
//! # Ok::<(), inductive_data::Error>(())
//! ```

mod archive;
mod cifar;
mod dataset;
mod descriptor;
mod error;
mod folder;
mod loader;
mod random;
mod registry;
mod source;
mod spec;
mod subset;
pub mod synthetic;
mod transform;

pub use cifar::{cifar10, cifar100};
pub use dataset::{Dataset, DatasetInfo, ImageSet, Split};
pub use descriptor::Descriptor;
pub use error::Error;
pub use folder::image_folder;
pub use loader::{Batch, Batches, Loader, LoaderConfig};
pub use rand;
pub use random::SampleRng;
pub use registry::{Form, Sources, sources};
pub use source::{LoadOptions, Source};
pub use spec::DataSpec;
pub use subset::{PerClass, Subset};
pub use synthetic::{SyntheticConfig, synthetic, synthetic_parity};
pub use transform::{HorizontalFlip, Image, Normalize, Pipeline, RandomCrop, Transform};
