//! A length of time as people write it, rounded once to steps.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A length of training time: "2000 steps", "300 epochs", "1e6 examples" or "5%" of the run.
///
/// As in big_vision, every length in a recipe may be given in any of the four, and is rounded to steps once, in
/// [`Duration::to_steps`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Duration {
    /// Optimizer updates.
    Steps(u64),
    /// Passes over the data, fractions allowed.
    Epochs(f64),
    /// Images seen.
    Examples(u64),
    /// Percent of the whole run, fractions allowed.
    Percent(f64),
}

/// What a run must be known by to turn a [`Duration`] into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSize {
    /// Images in one pass over the data.
    pub dataset_size: u64,
    /// Images in one update.
    pub batch_size: u64,
    /// Updates in the whole run; `None` while that is what is being worked out.
    pub total_steps: Option<u64>,
}

/// Counts up to 2^53 are exact as `f64`; larger ones are a slip.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

impl Duration {
    /// This length in steps, rounded to the nearest; only a length of zero gives zero steps.
    ///
    /// # Errors
    /// Examples and epochs need a batch size above 0, percent needs the length of the run.
    pub fn to_steps(self, run: RunSize) -> Result<u64> {
        let unresolved = |problem| Error::Unresolved { duration: self.to_string(), problem };
        let batch = || match run.batch_size {
            0 => Err(unresolved("the batch size is 0; give one of 1 or more")),
            batch => Ok(batch as f64),
        };
        let exact = match self {
            Self::Steps(steps) => return Ok(steps),
            Self::Epochs(epochs) => epochs * run.dataset_size as f64 / batch()?,
            Self::Examples(examples) => examples as f64 / batch()?,
            Self::Percent(percent) => {
                let problem = "percent of a run whose length is not known; give steps, epochs or examples";
                run.total_steps.ok_or_else(|| unresolved(problem))? as f64 * (percent / 100.0)
            }
        };
        if !(0.0..=MAX_COUNT).contains(&exact) {
            return Err(unresolved("it is negative or has more than 2^53 steps; give a shorter one"));
        }
        Ok(if exact > 0.0 { (exact.round() as u64).max(1) } else { 0 })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |one: bool| if one { "" } else { "s" };
        match *self {
            Self::Steps(n) => write!(f, "{n} step{}", plural(n == 1)),
            Self::Epochs(n) => write!(f, "{n} epoch{}", plural(n == 1.0)),
            Self::Examples(n) => write!(f, "{n} example{}", plural(n == 1)),
            Self::Percent(n) => write!(f, "{n}%"),
        }
    }
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let fail = |problem: &str| Error::Duration { input: input.to_owned(), problem: problem.to_owned() };
        let text = input.trim();
        // A unit starts at the first letter or `%` that is not the exponent of a number ("1e6 examples", "5 epochs").
        let is_exponent = |at: usize| {
            let after = text[at + 1..].trim_start_matches(['+', '-']);
            text[..at].ends_with(|c: char| c.is_ascii_digit() || c == '.')
                && after.starts_with(|c: char| c.is_ascii_digit())
        };
        let is_unit = |&(at, c): &(usize, char)| {
            (c.is_alphabetic() || c == '%') && !(matches!(c, 'e' | 'E') && is_exponent(at))
        };
        let Some((split, _)) = text.char_indices().find(is_unit) else {
            return Err(fail(if text.is_empty() { "it is empty" } else { "it has no unit" }));
        };
        let (number, unit) = text.split_at(split);
        let number = number.trim().replace('_', "");
        if number.is_empty() {
            return Err(fail("it has no number"));
        }
        let number: f64 = number.parse().map_err(|_| fail(&format!("`{number}` is not a number")))?;
        if !(0.0..=MAX_COUNT).contains(&number) {
            return Err(fail("the number must be between 0 and 2^53"));
        }
        let count = || match number.fract() == 0.0 {
            true => Ok(number as u64),
            false => Err(fail("steps and examples come whole")),
        };
        match unit.trim() {
            "step" | "steps" => Ok(Self::Steps(count()?)),
            "epoch" | "epochs" => Ok(Self::Epochs(number)),
            "example" | "examples" => Ok(Self::Examples(count()?)),
            "%" | "percent" => Ok(Self::Percent(number)),
            other => Err(fail(&format!("`{other}` is not a unit"))),
        }
    }
}

impl TryFrom<String> for Duration {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

#[cfg(test)]
#[path = "duration_tests.rs"]
mod tests;
