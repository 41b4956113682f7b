//! Claims and next steps as a file says them.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Rows, table::points};

/// A claim of `published.toml` and what it is judged by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Claim {
    /// Name of the claim.
    pub id: String,
    /// What is added to its name where it is judged in several ways.
    #[serde(default)]
    pub part: String,
    /// Arms without which it is not judged.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Unit of the differences.
    #[serde(default = "points")]
    pub unit: String,
    /// All comparisons again for each of these.
    pub each: Option<Rows>,
    /// What must hold.
    #[serde(default, deserialize_with = "list")]
    pub compare: Vec<Compare>,
    /// A lead that grows as the data shrink.
    pub trend: Option<Trend>,
    /// Computed numbers that must be so.
    #[serde(default)]
    pub agree: Vec<Agreement>,
    /// Arms that must be alike.
    #[serde(default)]
    pub alike: Vec<Alike>,
    /// What else is worth saying.
    #[serde(default)]
    pub observe: Vec<Observation>,
}

/// `left > right`, alone or with more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Compare {
    /// The statement.
    pub compare: String,
    /// It in words; without it the arms' labels.
    pub says: Option<String>,
    /// Unit, where it is not the claim's.
    pub unit: Option<String>,
    /// Again for each of these rows.
    pub each: Option<Rows>,
}

impl From<String> for Compare {
    fn from(compare: String) -> Self {
        Self { compare, says: None, unit: None, each: None }
    }
}

/// That one arm leads another at every share of the data, and the more the less data there are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Trend {
    /// The arm that leads, and how it is called.
    pub leader: [String; 2],
    /// The arm that it leads, and how it is called.
    pub baseline: [String; 2],
}

/// A computed number that must be below (`<`) or above another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Agreement {
    /// `left < right`.
    pub compare: String,
    /// It in words.
    pub says: String,
}

/// Two arms that must be within a bound of each other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Alike {
    /// The two.
    pub alike: [String; 2],
    /// How near, points.
    pub within: f64,
    /// What is alike, in words.
    pub says: String,
}

/// What is said beside a verdict.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Observation {
    /// The statement.
    pub says: String,
    /// Whether it is seen: in the means over seeds.
    pub sees: Option<String>,
    /// Whether it is seen: all of these are judged to hold.
    #[serde(default, deserialize_with = "list")]
    pub judged: Vec<Compare>,
}

/// What should be run next: a line, alone or with more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Next {
    /// The line.
    pub say: String,
    /// It is said where this is seen in the means.
    pub sees: Option<String>,
    /// It is said of every undecided comparison of this question, and may name `{statement}`, `{difference}` and `{seeds}`.
    pub undecided: Option<String>,
}

impl From<String> for Next {
    fn from(say: String) -> Self {
        Self { say, sees: None, undecided: None }
    }
}

/// A list in which what has one text alone may be that text.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<String>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<TextOr<T>>::deserialize(deserializer)?.into_iter().map(|one| one.0).collect())
}

/// A text, or a table.
struct TextOr<T>(T);

impl<'de, T: Deserialize<'de> + From<String>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for Either<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                Ok(text.to_owned().into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}
