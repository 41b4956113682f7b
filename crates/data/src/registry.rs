//! Data sources by name.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard},
};

use crate::{
    Error, Source,
    source::{Embedded, Folder, Official},
};

/// How a source is named in a `--data` string: `name`, or `name:ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    name: String,
    /// How the argument is called in help, and what it is.
    argument: Option<(String, String)>,
}

impl Form {
    /// A source that needs nothing but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), argument: None }
    }

    /// The same with something behind a colon. called: `PATH`, `DIR`, .. in help; what: what it is, for who left it out.
    pub fn with_argument(self, called: impl Into<String>, what: impl Into<String>) -> Self {
        Self { argument: Some((called.into(), what.into())), ..self }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.argument {
            None => f.write_str(&self.name),
            Some((called, _)) => write!(f, "{}:{called}", self.name),
        }
    }
}

type Open = dyn Fn(&str) -> Result<Arc<dyn Source>, Error> + Send + Sync;

struct Named {
    form: Form,
    open: Arc<Open>,
}

/// Data sources by name: those of this crate, and what others add.
///
/// ```
/// use inductive_data::{DataSpec, DatasetInfo, Error, Form, ImageSet, LoadOptions, Source, Split, sources};
/// use std::sync::Arc;
///
/// /// Grey images, as many classes as asked for.
/// #[derive(Debug)]
/// struct Grey(usize);
///
/// impl Source for Grey {
///     fn id(&self) -> String {
///         format!("grey:{}", self.0)
///     }
///
///     fn load(&self, options: &LoadOptions) -> Result<Split, Error> {
///         let (height, width) = options.image_size;
///         let class_names = (0..self.0).map(|class| class.to_string()).collect();
///         let info = DatasetInfo { spec: self.id(), height, width, class_names, mean: [0.5; 3], std: [0.25; 3] };
///         let pixels = (0..self.0).flat_map(|class| vec![class as u8; 3 * height * width]).collect();
///         let set = Arc::new(ImageSet::new(info, pixels, (0..self.0 as u32).collect())?);
///         Ok(Split { train: set.clone(), test: set, notices: Vec::new() })
///     }
/// }
///
/// sources().add(Form::new("grey").with_argument("N", "the number of classes"), |argument| {
///     let classes = argument.parse().map_err(|why| Error::source(format!("grey:{argument}"), why))?;
///     Ok(Arc::new(Grey(classes)))
/// })?;
/// let split = "grey:7".parse::<DataSpec>()?.load(&LoadOptions::default())?;
/// assert_eq!(split.train.num_classes(), 7);
/// # Ok::<(), Error>(())
/// ```
pub struct Sources {
    sources: RwLock<Vec<Named>>,
}

/// The sources of this process.
pub fn sources() -> &'static Sources {
    static SOURCES: LazyLock<Sources> = LazyLock::new(Sources::standard);
    &SOURCES
}

impl Sources {
    /// Those of this crate.
    fn standard() -> Self {
        fn named<S: Source + 'static>(form: Form, open: impl Fn(&str) -> S + Send + Sync + 'static) -> Named {
            Named { form, open: Arc::new(move |argument| Ok(Arc::new(open(argument)))) }
        }
        let path = |name: &str, what: &str| Form::new(name).with_argument("PATH", what);
        let ten = "cifar-10-binary.tar.gz or the folder cifar-10-batches-bin unpacked from it";
        let hundred = "cifar-100-binary.tar.gz or the folder cifar-100-binary unpacked from it";
        let folder = "a folder with train/<class>/* and val/<class>/*";
        let sources = vec![
            named(Form::new("synthetic"), |_| Embedded::synthetic()),
            named(Form::new("synthetic-parity"), |_| Embedded::parity()),
            named(path("cifar10", ten), |path| Official::cifar10(path.into())),
            named(path("cifar100", hundred), |path| Official::cifar100(path.into())),
            named(Form::new("folder").with_argument("DIR", folder), |path| Folder(PathBuf::from(path))),
        ];
        Self { sources: RwLock::new(sources) }
    }

    /// Adds a source. From then on recipes and all else that takes a `--data` string know it.
    ///
    /// `open` makes it of what stands behind the colon, which is not empty; without an argument in its form, of an empty text.
    /// It reads nothing yet: that is for [`Source::load`].
    ///
    /// # Errors
    /// [`Error::SourceName`] for a name that is there already, is empty or has other characters than letters, digits, `-` and `_`.
    pub fn add(
        &self,
        form: Form,
        open: impl Fn(&str) -> Result<Arc<dyn Source>, Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let refuse = |problem| Err(Error::SourceName { name: form.name.clone(), problem });
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if form.name.is_empty() || !form.name.chars().all(plain) {
            return refuse("a name has letters, digits, `-` and `_`");
        }
        if sources.iter().any(|it| it.form.name == form.name) {
            return refuse("a source of this name is there already");
        }
        sources.push(Named { form, open: Arc::new(open) });
        Ok(())
    }

    /// What a `--data` string may look like: those of this crate in a fixed order, then what was added.
    pub fn forms(&self) -> Vec<Form> {
        self.sources().iter().map(|it| it.form.clone()).collect()
    }

    /// The source that a `--data` string names.
    ///
    /// # Errors
    /// [`Error::UnknownSource`], [`Error::MissingArgument`], [`Error::UnexpectedArgument`], or what the source has to say.
    pub fn find(&self, given: &str) -> Result<Arc<dyn Source>, Error> {
        let (name, argument) = given.split_once(':').map_or((given, None), |(name, rest)| (name, Some(rest)));
        let open = {
            let sources = self.sources();
            let Some(Named { form, open }) = sources.iter().find(|it| it.form.name == name) else {
                let forms = sources.iter().map(|it| it.form.to_string()).collect();
                return Err(Error::UnknownSource { given: given.into(), forms });
            };
            match (&form.argument, argument) {
                (None, Some(_)) => return Err(Error::UnexpectedArgument { given: given.into() }),
                (Some((called, what)), None | Some("")) => {
                    let (form, called, what) = (form.to_string(), called.clone(), what.clone());
                    return Err(Error::MissingArgument { name: name.into(), form, called, what });
                }
                (None, None) | (Some(_), Some(_)) => open.clone(),
            }
        };
        // Without the lock: a source may ask for others.
        open(argument.unwrap_or_default())
    }

    fn sources(&self) -> RwLockReadGuard<'_, Vec<Named>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.forms()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_text_that_names_the_source() {
        for text in ["synthetic", "synthetic-parity", "cifar10:a b", "cifar100:C:\\data", "folder:/x/y:z"] {
            assert_eq!(Sources::standard().find(text).unwrap().id(), text);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let sources = Sources::standard();
        for text in ["", "svhn:x", "parquet:x", "hf:a/b", "CIFAR10:x", "data", "synthetics"] {
            let error = sources.find(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(sources.forms().iter().all(|form| error.contains(&form.to_string())), "{error}");
        }
    }

    #[test]
    fn missing_and_unexpected_arguments_are_refused_with_the_right_form() {
        let sources = Sources::standard();
        for (text, form) in
            [("cifar10", "cifar10:PATH"), ("cifar100:", "cifar100:PATH"), ("folder:", "folder:DIR")]
        {
            let error = sources.find(text).unwrap_err().to_string();
            assert!(error.contains(form), "{error}");
        }
        for text in ["synthetic:5", "synthetic-parity:"] {
            assert!(matches!(sources.find(text), Err(Error::UnexpectedArgument { .. })), "{text}");
        }
    }

    #[test]
    fn a_name_is_plain_and_given_once() {
        let sources = Sources::standard();
        let add = |name: &str| sources.add(Form::new(name), |_| Ok(Arc::new(Embedded::parity())));
        for name in ["", "a:b", "a b", "synthetic"] {
            assert!(matches!(add(name), Err(Error::SourceName { .. })), "{name}");
        }
        add("own").unwrap();
        assert!(add("own").unwrap_err().to_string().contains("already"));
        assert_eq!(sources.forms().last(), Some(&Form::new("own")));
    }
}
