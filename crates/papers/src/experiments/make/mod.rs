//! The report of an experiment: its texts, tables, figures and claims, from the results of its runs.

mod claims;
mod figures;
mod tables;

use super::{
    context::{Context, Said},
    spec::Next,
};
use crate::{Report, verdict::Judged};

/// A judged comparison, and the question that it belongs to.
pub(crate) struct Question {
    pub question: String,
    pub judged: Judged,
}

/// Everything that the results say.
pub(crate) fn report(context: &Context<'_>) -> Said<Report> {
    let experiment = context.experiment;
    let mut report = Report::new(context.filled(&experiment.title)?);
    for line in context.lines(&experiment.ran)? {
        report.ran(line);
    }
    let mut questions = Vec::new();
    for table in &experiment.tables {
        let about = |problem| format!("table `{}`: {problem}", table.name);
        report.table(&table.name, context.table(table, &mut questions).map_err(about)?);
    }
    for figure in &experiment.figures {
        let about = |problem| format!("figure `{}`: {problem}", figure.name);
        if figure.presets.as_ref().is_none_or(|presets| presets.contains(&context.request.preset)) {
            report.figure(&figure.name, context.figure(figure).map_err(about)?);
        }
    }
    for claim in &experiment.claims {
        let about = |problem| format!("claim `{}{}`: {problem}", claim.id, claim.part);
        if let Some(judged) = context.claim(claim).map_err(about)? {
            report.claim(judged);
        }
    }
    for line in context.lines(&experiment.differs)? {
        report.differs(line);
    }
    for next in &experiment.next {
        for line in context.next(next, &questions)? {
            report.next_step(line);
        }
    }
    Ok(report)
}

impl Context<'_> {
    /// What should be run next.
    fn next(&self, next: &Next, questions: &[Question]) -> Said<Vec<String>> {
        let line = std::slice::from_ref(&next.say);
        let seen = next.sees.as_ref().map(|statement| self.sees(statement)).transpose()?;
        let said = seen.is_none_or(|seen| seen == Some(true));
        let Some(asked) = &next.undecided else {
            self.read_ahead(line)?;
            return if said { self.lines(line) } else { Ok(Vec::new()) };
        };
        self.undecided("", 0.0, 0).read_ahead(line)?;
        let mut lines = Vec::new();
        for Question { judged, .. } in questions.iter().filter(|one| said && one.question == *asked) {
            let Some((difference, seeds)) = judged.difference.zip(judged.seeds_needed()) else { continue };
            lines.extend(self.undecided(&judged.statement, difference, seeds).lines(line)?);
        }
        Ok(lines)
    }

    /// This context with the words of a comparison that so many seeds would decide.
    fn undecided(&self, statement: &str, difference: f64, seeds: usize) -> Self {
        let words = [
            ("statement", statement.to_owned()),
            ("difference", format!("{difference:+.1}")),
            ("seeds", seeds.to_string()),
        ];
        let mut here = self.clone();
        here.words.extend(words.map(|(name, word)| (name.to_owned(), word)));
        here
    }
}
