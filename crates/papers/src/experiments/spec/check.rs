//! Names of an experiment: each can be a file's, stands once and stands for something.

use std::collections::BTreeSet;

use super::Experiment;
use crate::{
    experiments::{context::Said, percent, rows::ROWS, template::WORDS},
    report::is_plain_name,
};

impl Experiment {
    /// Refuses names that would fail where files are written, after all runs, and names of what is not there.
    pub(super) fn check(&self) -> Said<()> {
        let its_own = [("paper", &self.paper), ("name", &self.name)];
        its_own.into_iter().try_for_each(|(what, name)| plain(what, name))?;
        once("arm", self.arms.iter().map(|arm| arm.name.as_str()))?;
        once("table", self.tables.iter().map(|table| table.name.as_str()))?;
        once("figure", self.figures.iter().map(|figure| figure.name.as_str()))?;
        for arm in &self.arms {
            if !arm.name.starts_with(|c: char| c.is_ascii_alphanumeric()) || arm.name.parse::<f64>().is_ok() {
                return Err(format!(
                    "arm `{}`: expressions would not know it for a name; begin with a letter or a digit, and let it be no number",
                    arm.name
                ));
            }
        }
        if let Some(name) = self.rows.keys().find(|name| ROWS.contains(&name.as_str())) {
            return Err(format!("[rows] {name}: every experiment has these; take another name"));
        }
        if let Some(name) = self.text.keys().find(|name| WORDS.contains(&name.as_str())) {
            return Err(format!("[text] {name}: every experiment has this word; take another name"));
        }
        self.check_sizes()?;
        let questions: Vec<&str> = self
            .tables
            .iter()
            .flat_map(|table| &table.questions)
            .map(|questions| questions.question.as_str())
            .collect();
        match self
            .next
            .iter()
            .filter_map(|next| next.undecided.as_deref())
            .find(|asked| !questions.contains(asked))
        {
            Some(asked) => {
                Err(format!("next: no table has the question `{asked}`; there are {}", questions.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// Refuses arms and shares that would be run twice.
    fn check_sizes(&self) -> Said<()> {
        for (preset, scale) in &self.preset {
            self.size(*preset)?;
            let mut arms = BTreeSet::new();
            if let Some(arm) = scale.arms.iter().flatten().find(|arm| !arms.insert(*arm)) {
                return Err(format!("[preset.{preset}] arms: `{arm}` stands there twice; leave one out"));
            }
            let mut shares = BTreeSet::new();
            let mut written = scale.fractions.iter().flatten().map(|fraction| percent(*fraction));
            if let Some(share) = written.find(|share| !shares.insert(share.clone())) {
                return Err(format!(
                    "[preset.{preset}] fractions: two of them are {share} to two decimals, which names their folders; leave one out"
                ));
            }
        }
        Ok(())
    }
}

fn plain(what: &str, name: &str) -> Said<()> {
    match is_plain_name(name) {
        true => Ok(()),
        false => Err(format!(
            "{what} `{name}`: it names files; give 1 to 64 letters of a to z, digits, `-` and `_`"
        )),
    }
}

/// Names that can be a file's, each once (`Fig` and `fig` are one file on some systems).
fn once<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Said<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        plain(what, name)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(format!(
                "{what} `{name}`: there are two of this name, in capitals or not; rename one"
            ));
        }
    }
    Ok(())
}
