//! Facts about each known data set, from `datasets/*.toml` of the repository.

use crate::{DatasetInfo, Error};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use std::sync::LazyLock;

/// One data set: where it comes from, how it is laid out, what is in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Descriptor {
    /// The name before the colon of a `--data` string.
    pub name: String,
    /// The name in prose.
    pub title: String,
    /// Where the official archive is; none if nothing is to be downloaded.
    pub url: Option<String>,
    /// SHA-256 of the archive in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// MD5 of the archive, as its publisher states it.
    pub md5: Option<String>,
    /// Files and record format, in words.
    pub layout: String,
    /// Image height in pixels.
    pub height: usize,
    /// Image width in pixels.
    pub width: usize,
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Mean of each channel over the training images, pixels in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel over the training images, pixels in [0, 1].
    pub std: [f32; 3],
    /// Licence or terms of use.
    pub licence: String,
    /// What to cite.
    pub citation: String,
    /// Name of each class; the position is the label.
    pub classes: Vec<String>,
}

static ALL: LazyLock<Vec<Descriptor>> = LazyLock::new(|| {
    let texts = [
        include_str!("../../../datasets/synthetic.toml"),
        include_str!("../../../datasets/cifar10.toml"),
        include_str!("../../../datasets/cifar100.toml"),
        include_str!("../../../datasets/synthetic-parity.toml"),
    ];
    texts.map(|text| toml::from_str(text).expect("embedded descriptors are checked by a test")).into()
});

impl Descriptor {
    /// Every data set with a descriptor: synthetic, cifar10, cifar100, synthetic-parity.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    pub(crate) fn synthetic() -> &'static Self {
        &ALL[0]
    }

    pub(crate) fn cifar10() -> &'static Self {
        &ALL[1]
    }

    pub(crate) fn cifar100() -> &'static Self {
        &ALL[2]
    }

    pub(crate) fn synthetic_parity() -> &'static Self {
        &ALL[3]
    }

    /// What an in-memory set of this data set needs to know, under the name `spec`.
    pub(crate) fn info(&self, spec: impl Into<String>) -> DatasetInfo {
        DatasetInfo {
            spec: spec.into(),
            height: self.height,
            width: self.width,
            class_names: self.classes.clone(),
            mean: self.mean,
            std: self.std,
        }
    }

    /// Compares the SHA-256 of `archive` with the official one.
    ///
    /// # Errors
    /// [`Error::Checksum`] if they differ, [`Error::NoChecksum`] if the data set has no archive, [`Error::Io`].
    pub fn verify(&self, archive: &Path) -> Result<(), Error> {
        let Some(expected) = &self.sha256 else {
            return Err(Error::NoChecksum { dataset: self.name.clone() });
        };
        let found = sha256(archive).map_err(|reason| Error::io("read", archive, reason))?;
        if found == *expected {
            return Ok(());
        }
        let url = self.url.clone().unwrap_or_default();
        Err(Error::Checksum {
            path: archive.into(),
            dataset: self.name.clone(),
            expected: expected.clone(),
            found,
            url,
        })
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut inductive_files::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn embedded_descriptors_are_complete() {
        let facts: Vec<_> =
            Descriptor::all().iter().map(|d| (d.name.as_str(), d.classes.len(), d.train, d.test)).collect();
        assert_eq!(
            facts,
            [
                ("synthetic", 10, 10_000, 2_000),
                ("cifar10", 10, 50_000, 10_000),
                ("cifar100", 100, 50_000, 10_000),
                ("synthetic-parity", 10, 10_000, 2_000)
            ]
        );
        for descriptor in Descriptor::all() {
            assert!(descriptor.mean.iter().chain(&descriptor.std).all(|&value| value > 0.0 && value < 1.0));
            assert!(descriptor.sha256.as_ref().is_none_or(|sum| sum.len() == 64));
            assert_eq!(descriptor.url.is_some(), descriptor.sha256.is_some());
        }
    }

    #[test]
    fn verify_compares_the_sha256_of_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let mut descriptor = Descriptor::cifar10().clone();
        let error = descriptor.verify(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("ba7816bf"), "{error}");
        // FIPS 180-4, appendix: SHA-256 of "abc".
        descriptor.sha256 = Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into());
        descriptor.verify(file.path()).unwrap();
        assert!(Descriptor::synthetic().verify(file.path()).is_err());
    }
}
