//! What is read off a run: accuracy, gates, ranks. An experiment names them; others can bring their own.

mod frequencies;
mod heads;

use std::{collections::BTreeMap, sync::Arc};

use inductive_train::{Inside, Metrics};

use super::CellResult;

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first update.
    Start,
    /// An evaluation, the first is 0.
    Evaluation(usize),
    /// The last evaluation.
    End,
}

/// A run at a moment.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The run.
    pub run: &'a CellResult,
    /// When.
    pub moment: Moment,
}

impl<'a> At<'a> {
    /// The line of metrics of this moment; `None` before the first update and where there is no such evaluation.
    pub fn metrics(&self) -> Option<&'a Metrics> {
        let lines = &self.run.result.metrics;
        match self.moment {
            Moment::Start => None,
            Moment::Evaluation(at) => lines.get(at),
            Moment::End => lines.last(),
        }
    }

    /// A list with a number per layer that is measured before the first update too.
    fn list(&self, start: fn(&Inside) -> &Vec<f64>, line: fn(&Metrics) -> &Vec<f64>) -> Option<Vec<f64>> {
        match self.moment {
            Moment::Start => self.run.result.start.as_ref().map(|inside| start(inside).clone()),
            _ => self.metrics().map(|metrics| line(metrics).clone()),
        }
    }
}

/// Something that is read off a run.
///
/// ```
/// use inductive_papers::experiments::{At, Measure, Measures};
///
/// struct Hours;
///
/// impl Measure for Hours {
///     fn layered(&self) -> bool {
///         false
///     }
///
///     fn of(&self, at: &At<'_>) -> Option<Vec<f64>> {
///         Some(vec![at.metrics()?.seconds / 3600.0])
///     }
/// }
///
/// let mut measures = Measures::builtin();
/// measures.add("hours", Hours);
/// // The same in short:
/// measures.number("minutes", |at| Some(at.metrics()?.seconds / 60.0));
/// assert!(measures.names().any(|name| name == "hours"));
/// ```
pub trait Measure: Send + Sync {
    /// Whether there is a number for each layer (or head, or operator) instead of a single one.
    fn layered(&self) -> bool;

    /// The number or numbers; `None` where the run has none at that moment.
    fn of(&self, at: &At<'_>) -> Option<Vec<f64>>;
}

/// A function as a measure.
struct Function<F> {
    layered: bool,
    of: F,
}

impl<F: Fn(&At<'_>) -> Option<Vec<f64>> + Send + Sync> Measure for Function<F> {
    fn layered(&self) -> bool {
        self.layered
    }

    fn of(&self, at: &At<'_>) -> Option<Vec<f64>> {
        (self.of)(at)
    }
}

/// Measures by the names that experiments call them by.
#[derive(Clone, Default)]
pub struct Measures(BTreeMap<String, Arc<dyn Measure>>);

impl Measures {
    /// Those that come with the program.
    pub fn builtin() -> Self {
        let mut all = Self::default();
        for (name, of) in [
            ("top1", (|m| m.test_top1) as fn(&Metrics) -> f64),
            ("top5", |m| m.test_top5),
            ("test_loss", |m| m.test_loss),
            ("train_top1", |m| m.train_top1),
            ("train_loss", |m| m.train_loss),
            ("epoch", |m| m.epoch),
            ("seconds", |m| m.seconds),
        ] {
            all.number(name, move |at| at.metrics().map(of));
        }
        all.number("images", |at| Some((at.metrics()?.step * at.run.cell.recipe.batch_size as u64) as f64));
        all.layers("gates", |at| Some(at.metrics()?.gates.clone()));
        for (name, start, line) in [
            (
                "nonlocality",
                (|inside| &inside.nonlocality) as fn(&Inside) -> &Vec<f64>,
                (|m| &m.nonlocality) as fn(&Metrics) -> &Vec<f64>,
            ),
            ("head_diversity", |inside| &inside.head_diversity, |m| &m.head_diversity),
            ("high_frequency", |inside| &inside.high_frequency, |m| &m.high_frequency),
            ("target_mass", |inside| &inside.target_mass, |m| &m.target_mass),
            ("stable_rank", |inside| &inside.stable_rank, |m| &m.stable_rank),
            ("nuclear_rank", |inside| &inside.nuclear_rank, |m| &m.nuclear_rank),
        ] {
            all.layers(name, move |at| at.list(start, line));
        }
        all.layers("switched", switched);
        frequencies::add(&mut all);
        heads::add(&mut all);
        all
    }

    /// Adds one, in place of an earlier one of that name.
    pub fn add(&mut self, name: impl Into<String>, measure: impl Measure + 'static) {
        self.0.insert(name.into(), Arc::new(measure));
    }

    /// Adds a single number.
    pub fn number(
        &mut self,
        name: impl Into<String>,
        of: impl Fn(&At<'_>) -> Option<f64> + Send + Sync + 'static,
    ) {
        self.add(name, Function { layered: false, of: move |at: &At<'_>| of(at).map(|number| vec![number]) });
    }

    /// Adds a number for each layer.
    pub fn layers(
        &mut self,
        name: impl Into<String>,
        of: impl Fn(&At<'_>) -> Option<Vec<f64>> + Send + Sync + 'static,
    ) {
        self.add(name, Function { layered: true, of });
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Measure> {
        self.0.get(name).map(|measure| &**measure)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The share of the run, in percent, after which each layer left convolution; NaN for one that did not.
fn switched(at: &At<'_>) -> Option<Vec<f64>> {
    let (line, last) = (at.metrics()?, at.run.result.metrics.last()?);
    let share = |step: &Option<u64>| step.map_or(f64::NAN, |step| 100.0 * step as f64 / last.step as f64);
    let mut shares: Vec<f64> = line.switched.iter().map(share).collect();
    shares.resize(line.gates.len().max(shares.len()), f64::NAN);
    Some(shares)
}
