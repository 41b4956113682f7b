//! Lengths of time in a configuration: a number is epochs, a text is what [`Duration`] reads.
//!
//! For serde's `with`, of a field or of an enum's value:
//!
//! ```
//! # use inductive_schedule::{Duration, length};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Recipe {
//!     #[serde(with = "length")]
//!     epochs: Duration,
//! }
//! let recipe: Recipe = toml::from_str("epochs = 20")?;
//! assert_eq!(recipe.epochs, Duration::Epochs(20.0));
//! # Ok::<(), toml::de::Error>(())
//! ```

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserializer, Serializer, de};

use crate::Duration;

/// Epochs as a number, other units as a text.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match length {
        Duration::Epochs(epochs) => serializer.serialize_f64(*epochs),
        other => serializer.collect_str(other),
    }
}

/// Reads either form. A number is taken as it is, negative or not finite included: its range is for who uses it to check.
///
/// # Errors
/// For another type, and for a text that is no [`Duration`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Read)
}

/// A length of time: a number of epochs (`20`, `0.5`), or a text with a unit: `"2000 steps"`, `"1e6 examples"` (images),
/// `"3 epochs"`, `"5%"` of the run. It is rounded to steps once.
// What a reference of recipes says of it; fields of such lengths are `Duration`s.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Length {
    /// Epochs.
    Epochs(f64),
    /// With a unit.
    Text(String),
}

pub(crate) struct Read;

impl de::Visitor<'_> for Read {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of epochs, or a text such as \"2000 steps\"")
    }
    fn visit_f64<E: de::Error>(self, epochs: f64) -> Result<Duration, E> {
        Ok(Duration::Epochs(epochs))
    }
    fn visit_i64<E: de::Error>(self, epochs: i64) -> Result<Duration, E> {
        Ok(Duration::Epochs(epochs as f64))
    }
    fn visit_u64<E: de::Error>(self, epochs: u64) -> Result<Duration, E> {
        Ok(Duration::Epochs(epochs as f64))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }
}
