//! Which initial weights a recipe asks for: a strategy by name, or in all its parts.

use std::{fmt, fs, path::Path};

use inductive_init::Strategy;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{Error, Result};

/// Initial weights. In a recipe a name, `init = "impulse"`, or a table with the parts of a [`Strategy`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Init {
    /// One of [`Strategy::NAMES`].
    Named(String),
    /// Any other.
    Given(Box<Strategy>),
}

impl Init {
    /// Reads the parts of a strategy from a TOML file: the table `init` of a recipe, on its own.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::StrategyText`] with line and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(Error::io("read the strategy", path))?;
        let strategy = toml::from_str(&text).map_err(|error| Error::StrategyText {
            path: path.to_owned(),
            problem: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self::Given(Box::new(strategy)))
    }

    /// The strategy; `None` for a name that does not exist.
    pub fn strategy(&self) -> Option<Strategy> {
        match self {
            Self::Named(name) => Strategy::named(name),
            Self::Given(strategy) => Some((**strategy).clone()),
        }
    }
}

impl From<&str> for Init {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Given(_) => f.write_str("a strategy of its own"),
        }
    }
}

impl<'de> Deserialize<'de> for Init {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Init;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a strategy, or a table with its parts")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Init, E> {
                Ok(name.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Init, A::Error> {
                Strategy::deserialize(MapAccessDeserializer::new(map)).map(|it| Init::Given(Box::new(it)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
