//! Which training images a recipe uses: `all`, `first 10%`, `random 50`.

use std::{fmt, str::FromStr, sync::Arc};

use inductive_data::{Dataset, PerClass, Subset};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Which training images to use. In a recipe a text: `all`, `first 10%`, `first 50`, `random 10%`, `random 50`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SubsetSpec {
    /// All of them.
    #[default]
    All,
    /// A part of each class.
    Part {
        /// Which images of the class.
        choice: Choice,
        /// How many of each class: a share in percent if `percent`, else a count.
        amount: f64,
        /// What `amount` is.
        percent: bool,
    },
}

/// Which images of a class a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first in the order of the data: ConViT's way (arXiv 2103.10697 section 4), the same for every seed.
    First,
    /// Random ones, by the recipe's seed.
    Random,
}

impl SubsetSpec {
    /// The images of `dataset` that this names; `seed` decides random ones.
    pub(crate) fn apply(&self, dataset: Arc<dyn Dataset>, seed: u64) -> Result<Arc<dyn Dataset>> {
        let Self::Part { choice, amount, percent } = *self else { return Ok(dataset) };
        let amount =
            if percent { PerClass::Fraction(amount / 100.0) } else { PerClass::Count(amount as usize) };
        Ok(match choice {
            Choice::First => Arc::new(Subset::first(dataset, amount)?),
            Choice::Random => Arc::new(Subset::random(dataset, amount, seed)?),
        })
    }
}

impl fmt::Display for SubsetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Part { choice, amount, percent } = self else { return f.write_str("all") };
        let choice = match choice {
            Choice::First => "first",
            Choice::Random => "random",
        };
        write!(f, "{choice} {amount}{}", if *percent { "%" } else { "" })
    }
}

impl FromStr for SubsetSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let fail = || {
            format!(
                "subset `{text}`: expected `all`, or `first` or `random` with a share of each class above 0 and up to \
                 100 % (`first 10%`) or a whole number of images of each class (`random 50`)"
            )
        };
        let (choice, amount) = text.trim().split_once(char::is_whitespace).ok_or_else(fail)?;
        let choice = match choice {
            "first" => Choice::First,
            "random" => Choice::Random,
            _ => return Err(fail()),
        };
        let (number, percent) = match amount.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (amount.trim(), false),
        };
        let amount: f64 = number.parse().map_err(|_| fail())?;
        let fits = match percent {
            true => amount > 0.0 && amount <= 100.0,
            false => (1.0..=f64::from(u32::MAX)).contains(&amount) && amount.fract() == 0.0,
        };
        if fits { Ok(Self::Part { choice, amount, percent }) } else { Err(fail()) }
    }
}

impl TryFrom<String> for SubsetSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SubsetSpec> for String {
    fn from(subset: SubsetSpec) -> Self {
        subset.to_string()
    }
}
