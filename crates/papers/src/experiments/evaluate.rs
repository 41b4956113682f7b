//! The values of expressions.

use std::collections::BTreeMap;

use super::{
    At, Moment,
    context::{Context, Said},
    correlation::{rank_with_depth, spearman, with_depth},
    expression::Expression,
    spec::{Arm, Rows},
    work::{MAX_LAYERS, VALUE},
};
use crate::Seeded;

/// What an expression stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// What this preset does not run.
    Missing,
    /// A number.
    Number(f64),
    /// A number for each layer.
    List(Vec<f64>),
    /// A number for each seed.
    Seeded(Seeded),
    /// A number for each layer, by seed.
    Layers(BTreeMap<u64, Vec<f64>>),
}

/// Functions, for messages.
const FUNCTIONS: &str = "mean, max, min, last, element, or, repeat, over_seeds, of_first_seed, highest_seed, lead, abs, \
                         depth_correlation, depth_rank_correlation, rank_correlation";
/// Numbers of a model, for messages.
const FACTS: &str = "parameters, macs, tokens, width, conv_channels";

impl Value {
    /// `of` every number.
    fn map(self, of: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Missing => Self::Missing,
            Self::Number(number) => Self::Number(of(number)),
            Self::List(list) => Self::List(list.into_iter().map(of).collect()),
            Self::Seeded(seeded) => {
                Self::Seeded(seeded.iter().map(|(seed, value)| (seed, of(value))).collect())
            }
            Self::Layers(layers) => Self::Layers(
                layers.into_iter().map(|(seed, list)| (seed, list.into_iter().map(&of).collect())).collect(),
            ),
        }
    }

    /// `of` what has layers, to one number.
    fn reduce(self, name: &str, of: impl Fn(&[f64]) -> f64) -> Said<Self> {
        match self {
            Self::Missing => Ok(Self::Missing),
            Self::List(list) => Ok(Self::Number(of(&list))),
            Self::Layers(layers) => {
                Ok(Self::Seeded(layers.iter().map(|(seed, list)| (*seed, of(list))).collect()))
            }
            Self::Number(_) | Self::Seeded(_) => {
                Err(format!("{name}(..) is of numbers per layer; this has none"))
            }
        }
    }

    /// `of` the values of all seeds.
    fn over_seeds(self, of: impl Fn(&[f64]) -> f64) -> Self {
        match self {
            Self::Seeded(seeded) if seeded.is_empty() => Self::Missing,
            Self::Seeded(seeded) => Self::Number(of(&seeded.values())),
            Self::Layers(layers) => {
                let depth = layers.values().map(Vec::len).min().unwrap_or(0);
                let at = |layer: usize| of(&layers.values().map(|list| list[layer]).collect::<Vec<_>>());
                Self::List((0..depth).map(at).collect())
            }
            other => other,
        }
    }

    /// What has seeds, in the mean over them.
    pub fn in_the_mean(self) -> Self {
        self.over_seeds(mean)
    }

    /// A side of a comparison: by seed, a number as often as `other` has seeds.
    pub fn side(&self, other: &Self) -> Said<Seeded> {
        match (self, other) {
            (Self::Seeded(seeded), _) => Ok(seeded.clone()),
            (Self::Number(number), Self::Seeded(other)) => {
                Ok(other.iter().map(|(seed, _)| (seed, *number)).collect())
            }
            (Self::Missing, _) | (Self::Number(_), Self::Missing) => Ok(Seeded::new()),
            (Self::Number(_), _) => Err("two numbers have no seeds to judge; use `agree`".to_owned()),
            (Self::List(_) | Self::Layers(_), _) => {
                Err("numbers per layer cannot be compared; use mean(..), max(..) or element(..)".to_owned())
            }
        }
    }

    /// Less another, in the mean over seeds; `None` where there is nothing.
    pub fn mean_difference(&self, other: &Self) -> Said<Option<f64>> {
        Ok(match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(a - b),
            (Self::Missing, _) | (_, Self::Missing) => None,
            _ => self.side(other)?.minus(&other.side(self)?).summary().map(|summary| summary.mean),
        })
    }
}

/// Not `f64::max`, which passes over what is no number.
fn largest(list: &[f64]) -> f64 {
    list.iter().copied().reduce(|a, b| if a > b || a.is_nan() { a } else { b }).unwrap_or(f64::NAN)
}

fn mean(list: &[f64]) -> f64 {
    list.iter().sum::<f64>() / list.len() as f64
}

impl<'a> Context<'a> {
    /// The value of the expression that `text` is, words in braces filled in.
    pub fn value(&self, text: &str) -> Said<Value> {
        self.evaluate(&self.expression(text)?)
    }

    /// The expression that `text` is, words in braces filled in.
    pub fn expression(&self, text: &str) -> Said<Expression> {
        Expression::parse(&self.filled(text)?)
    }

    pub fn evaluate(&self, expression: &Expression) -> Said<Value> {
        self.work.add(VALUE)?;
        match expression {
            Expression::Number(number) => Ok(Value::Number(*number)),
            Expression::Name(name) => match self.words.get(name).map(|word| word.parse::<f64>()) {
                Some(Ok(number)) => Ok(Value::Number(number)),
                _ => self.measure(&self.experiment.measure, self.arm(name)?, self.moment),
            },
            Expression::Call(name, of) => self.call(name, of),
            // An arm beside itself: nothing to say.
            Expression::Binary('-', left, right) if self.spelled(left) == self.spelled(right) => {
                Ok(match self.evaluate(left)? {
                    Value::Number(_) => Value::Number(0.0),
                    _ => Value::Missing,
                })
            }
            Expression::Binary(operator, left, right) => {
                binary(*operator, self.evaluate(left)?, self.evaluate(right)?)
            }
        }
    }

    /// The expression with what its names stand for.
    fn spelled(&self, expression: &Expression) -> String {
        match expression {
            Expression::Name(name) => self.words.get(name).unwrap_or(name).clone(),
            Expression::Number(_) => expression.to_string(),
            Expression::Call(name, of) => {
                let of: Vec<_> = of.iter().map(|inner| self.spelled(inner)).collect();
                format!("{name}({})", of.join(", "))
            }
            Expression::Binary(operator, left, right) => {
                format!("({} {operator} {})", self.spelled(left), self.spelled(right))
            }
        }
    }

    /// A measure of an arm's runs.
    fn measure(&self, name: &str, arm: &'a Arm, moment: Moment) -> Said<Value> {
        let Some(measure) = self.registry.measures.get(name) else {
            let known: Vec<_> = self.registry.measures.names().collect();
            return Err(format!(
                "there is no measure or function `{name}`; measures: {}; functions: {FUNCTIONS}; numbers of a model: {FACTS}",
                known.join(", ")
            ));
        };
        let of = |run: &'a super::CellResult| Some((run.cell.seed, measure.of(&At { run, moment })?));
        let all = self.runs_of(arm).filter_map(of);
        if measure.layered() {
            return Ok(Value::Layers(all.collect()));
        }
        let one = |(seed, values): (u64, Vec<f64>)| match values.as_slice() {
            [value] => Ok((seed, *value)),
            other => Err(format!("measure `{name}` is of one number, and gave {}", other.len())),
        };
        Ok(Value::Seeded(all.map(one).collect::<Said<Vec<_>>>()?.into_iter().collect()))
    }

    fn call(&self, name: &str, of: &[Expression]) -> Said<Value> {
        let value = |at: usize| match of.get(at) {
            Some(expression) => self.evaluate(expression),
            None => Err(format!("{name}(..) needs {} values", at + 1)),
        };
        let number = |at: usize| match value(at)? {
            Value::Number(number) => Ok(number),
            _ => Err(format!("{name}(..): value {} is to be a number", at + 1)),
        };
        let layers = |least: usize, asked: f64| match asked {
            asked if asked.fract() == 0.0 && (least as f64..=MAX_LAYERS as f64).contains(&asked) => {
                Ok(asked as usize)
            }
            _ => Err(format!("{name}(.., {asked}): give a whole number from {least} to {MAX_LAYERS}")),
        };
        match name {
            "mean" => value(0)?.reduce(name, mean),
            "last" => value(0)?.reduce(name, |list| list.last().copied().unwrap_or(f64::NAN)),
            "max" => value(0)?.reduce(name, largest),
            "min" if of.len() == 2 => match (value(0)?, value(1)?) {
                (Value::Missing, _) | (_, Value::Missing) => Ok(Value::Missing),
                _ => Ok(Value::Number(number(0)?.min(number(1)?))),
            },
            "element" => {
                let at = layers(1, number(1)?)?;
                value(0)?.reduce(name, |list| list.get(at - 1).copied().unwrap_or(f64::NAN))
            }
            "or" => {
                let other = number(1)?;
                Ok(value(0)?.map(|number| if number.is_nan() { other } else { number }))
            }
            "repeat" => Ok(Value::List(vec![number(0)?; layers(0, number(1)?)?])),
            "over_seeds" => Ok(self.expected(value(0)?.in_the_mean())),
            "highest_seed" => Ok(self.expected(value(0)?.over_seeds(largest))),
            "of_first_seed" => Ok(match value(0)? {
                Value::Seeded(it) => {
                    self.expected(it.iter().next().map_or(Value::Missing, |(_, value)| Value::Number(value)))
                }
                Value::Layers(it) => it.into_values().next().map_or(Value::List(Vec::new()), Value::List),
                other => other,
            }),
            "lead" => match of {
                [a, b] if self.spelled(a) == self.spelled(b) => Ok(Value::Missing),
                _ => {
                    binary('/', value(0)?, value(1)?).map(|ratios| ratios.map(|ratio| 100.0 * (ratio - 1.0)))
                }
            },
            "abs" => Ok(value(0)?.map(f64::abs)),
            "depth_correlation" => value(0)?.reduce(name, with_depth),
            "depth_rank_correlation" => value(0)?.reduce(name, rank_with_depth),
            "rank_correlation" => self.rank_correlation(of),
            "parameters" | "macs" | "tokens" | "width" | "conv_channels" => self.fact(name, of),
            _ => {
                let (arm, moment) = match of {
                    [Expression::Name(arm)] => (self.arm(arm)?, self.moment),
                    [Expression::Name(arm), Expression::Name(moment)] => {
                        (self.arm(arm)?, self.moment(moment)?)
                    }
                    _ => {
                        return Err(format!(
                            "{name}(..) is a measure of an arm: write {name}(ARM) or {name}(ARM, MOMENT)"
                        ));
                    }
                };
                self.measure(name, arm, moment)
            }
        }
    }

    /// Before there are results, what will be a number is one, so that what is made of it is checked.
    fn expected(&self, value: Value) -> Value {
        match value {
            Value::Missing if self.results.is_empty() => Value::Number(f64::NAN),
            value => value,
        }
    }

    /// A number of an arm's model.
    fn fact(&self, name: &str, of: &[Expression]) -> Said<Value> {
        let [Expression::Name(arm)] = of else {
            return Err(format!("{name}(..) is of an arm: write {name}(ARM)"));
        };
        let Some(facts) = self.facts(self.arm(arm)?)? else { return Ok(Value::Missing) };
        let number = match name {
            "parameters" => {
                facts.parameters().map_err(|error| error.to_string())?.map(|parameters| parameters as f64)
            }
            "macs" => facts.macs().map(|macs| macs as f64),
            "tokens" => Some(facts.spec.grid().tokens() as f64),
            "width" => Some(facts.spec.embed_dim as f64),
            _ => {
                let channels = facts.spec.eit().into_iter().flat_map(|eit| &eit.conv_channels);
                return Ok(Value::List(channels.map(|channels| *channels as f64).collect()));
            }
        };
        Ok(number.map_or(Value::Missing, Value::Number))
    }

    /// Of each seed: Spearman's correlation of a value with the word `x` of rows.
    fn rank_correlation(&self, of: &[Expression]) -> Said<Value> {
        let [Expression::Name(rows), value] = of else {
            return Err(
                "rank_correlation(..) is of rows and a value: rank_correlation(ROWS, mean(stream(arm)))"
                    .to_owned(),
            );
        };
        let mut sides = Vec::new();
        for row in self.rows(&Rows::Named(rows.clone()))? {
            let here = self.at(&row);
            let Value::Number(x) = here.evaluate(&Expression::Name("x".to_owned()))? else {
                return Err(format!("the rows `{rows}` need a number `x`"));
            };
            match here.evaluate(value)? {
                Value::Seeded(seeded) => sides.push((x, seeded)),
                Value::Missing => {}
                _ => return Err("rank_correlation(..) is of a value with seeds".to_owned()),
            }
        }
        let x: Vec<f64> = sides.iter().map(|(x, _)| *x).collect();
        let of_seed = |seed| sides.iter().map(|(_, values)| values.get(seed)).collect::<Option<Vec<f64>>>();
        let seeds = sides.first().map(|(_, values)| values.clone()).unwrap_or_default();
        Ok(Value::Seeded(
            seeds.iter().filter_map(|(seed, _)| Some((seed, spearman(&x, &of_seed(seed)?)))).collect(),
        ))
    }
}

fn binary(operator: char, left: Value, right: Value) -> Said<Value> {
    let of = |a: f64, b: f64| match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    };
    Ok(match (left, right) {
        (Value::Missing, _) | (_, Value::Missing) => Value::Missing,
        (Value::Number(a), right) => right.map(|b| of(a, b)),
        (left, Value::Number(b)) => left.map(|a| of(a, b)),
        (Value::Seeded(a), Value::Seeded(b)) => Value::Seeded(a.paired_with(&b, of)),
        _ => {
            return Err(
                "numbers per layer cannot be paired; use mean(..), max(..) or element(..) of each".to_owned()
            );
        }
    })
}
