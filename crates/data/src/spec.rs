//! The `--data` string: which data set, and where it is.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Dataset, Error, LoadOptions, Source, Split, sources};

/// A data set by its `--data` string: `synthetic | synthetic-parity | cifar10:PATH | cifar100:PATH | folder:DIR`, or what was
/// [added](crate::Sources::add).
///
/// ```
/// use inductive_data::DataSpec;
/// let spec: DataSpec = "cifar100:data/cifar-100-binary.tar.gz".parse()?;
/// assert_eq!((spec.source().classes(), spec.source().image_size()), (Some(100), Some((32, 32))));
/// # Ok::<(), inductive_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DataSpec(Arc<dyn Source>);

impl DataSpec {
    /// What it names.
    pub fn source(&self) -> &dyn Source {
        &*self.0
    }

    /// Reads or generates the data set into memory.
    ///
    /// # Errors
    /// Those of its source; [`Error::Inconsistent`] for sets that are not what the source says, or do not go together.
    pub fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
        let split = self.0.load(options)?;
        for set in [&split.train, &split.test] {
            self.check(&**set, &*split.train)?;
        }
        Ok(split)
    }

    /// Refuses a set that is not what the source says.
    fn check(&self, set: &dyn Dataset, train: &dyn Dataset) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Inconsistent { spec: self.to_string(), reason });
        let (size, classes) = ((set.height(), set.width()), set.num_classes());
        let expected = self.0.image_size().unwrap_or((train.height(), train.width()));
        if set.spec() != self.to_string() {
            return refuse(format!("a set of it says that it is `{}`", set.spec()));
        }
        if size != expected {
            return refuse(format!("images of {size:?} pixels where {expected:?} were expected"));
        }
        if set.class_names() != train.class_names() || self.0.classes().is_some_and(|it| it != classes) {
            let expected = self.0.classes().unwrap_or(train.num_classes());
            return refuse(format!(
                "{classes} classes where {expected} were expected, the same in both sets"
            ));
        }
        match (0..set.len()).find(|index| set.label(*index) as usize >= classes) {
            Some(index) => refuse(format!("the label of image {index} is none of {classes} classes")),
            None => Ok(()),
        }
    }
}

impl FromStr for DataSpec {
    type Err = Error;

    /// # Errors
    /// As [`Sources::find`](crate::Sources::find).
    fn from_str(given: &str) -> Result<Self, Error> {
        sources().find(given).map(Self)
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.id())
    }
}
