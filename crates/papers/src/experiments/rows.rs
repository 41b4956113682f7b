//! Rows of tables, lines and points of figures: what stands for what in each.

use std::collections::BTreeMap;

use super::{
    Moment,
    context::{Context, Said},
    percent,
    spec::{Rows, Words},
    work::VALUE,
};

/// Rows that every experiment has.
pub(crate) const ROWS: [&str; 4] = ["arms", "fractions", "evaluations", "milestones"];
/// Rows of two kinds together, at most.
const MAX_ROWS: usize = 100_000;

/// A row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// What expressions and texts may name.
    pub words: BTreeMap<String, String>,
    /// The share of the data it is about, if it is about one.
    pub fraction: Option<f64>,
    /// The moment it is about, if it is about one.
    pub moment: Option<Moment>,
}

impl Row {
    fn with(mut self, name: &str, word: impl ToString) -> Self {
        self.words.insert(name.to_owned(), word.to_string());
        self
    }

    /// This row and `other` in one; `other`'s words go before.
    fn and(&self, other: &Self) -> Self {
        let mut words = self.words.clone();
        words.extend(other.words.clone());
        Self { words, fraction: other.fraction.or(self.fraction), moment: other.moment.or(self.moment) }
    }
}

impl Context<'_> {
    /// The rows that `rows` stands for; those of arms that this preset does not run are left out.
    pub fn rows(&self, rows: &Rows) -> Said<Vec<Row>> {
        let rows = match rows {
            Rows::Named(name) => self.rows_by_name(name)?,
            Rows::Arms(arms) => {
                let rows = arms.iter().map(|arm| self.row_of_words([("arm".to_owned(), arm.clone())].into()));
                rows.collect::<Said<Vec<_>>>()?.into_iter().flatten().collect()
            }
            Rows::Given(rows) => self.given(rows)?,
        };
        self.work.add(VALUE * rows.len())?;
        Ok(rows)
    }

    /// Rows by their name, or each of some with each of others.
    fn rows_by_name(&self, name: &str) -> Said<Vec<Row>> {
        let Some((outer, inner)) = name.split_once(" * ") else { return self.rows_named(name) };
        let (outer, inner) = (self.rows_named(outer)?, self.rows_named(inner)?);
        let count = outer.len().saturating_mul(inner.len());
        if count > MAX_ROWS {
            return Err(format!("`{name}`: {count} rows; give at most {MAX_ROWS}"));
        }
        Ok(outer.iter().flat_map(|outer| inner.iter().map(|inner| outer.and(inner))).collect())
    }

    fn given(&self, rows: &[Words]) -> Said<Vec<Row>> {
        let words = |row: &Words| row.iter().map(|(name, word)| (name.clone(), word.to_string())).collect();
        let rows = rows.iter().map(|row| self.row_of_words(words(row)));
        Ok(rows.collect::<Said<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn rows_named(&self, name: &str) -> Said<Vec<Row>> {
        match name {
            "arms" => {
                let arms = self.size.arms.iter();
                let rows = arms.map(|arm| self.row_of_words([("arm".to_owned(), arm.name.clone())].into()));
                Ok(rows.collect::<Said<Vec<_>>>()?.into_iter().flatten().collect())
            }
            "fractions" => Ok(self.size.fractions.iter().map(|&it| self.row_of_fraction(it)).collect()),
            "evaluations" => Ok(self.evaluations()),
            "milestones" => {
                let all = self.evaluations();
                let shown = [all.len() / 4, all.len() / 2, all.len().saturating_sub(1)];
                let mut shown: Vec<_> = shown.into_iter().filter_map(|at| all.get(at).cloned()).collect();
                shown.dedup_by_key(|row| row.words.get("percent").cloned());
                Ok(shown)
            }
            _ => match self.experiment.rows.get(name) {
                Some(rows) => self.given(rows),
                None => {
                    let own = self.experiment.rows.keys().map(String::as_str);
                    let known: Vec<_> = ROWS.into_iter().chain(own).collect();
                    Err(format!(
                        "there are no rows `{name}`; there are {}, and two of them with ` * ` between",
                        known.join(", ")
                    ))
                }
            },
        }
    }

    fn row_of_fraction(&self, fraction: f64) -> Row {
        let label = percent(fraction);
        let row = Row { fraction: Some(fraction), ..Row::default() };
        row.with("fraction", &label).with("tick", &label).with("x", fraction)
    }

    /// A row with these words, those of its arm, a fraction and a moment; `None` for an arm that is not run.
    fn row_of_words(&self, words: BTreeMap<String, String>) -> Said<Option<Row>> {
        let mut row = Row::default();
        if let Some(name) = words.get("arm") {
            let arm = self.arm(name)?;
            let Some(recipe) = self.size.recipe(&arm.name) else { return Ok(None) };
            row = row.with("name", &arm.name).with("label", &arm.label).with("model", &recipe.model);
            row.words.extend(arm.words.iter().map(|(name, word)| (name.clone(), word.to_string())));
        }
        if let Some(moment) = words.get("moment") {
            row.moment = Some(self.moment(moment)?);
        }
        row.words.extend(words);
        Ok(Some(row))
    }

    /// The evaluations of the arm at hand, of any arm where none is.
    fn evaluations(&self) -> Vec<Row> {
        let arm = self.words.get("arm");
        let of_arm = |run: &&super::CellResult| {
            run.cell.fraction == self.fraction && arm.is_none_or(|arm| run.cell.variant == *arm)
        };
        let Some(run) = self.results.iter().find(of_arm) else {
            // Before there are results, one stands for all, so that what is written about them is read.
            let row = Row::default().with("epoch", 0).with("step", 0).with("percent", 0);
            return if self.results.is_empty() { vec![row] } else { Vec::new() };
        };
        let lines = &run.result.metrics;
        let last = lines.last().map_or(1.0, |line| line.step as f64);
        let row = |(at, line): (usize, &inductive_train::Metrics)| {
            let row = Row { moment: Some(Moment::Evaluation(at)), ..Row::default() };
            let share = 100.0 * line.step as f64 / last;
            row.with("epoch", line.epoch).with("step", line.step).with("percent", share)
        };
        lines.iter().enumerate().map(row).collect()
    }
}
