//! What a data set is before it is loaded; those of this crate.

use std::{fmt, path::PathBuf};

use crate::{
    Descriptor, Error, Split, SyntheticConfig, cifar10, cifar100, folder::folder_classes, image_folder,
    synthetic, synthetic_parity,
};

/// A data set that can be loaded.
///
/// Two calls of [`load`](Self::load) with the same options give the same images in the same order, unless files have changed in
/// between: what a run learns is a function of it. What a source says of itself before it is loaded holds afterwards;
/// [`DataSpec::load`](crate::DataSpec::load) checks that.
pub trait Source: fmt::Debug + Send + Sync {
    /// The `--data` string that names it, `cifar10:PATH`: [`DatasetInfo::spec`](crate::DatasetInfo::spec) of both its sets.
    fn id(&self) -> String;

    /// Reads or makes the images.
    ///
    /// # Errors
    /// What is missing or damaged, and where; [`Error::source`] makes an error of any text.
    fn load(&self, options: &LoadOptions) -> Result<Split, Error>;

    /// Height and width of the images in pixels, if they have them whatever [`LoadOptions::image_size`] asks for.
    fn image_size(&self) -> Option<(usize, usize)> {
        None
    }

    /// Number of classes, if it is known before loading.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Of images that are made: which drawing this program makes. The same name, size and seed give other images in another. `None`
    /// for images that are read.
    fn revision(&self) -> Option<u32> {
        None
    }
}

/// What a source needs besides its `--data` string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width, pixels, for images that have no size of their own, as those of a folder; default 32 x 32.
    pub image_size: (usize, usize),
    /// Size and seed of the embedded sets.
    pub synthetic: SyntheticConfig,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { image_size: (32, 32), synthetic: SyntheticConfig::default() }
    }
}

/// One of the embedded sets.
#[derive(Debug)]
pub(crate) struct Embedded {
    descriptor: &'static Descriptor,
    revision: u32,
    make: fn(&SyntheticConfig) -> Result<Split, Error>,
}

impl Embedded {
    pub fn synthetic() -> Self {
        Self { descriptor: Descriptor::synthetic(), revision: crate::synthetic::REVISION, make: synthetic }
    }

    pub fn parity() -> Self {
        Self { descriptor: Descriptor::synthetic_parity(), revision: 1, make: synthetic_parity }
    }
}

impl Source for Embedded {
    fn id(&self) -> String {
        self.descriptor.name.clone()
    }

    fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        (self.make)(&options.synthetic)
    }

    fn image_size(&self) -> Option<(usize, usize)> {
        Some((self.descriptor.height, self.descriptor.width))
    }

    fn classes(&self) -> Option<usize> {
        Some(self.descriptor.classes.len())
    }

    fn revision(&self) -> Option<u32> {
        Some(self.revision)
    }
}

/// An official archive, or what was unpacked from it.
#[derive(Debug)]
pub(crate) struct Official {
    descriptor: &'static Descriptor,
    path: PathBuf,
    read: fn(&std::path::Path) -> Result<Split, Error>,
}

impl Official {
    pub fn cifar10(path: PathBuf) -> Self {
        Self { descriptor: Descriptor::cifar10(), path, read: cifar10 }
    }

    pub fn cifar100(path: PathBuf) -> Self {
        Self { descriptor: Descriptor::cifar100(), path, read: cifar100 }
    }
}

impl Source for Official {
    fn id(&self) -> String {
        format!("{}:{}", self.descriptor.name, self.path.display())
    }

    fn load(&self, _: &LoadOptions) -> Result<Split, Error> {
        (self.read)(&self.path)
    }

    fn image_size(&self) -> Option<(usize, usize)> {
        Some((self.descriptor.height, self.descriptor.width))
    }

    fn classes(&self) -> Option<usize> {
        Some(self.descriptor.classes.len())
    }
}

/// A folder of images by class.
#[derive(Debug)]
pub(crate) struct Folder(pub PathBuf);

impl Source for Folder {
    fn id(&self) -> String {
        format!("folder:{}", self.0.display())
    }

    fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        image_folder(&self.0, options.image_size)
    }

    fn classes(&self) -> Option<usize> {
        folder_classes(&self.0)
    }
}
