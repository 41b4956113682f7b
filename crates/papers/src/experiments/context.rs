//! What an expression or a text of an experiment stands in: the results, the sizes, and the row at hand.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use inductive_train::Recipe;

use super::{
    CellResult, Moment, Request,
    facts::{Facts, classes},
    registry::Registry,
    rows::Row,
    size::Size,
    spec::{Arm, CallArms, Experiment},
    work::Work,
};

/// A result, or what is wrong in words.
pub(crate) type Said<T> = Result<T, String>;

/// What an expression stands in.
#[derive(Clone)]
pub(crate) struct Context<'a> {
    pub registry: &'a Registry,
    pub experiment: &'a Experiment,
    pub request: &'a Request,
    pub size: Rc<Size<'a>>,
    /// The recipe of the first run; `None` where nothing is trained.
    pub recipe: Option<&'a Recipe>,
    pub results: &'a [CellResult],
    /// The share of the data at hand.
    pub fraction: f64,
    /// The moment at hand.
    pub moment: Moment,
    /// The words of the row at hand.
    pub words: BTreeMap<String, String>,
    /// What the file has asked for so far.
    pub work: Rc<Work>,
    facts: Rc<RefCell<Vec<Rc<Facts>>>>,
}

impl<'a> Context<'a> {
    pub fn new(
        registry: &'a Registry,
        experiment: &'a Experiment,
        request: &'a Request,
        recipe: Option<&'a Recipe>,
        results: &'a [CellResult],
    ) -> Said<Self> {
        let size = experiment.size(request.preset)?;
        Ok(Self {
            registry,
            experiment,
            request,
            fraction: size.fractions.first().copied().unwrap_or(1.0),
            size: Rc::new(size),
            recipe,
            results,
            moment: Moment::End,
            words: BTreeMap::new(),
            work: Rc::default(),
            facts: Rc::default(),
        })
    }

    /// The same in a row.
    pub fn at(&self, row: &Row) -> Self {
        let mut here = self.clone();
        here.words.extend(row.words.clone());
        here.fraction = row.fraction.unwrap_or(here.fraction);
        here.moment = row.moment.unwrap_or(here.moment);
        here
    }

    /// The arm of this name, or that a word of the row names.
    pub fn arm(&self, name: &str) -> Said<&'a Arm> {
        let name = self.words.get(name).map_or(name, String::as_str);
        self.experiment.arms.iter().find(|arm| arm.name == name).ok_or_else(|| {
            let known: Vec<_> = self.experiment.arms.iter().map(|arm| arm.name.as_str()).collect();
            let words: Vec<_> = self.words.keys().map(String::as_str).collect();
            let here =
                if words.is_empty() { String::new() } else { format!("; words here: {}", words.join(", ")) };
            format!("there is no arm `{name}`; there are {}{here}", known.join(", "))
        })
    }

    /// Whether this preset runs the arm.
    pub fn runs(&self, arm: &Arm) -> bool {
        self.size.arms.iter().any(|run| run.name == arm.name)
    }

    /// How a statement calls the arm.
    pub fn called<'b>(&self, arm: &'b Arm) -> &'b str {
        match self.experiment.call_arms {
            CallArms::ByLabel => &arm.label,
            CallArms::ByName => &arm.name,
        }
    }

    /// What an arm's model is as this preset trains it: with the depth, the images and all else that its recipe has, and a head for the
    /// classes of the data. `None` for an arm that it does not run.
    pub fn facts(&self, arm: &Arm) -> Said<Option<Rc<Facts>>> {
        let Some(recipe) = self.size.recipe(&arm.name) else { return Ok(None) };
        let classes = classes(&self.request.data);
        let mut all = self.facts.borrow_mut();
        if let Some(facts) = all.iter().find(|facts| facts.are_of(recipe, classes)) {
            return Ok(Some(Rc::clone(facts)));
        }
        let facts = Rc::new(Facts::of(recipe, classes).map_err(|error| error.to_string())?);
        all.push(Rc::clone(&facts));
        Ok(Some(facts))
    }

    /// The moment of this name, or that a word of the row names.
    pub fn moment(&self, name: &str) -> Said<Moment> {
        match self.words.get(name).map_or(name, String::as_str) {
            "start" => Ok(Moment::Start),
            "early" => Ok(Moment::Evaluation(0)),
            "end" => Ok(Moment::End),
            other => Err(format!(
                "there is no moment `{other}`; there are start, early (the first evaluation) and end"
            )),
        }
    }

    /// Finished runs of an arm at the share of the data at hand.
    pub fn runs_of(&self, arm: &'a Arm) -> impl Iterator<Item = &'a CellResult> + use<'a> {
        let fraction = self.fraction;
        self.results.iter().filter(move |run| run.cell.variant == arm.name && run.cell.fraction == fraction)
    }
}
