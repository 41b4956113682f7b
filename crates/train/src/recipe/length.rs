//! Lengths of time in a recipe: a number is epochs, a text is what [`Duration`] reads.

use std::fmt;

use inductive_schedule::Duration;
use serde::{Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match length {
        Duration::Epochs(epochs) => serializer.serialize_f64(*epochs),
        other => serializer.collect_str(other),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Length;
    impl de::Visitor<'_> for Length {
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
    deserializer.deserialize_any(Length)
}
