//! When each layer of a model switches, as PRS's layers leave convolution for attention.
//!
//! Source: "Towards Flexible Inductive Bias via Progressive Reparameterization Scheduling" (arXiv 2210.01370), whose
//! abstract has "linearly faster at the late stage layer". The formula and its ends are this project's:
//!
//! ```text
//! T_l = round(T_first + (T_last - T_first) (l - 1) / (L - 1)),   l = 1 (the first layer) ... L (the last)
//! ```

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Error, Result, RunSize, error::setting, length};

/// When each of a model's layers switches. A layer whose time is `T` switches between the first `T` updates and the others. Times at
/// or after the end of a run are allowed and never come: a layer at `"100%"` does not switch.
///
/// ```
/// # use inductive_schedule::{RunSize, SwitchTimes};
/// # #[derive(serde::Deserialize)]
/// # struct Recipe { times: SwitchTimes }
/// let text = r#"times = { late-first = { earliest = "25%", latest = "75%" } }"#;
/// let times = toml::from_str::<Recipe>(text)?.times;
/// let run = RunSize { dataset_size: 1000, batch_size: 10, total_steps: Some(400) };
/// assert_eq!(times.steps(3, run)?, [Some(300), Some(200), Some(100)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Lengths are written as [`length`] does: a number of epochs or a text.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SwitchTimes {
    /// No layer switches.
    Never,
    /// All layers switch before the first update.
    FromStart,
    /// All layers switch at one time.
    Uniform(
        #[serde(with = "length")]
        #[schemars(with = "length::Length")]
        Duration,
    ),
    /// PRS: linear in depth, the last layer at `earliest` and the first at `latest`. One layer: the middle of both.
    LateFirst {
        /// When the last layer switches.
        #[serde(with = "length")]
        #[schemars(with = "length::Length")]
        earliest: Duration,
        /// When the first layer switches.
        #[serde(with = "length")]
        #[schemars(with = "length::Length")]
        latest: Duration,
    },
    /// Its mirror image, a control: the first layer at `earliest` and the last at `latest`. One layer: the middle of both.
    EarlyFirst {
        /// When the first layer switches.
        #[serde(with = "length")]
        #[schemars(with = "length::Length")]
        earliest: Duration,
        /// When the last layer switches.
        #[serde(with = "length")]
        #[schemars(with = "length::Length")]
        latest: Duration,
    },
    /// The time of each layer, from the first; `"never"` ([`None`]): it does not switch.
    Layers(
        #[serde(with = "each")]
        #[schemars(with = "Vec<length::Length>")]
        Vec<Option<Duration>>,
    ),
}

impl SwitchTimes {
    /// The number of updates before each of `layers` layers switches, from the first layer; `None`: never.
    ///
    /// Both ends are rounded to steps; what lies between is exact in them and rounded once, to the nearest, halves up. So
    /// late-first and early-first with the same ends have the same times in opposite order, and their mean differs
    /// from the middle of the ends by half a step at most.
    ///
    /// # Errors
    /// As [`SwitchTimes::check`] and [`Duration::to_steps`]; for `earliest` after `latest`; for a list of another length
    /// than `layers`.
    pub fn steps(&self, layers: usize, run: RunSize) -> Result<Vec<Option<u64>>> {
        self.check()?;
        Ok(match self {
            Self::Never => vec![None; layers],
            Self::FromStart => vec![Some(0); layers],
            Self::Uniform(time) => vec![Some(time.to_steps(run)?); layers],
            Self::LateFirst { earliest, latest } => {
                let (earliest, latest) = ends(*earliest, *latest, run)?;
                between(latest, earliest, layers)
            }
            Self::EarlyFirst { earliest, latest } => {
                let (earliest, latest) = ends(*earliest, *latest, run)?;
                between(earliest, latest, layers)
            }
            Self::Layers(times) if times.len() != layers => {
                return Err(Error::SwitchLayers { got: times.len(), expected: layers });
            }
            Self::Layers(times) => {
                let steps = |(index, time): (usize, &Option<Duration>)| {
                    let steps = time.map(|time| time.to_steps(run)).transpose();
                    steps.map_err(|error| bad_time(index, format!("is wrong: {error}")))
                };
                times.iter().enumerate().map(steps).collect::<Result<_>>()?
            }
        })
    }

    /// Refuses what is wrong whatever the run: times that are negative or not finite.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Never | Self::FromStart => Ok(()),
            Self::Uniform(time) => check_time("uniform", *time),
            Self::LateFirst { earliest, latest } | Self::EarlyFirst { earliest, latest } => {
                check_time("earliest", *earliest)?;
                check_time("latest", *latest)
            }
            Self::Layers(times) => times.iter().enumerate().try_for_each(|(index, time)| match time {
                Some(time) if !is_time(*time) => {
                    Err(bad_time(index, format!("is {}, expected {TIME}", amount(*time))))
                }
                _ => Ok(()),
            }),
        }
    }
}

/// What a time has to be.
const TIME: &str = "a finite time, 0 or more";

fn amount(time: Duration) -> f64 {
    match time {
        Duration::Steps(n) | Duration::Examples(n) => n as f64,
        Duration::Epochs(x) | Duration::Percent(x) => x,
    }
}

fn is_time(time: Duration) -> bool {
    amount(time).is_finite() && amount(time) >= 0.0
}

fn check_time(field: &'static str, time: Duration) -> Result<()> {
    setting("switch times", field, amount(time), is_time(time), TIME)
}

/// index: of a list, from 0.
fn bad_time(index: usize, problem: String) -> Error {
    Error::SwitchTime { number: index + 1, problem }
}

/// Both ends in steps, refused in the wrong order.
fn ends(earliest: Duration, latest: Duration, run: RunSize) -> Result<(u64, u64)> {
    let steps = (earliest.to_steps(run)?, latest.to_steps(run)?);
    if steps.0 > steps.1 {
        let (earliest, latest) = (earliest.to_string(), latest.to_string());
        return Err(Error::SwitchOrder { earliest, latest });
    }
    Ok(steps)
}

/// A line over `layers` layers from `first` to `last`.
fn between(first: u64, last: u64, layers: usize) -> Vec<Option<u64>> {
    let (first, last) = (u128::from(first), u128::from(last));
    // One layer lies in the middle, as of three.
    let (gaps, offset) = if layers == 1 { (2, 1) } else { (layers.saturating_sub(1) as u128, 0) };
    let step = |layer: u128| (2 * (first * (gaps - layer) + last * layer) + gaps) / (2 * gaps);
    // Between two numbers of 64 bits.
    (0..layers as u128).map(|layer| Some(step(layer + offset) as u64)).collect()
}

impl fmt::Display for SwitchTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::FromStart => f.write_str("from the start"),
            Self::Uniform(time) => write!(f, "all at {time}"),
            Self::LateFirst { earliest, latest } => write!(f, "late first, {earliest} to {latest}"),
            Self::EarlyFirst { earliest, latest } => write!(f, "early first, {earliest} to {latest}"),
            Self::Layers(times) => {
                f.write_str("at ")?;
                for (index, time) in times.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    match time {
                        Some(time) => write!(f, "{comma}{time}")?,
                        None => write!(f, "{comma}never")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Times of layers in a configuration, which has no word for "none" in a list.
mod each {
    use std::fmt;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::{Duration, length};

    const NEVER: &str = "never";

    struct Time(Option<Duration>);

    impl Serialize for Time {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match &self.0 {
                Some(time) => length::serialize(time, serializer),
                None => serializer.serialize_str(NEVER),
            }
        }
    }

    impl<'de> Deserialize<'de> for Time {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(OrNever(length::Read)).map(Self)
        }
    }

    struct OrNever(length::Read);

    impl de::Visitor<'_> for OrNever {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            de::Visitor::expecting(&self.0, f)?;
            write!(f, ", or \"{NEVER}\"")
        }
        fn visit_f64<E: de::Error>(self, epochs: f64) -> Result<Self::Value, E> {
            self.0.visit_f64(epochs).map(Some)
        }
        fn visit_i64<E: de::Error>(self, epochs: i64) -> Result<Self::Value, E> {
            self.0.visit_i64(epochs).map(Some)
        }
        fn visit_u64<E: de::Error>(self, epochs: u64) -> Result<Self::Value, E> {
            self.0.visit_u64(epochs).map(Some)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == NEVER { Ok(None) } else { self.0.visit_str(text).map(Some) }
        }
    }

    pub(super) fn serialize<S: Serializer>(
        times: &[Option<Duration>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(times.iter().copied().map(Time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Option<Duration>>, D::Error> {
        let times = Vec::<Time>::deserialize(deserializer)?;
        Ok(times.into_iter().map(|time| time.0).collect())
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
