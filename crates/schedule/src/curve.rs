//! Any schedule as a configuration value.

use serde::{Deserialize, Serialize};

use crate::{
    Chain, Constant, CosineWarmup, Delayed, Error, Linear, Result, Schedule, Warmup, combine::check_length,
};

/// A schedule chosen at run time, as a recipe spells it:
///
/// ```
/// # use inductive_schedule::{Curve, Schedule};
/// let curve: Curve = toml::from_str(r#"
///     kind = "warmup"
///     from = 0.0
///     over = 5
///     then = { kind = "linear", from = 1.0, to = 0.0, over = 95 }
/// "#)?;
/// assert_eq!(curve.value(5.0), 1.0);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Curve {
    /// See [`Constant`].
    Constant(Constant),
    /// See [`Linear`].
    Linear(Linear),
    /// See [`CosineWarmup`].
    Cosine(CosineWarmup),
    /// See [`Warmup`].
    Warmup(Warmup<Box<Curve>>),
    /// See [`Delayed`].
    Delayed(Delayed<Box<Curve>>),
    /// See [`Chain`].
    Chain(Chain<Box<Curve>>),
}

impl Curve {
    /// The same value at every time.
    pub fn constant(value: f64) -> Self {
        Self::Constant(Constant { value })
    }

    /// Refuses lengths that are negative or not finite and values that are not finite, at any depth.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Constant(it) => check_value("constant schedule", "value", it.value),
            Self::Linear(it) => {
                check_value("linear schedule", "from", it.from)?;
                check_value("linear schedule", "to", it.to)?;
                check_length("linear schedule", "over", it.over)
            }
            Self::Cosine(it) => it.check(),
            Self::Warmup(it) => {
                check_value("warm-up", "from", it.from)?;
                check_length("warm-up", "over", it.over)?;
                it.then.check()
            }
            Self::Delayed(it) => {
                check_length("delayed schedule", "by", it.by)?;
                it.schedule.check()
            }
            Self::Chain(it) => {
                for segment in &it.segments {
                    check_length("chain", "length", segment.length)?;
                    segment.schedule.check()?;
                }
                it.last.check()
            }
        }
    }
}

fn check_value(schedule: &'static str, field: &'static str, got: f64) -> Result<()> {
    if got.is_finite() {
        Ok(())
    } else {
        Err(Error::Setting { schedule, field, got, expected: "a finite value" })
    }
}

impl Schedule for Curve {
    fn value(&self, t: f64) -> f64 {
        match self {
            Self::Constant(it) => it.value(t),
            Self::Linear(it) => it.value(t),
            Self::Cosine(it) => it.value(t),
            Self::Warmup(it) => it.value(t),
            Self::Delayed(it) => it.value(t),
            Self::Chain(it) => it.value(t),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Segment;

    #[test]
    fn every_kind_survives_toml_and_keeps_its_values() {
        let cosine = Curve::Cosine(CosineWarmup::new(10.0, 0.1));
        let line = Curve::Linear(Linear { from: 1.0, to: 0.0, over: 3.0 });
        let warm = Curve::Warmup(Warmup { from: 0.0, over: 2.0, then: Box::new(cosine.clone()) });
        let late = Curve::Delayed(Delayed { by: 1.5, schedule: Box::new(line.clone()) });
        let chain = Curve::Chain(Chain {
            segments: vec![Segment { length: 2.0, schedule: Box::new(warm.clone()) }],
            last: Box::new(late.clone()),
        });
        for curve in [Curve::constant(0.3), cosine, line, warm, late, chain] {
            assert_eq!(curve.check(), Ok(()));
            let text = toml::to_string(&curve).unwrap();
            let back: Curve = toml::from_str(&text).unwrap();
            assert_eq!(back, curve, "{text}");
            assert_eq!(back.value(2.5), curve.value(2.5));
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let error =
            toml::from_str::<Curve>("kind = \"linear\"\nfrom = 1\nto = 0\nover = 3\novr = 3").unwrap_err();
        assert!(error.to_string().contains("ovr"), "{error}");
        assert!(toml::from_str::<Curve>("kind = \"cosin\"").unwrap_err().to_string().contains("cosine"));
    }

    #[test]
    fn a_bad_number_is_found_at_any_depth() {
        let inner = Curve::Linear(Linear { from: 1.0, to: 0.0, over: -1.0 });
        let outer = Curve::Warmup(Warmup { from: 0.0, over: 1.0, then: Box::new(inner) });
        let error = outer.check().unwrap_err().to_string();
        assert_eq!(error, "linear schedule: over is -1, expected a finite length, 0 or more");
    }
}
