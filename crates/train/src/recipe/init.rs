//! Which initial weights a recipe asks for: by name, or in all their parts.

use std::{fmt, marker::PhantomData, path::Path, sync::Arc};

use inductive_init::{Filters, MakeInitializer, Strategy, named_initializer};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::text::toml_problem;
use crate::{Error, Result};

/// What has names.
pub trait Named: Sized + Clone {
    /// All names.
    const NAMES: &'static [&'static str];

    /// What the name stands for.
    fn named(name: &str) -> Option<Self>;

    /// Names that others added, which stand for something else than parts.
    fn added() -> Vec<String> {
        Vec::new()
    }
}

impl Named for Strategy {
    const NAMES: &'static [&'static str] = &Self::NAMES;

    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }

    fn added() -> Vec<String> {
        let names = inductive_init::initializer_names().into_iter().map(|(name, _)| name);
        names.skip(Self::NAMES.len()).collect()
    }
}

impl Named for Filters {
    const NAMES: &'static [&'static str] = &Self::NAMES;

    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }
}

/// Initial weights. In a recipe a name, `init = "impulse"`, or a table with their parts.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Init<T> {
    /// One of [`Named::NAMES`].
    Named(String),
    /// Any other, in its parts.
    Given(Box<T>),
}

impl<T: Named> Init<T> {
    /// Reads the parts from a TOML file: the table of a recipe, on its own.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::StrategyText`] with line and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Self>
    where
        T: DeserializeOwned,
    {
        let path = path.as_ref();
        let text =
            inductive_files::read_to_string(path).map_err(Error::io("read the initial weights", path))?;
        let parts = toml::from_str(&text)
            .map_err(|error| Error::StrategyText { path: path.to_owned(), problem: toml_problem(&error) })?;
        Ok(Self::Given(Box::new(parts)))
    }

    /// Whether there is what is asked for.
    pub fn exists(&self) -> bool {
        match self {
            Self::Named(name) => T::named(name).is_some() || T::added().contains(name),
            Self::Given(_) => true,
        }
    }

    /// The parts of what is asked for; `None` for a name that has none.
    pub fn get(&self) -> Option<T> {
        match self {
            Self::Named(name) => T::named(name),
            Self::Given(parts) => Some((**parts).clone()),
        }
    }
}

impl Init<Strategy> {
    /// What makes the weights; `None` for a name that does not exist.
    pub fn initializer(&self) -> Option<Arc<dyn MakeInitializer>> {
        match self {
            Self::Named(name) => named_initializer(name),
            Self::Given(parts) => Some(Arc::new((**parts).clone())),
        }
    }
}

impl<T> From<&str> for Init<T> {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl<T> fmt::Display for Init<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Given(_) => f.write_str("given in parts"),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Init<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Either<T> {
            type Value = Init<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a table with the parts")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Init<T>, E> {
                Ok(name.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Init<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|it| Init::Given(Box::new(it)))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
