//! The `--data` string: which data set, and where it is.

use crate::{Error, Split, SyntheticConfig, cifar10, cifar100, image_folder, synthetic, synthetic_parity};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A data source: `synthetic | synthetic-parity | cifar10:PATH | cifar100:PATH | folder:DIR`.
///
/// ```
/// use inductive_data::DataSpec;
/// let spec: DataSpec = "cifar100:data/cifar-100-binary.tar.gz".parse()?;
/// assert_eq!(spec, DataSpec::Cifar100("data/cifar-100-binary.tar.gz".into()));
/// # Ok::<(), inductive_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataSpec {
    /// The embedded set: nothing to download.
    Synthetic,
    /// The embedded set of a parity problem.
    SyntheticParity,
    /// CIFAR-10: official archive (binary version) or the folder unpacked from it.
    Cifar10(PathBuf),
    /// CIFAR-100, fine labels: official archive (binary version) or the folder unpacked from it.
    Cifar100(PathBuf),
    /// A folder of images by class.
    Folder(PathBuf),
}

impl DataSpec {
    /// Which drawing of an embedded set this program makes: the same name, size and seed give other images in another.
    /// None for sets that are read.
    pub fn revision(&self) -> Option<u32> {
        match self {
            Self::Synthetic => Some(crate::synthetic::REVISION),
            Self::SyntheticParity => Some(1),
            Self::Cifar10(_) | Self::Cifar100(_) | Self::Folder(_) => None,
        }
    }

    /// What a `--data` string may look like, one form per source.
    pub const FORMS: [&str; 5] =
        ["synthetic", "synthetic-parity", "cifar10:PATH", "cifar100:PATH", "folder:DIR"];
}

impl FromStr for DataSpec {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownSource`], [`Error::MissingPath`] or [`Error::UnexpectedPath`].
    fn from_str(given: &str) -> Result<Self, Error> {
        let (name, path) = given.split_once(':').unwrap_or((given, ""));
        let path = |name, what| match path {
            "" => Err(Error::MissingPath { name, what }),
            path => Ok(PathBuf::from(path)),
        };
        match name {
            "synthetic" if given == name => Ok(Self::Synthetic),
            "synthetic-parity" if given == name => Ok(Self::SyntheticParity),
            "synthetic" | "synthetic-parity" => Err(Error::UnexpectedPath { given: given.into() }),
            "cifar10" => {
                let what = "cifar-10-binary.tar.gz or the folder cifar-10-batches-bin unpacked from it";
                path("cifar10", what).map(Self::Cifar10)
            }
            "cifar100" => {
                let what = "cifar-100-binary.tar.gz or the folder cifar-100-binary unpacked from it";
                path("cifar100", what).map(Self::Cifar100)
            }
            "folder" => path("folder", "a folder with train/<class>/* and val/<class>/*").map(Self::Folder),
            _ => Err(Error::UnknownSource { given: given.into() }),
        }
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synthetic => write!(f, "synthetic"),
            Self::SyntheticParity => write!(f, "synthetic-parity"),
            Self::Cifar10(path) => write!(f, "cifar10:{}", path.display()),
            Self::Cifar100(path) => write!(f, "cifar100:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
        }
    }
}

/// What a source needs besides its `--data` string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width that the images of a folder are resized to, in pixels; default 32 x 32.
    pub folder_size: (usize, usize),
    /// Size and seed of the embedded sets.
    pub synthetic: SyntheticConfig,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { folder_size: (32, 32), synthetic: SyntheticConfig::default() }
    }
}

impl DataSpec {
    /// Reads or generates the data set into memory.
    ///
    /// # Errors
    /// Those of [`synthetic()`], [`synthetic_parity`], [`cifar10`], [`cifar100`] and [`image_folder`].
    pub fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        match self {
            Self::Synthetic => synthetic(&options.synthetic),
            Self::SyntheticParity => synthetic_parity(&options.synthetic),
            Self::Cifar10(path) => cifar10(path),
            Self::Cifar100(path) => cifar100(path),
            Self::Folder(path) => image_folder(path, options.folder_size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_the_inverse_of_parsing() {
        for text in ["synthetic", "synthetic-parity", "cifar10:a b", "cifar100:C:\\data", "folder:/x/y:z"] {
            assert_eq!(text.parse::<DataSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_with_what_is() {
        for text in ["", "svhn:x", "parquet:x", "hf:a/b", "CIFAR10:x", "data", "synthetics"] {
            let error = text.parse::<DataSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(DataSpec::FORMS.into_iter().all(|form| error.contains(form)), "{error}");
        }
    }

    #[test]
    fn every_form_is_a_source_and_every_source_has_a_form() {
        // Fails to compile for a source that is not listed here.
        let form = |spec: &DataSpec| match spec {
            DataSpec::Synthetic => 0,
            DataSpec::SyntheticParity => 1,
            DataSpec::Cifar10(_) => 2,
            DataSpec::Cifar100(_) => 3,
            DataSpec::Folder(_) => 4,
        };
        for (index, text) in DataSpec::FORMS.into_iter().enumerate() {
            assert_eq!(form(&text.parse().unwrap()), index, "{text}");
        }
    }

    #[test]
    fn missing_and_unexpected_paths_are_refused_with_the_right_form() {
        for text in ["cifar10", "cifar100", "folder", "cifar10:", "folder:"] {
            let error = text.parse::<DataSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("{}:PATH", text.trim_end_matches(':'))), "{error}");
        }
        for text in ["synthetic:5", "synthetic-parity:"] {
            assert!(matches!(text.parse::<DataSpec>(), Err(Error::UnexpectedPath { .. })), "{text}");
        }
    }
}
