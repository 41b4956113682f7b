//! Texts with names in braces: `{label}`, `{top1(eit):1}`, `{published convit | table2 | 10% | DeiT-S top1}`.

use inductive_report::text::signed;
use inductive_schedule::Duration;

use super::{
    context::{Context, Said},
    evaluate::Value,
    facts::classes,
    percent,
    spec::{AlikeText, BestText, EachText, Text},
    work::{VALUE, decimals},
};
use crate::{Published, published::PublishedValue, verdict::Comparison};

impl<'a> Context<'a> {
    /// `text` with everything in braces filled in; `None` where something in it was not measured or published.
    pub fn fill(&self, text: &str) -> Said<Option<String>> {
        self.work.within(|| self.fill_braces(text))
    }

    /// [`Context::fill`]; what stands behind something that was not measured is read all the same.
    fn fill_braces(&self, text: &str) -> Said<Option<String>> {
        self.work.add(VALUE + text.len())?;
        let mut out = Some(String::new());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let inside = &rest[open + 1..];
            let Some(close) = closing(inside) else { return Err(format!("`{text}`: `}}` is missing")) };
            let filled = match self.fill(&inside[..close])? {
                Some(name) => self.in_braces(&name).map_err(|problem| format!("`{text}`: {problem}"))?,
                None => None,
            };
            self.work.add(filled.as_ref().map_or(0, String::len))?;
            out = out.zip(filled).map(|(out, filled)| out + &rest[..open] + &filled);
            rest = &inside[close + 1..];
        }
        Ok(out.map(|out| out + rest))
    }

    /// `text` filled in, in which everything has to be known.
    pub fn filled(&self, text: &str) -> Said<String> {
        Ok(self.fill(text)?.unwrap_or_default())
    }

    /// `texts` filled in: one that is nothing but the name of several lines stands for all of them, and one that names what was not
    /// measured is left out.
    pub fn lines(&self, texts: &[String]) -> Said<Vec<String>> {
        let mut lines = Vec::new();
        for text in texts {
            self.work.add(VALUE)?;
            let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let named = name.and_then(|name| Some((name, self.experiment.text.get(name)?)));
            match named {
                Some((name, Text::Lines(several))) => {
                    lines.extend(self.work.text(name, || self.lines(several))?);
                }
                _ => lines.extend(self.fill(text)?),
            }
        }
        Ok(lines)
    }

    /// What stands in braces.
    fn in_braces(&self, name: &str) -> Said<Option<String>> {
        if let Some(cell) = name.strip_prefix("published ") {
            return self.cited(cell, |number| number.value.to_string());
        }
        if let Some(cell) = name.strip_prefix("cited ") {
            return self.cited(cell, |number| format!("{} ({})", number.value, number.source));
        }
        if let Some(expression) = name.strip_prefix("by seed ") {
            let (expression, format) = formatted(expression)?;
            return Ok(match self.value(expression)? {
                Value::Seeded(seeded) if !seeded.is_empty() => {
                    let each =
                        seeded.iter().map(|(seed, value)| format!("{} (seed {seed})", set(value, format)));
                    Some(each.collect::<Vec<_>>().join(", "))
                }
                _ => None,
            });
        }
        if let Some(word) = self.word(name)? {
            return Ok(Some(word));
        }
        if name == "classes" {
            return Ok(classes(&self.request.data).map(|classes| classes.to_string()));
        }
        if let Some(text) = self.experiment.text.get(name) {
            return self.work.text(name, || self.text(text));
        }
        let (expression, format) = formatted(name)?;
        if let Some(word) = self.words.get(expression) {
            return Ok(Some(word.parse().map_or_else(|_| word.clone(), |number| set(number, format))));
        }
        if !expression.contains('(') {
            let known = self.words.keys().chain(self.experiment.text.keys()).map(String::as_str);
            let known: Vec<_> = known.chain(WORDS).collect();
            return Err(format!("nothing is called `{name}`; there are {}", known.join(", ")));
        }
        Ok(match self.value(expression)?.in_the_mean() {
            Value::Number(number) => Some(set(number, format)),
            _ => None,
        })
    }

    /// A word of the row or of the request.
    fn word(&self, name: &str) -> Said<Option<String>> {
        if let Some(word) = self.words.get(name) {
            return Ok(Some(word.clone()));
        }
        let request = self.request;
        let recipe = self.recipe.cloned().unwrap_or_default();
        Ok(Some(match name {
            "data" => request.data.clone(),
            "source" => request.data.split(':').next().unwrap_or_default().to_owned(),
            "preset" => request.preset.to_string(),
            "fraction" => percent(self.fraction),
            "subset" => self.experiment.subset(&request.data, self.fraction).to_string(),
            "shares" => {
                let share = |&fraction: &f64| {
                    let subset = self.experiment.subset(&request.data, fraction);
                    format!("{} of the training images ({subset} of each class)", percent(fraction))
                };
                self.size.fractions.iter().map(share).collect::<Vec<_>>().join(", ")
            }
            "length" => recipe.epochs.to_string(),
            "updates" => match recipe.epochs {
                Duration::Steps(updates) => updates.to_string(),
                other => {
                    return Err(format!(
                        "{{updates}}: the runs have no number of updates, their length is {other}"
                    ));
                }
            },
            "batch" => recipe.batch_size.to_string(),
            "seed" => self.results.first().map_or(0, |run| run.cell.seed).to_string(),
            _ => return Ok(None),
        }))
    }

    /// Published numbers, each as `show` has it.
    fn cited(&self, cell: &str, show: impl Fn(&PublishedValue) -> String) -> Said<Option<String>> {
        let values = self.published(cell)?;
        let shown: Vec<_> = values.into_iter().map(show).collect();
        Ok((!shown.is_empty()).then(|| shown.join(", ")))
    }

    /// What `paper | table | row | column` was published as; empty for an empty text.
    pub fn published(&self, cell: &str) -> Said<Vec<&'static PublishedValue>> {
        let filled = self.filled(cell)?;
        let parts: Vec<_> = filled.split(" | ").map(str::trim).collect();
        match parts.as_slice() {
            [""] => Ok(Vec::new()),
            [paper, table, row, column] => {
                let published = Published::embedded().map_err(|error| error.to_string())?;
                Ok(published.value(paper, table, row, column))
            }
            _ => Err(format!("`{filled}` names no published number; write `paper | table | row | column`")),
        }
    }

    fn text(&self, text: &Text) -> Said<Option<String>> {
        match text {
            Text::Line(line) => self.fill(line),
            Text::Lines(lines) => Ok(Some(self.lines(lines)?.join(" "))),
            Text::Each(EachText { each, line, join }) => {
                let lines =
                    self.rows(each)?.iter().map(|row| self.at(row).fill(line)).collect::<Said<Vec<_>>>()?;
                self.work.add(join.len().saturating_mul(lines.len()))?;
                Ok(Some(lines.into_iter().flatten().collect::<Vec<_>>().join(join)))
            }
            Text::Alike(AlikeText { alike, within, yes, no, open }) => {
                self.read_ahead([yes, no, open])?;
                let [a, b] = [self.value(&alike[0])?, self.value(&alike[1])?];
                let judged = Comparison::new("", "", a.side(&b)?, b.side(&a)?).judge();
                let said = match judged.is_within(*within) {
                    Some(true) => yes,
                    Some(false) => no,
                    None => open,
                };
                if judged.n == 0 { Ok(None) } else { self.fill(said) }
            }
            Text::Best(BestText { best, value, line, none }) => {
                self.read_ahead([none])?;
                let mut top: Option<(f64, Self)> = None;
                for row in self.rows(best)? {
                    let mut here = self.at(&row);
                    let value = here.value(value)?.in_the_mean();
                    here.words.insert("value".to_owned(), "0".to_owned());
                    here.read_ahead([line])?;
                    if let Value::Number(value) = value
                        && top.as_ref().is_none_or(|(most, _)| value.total_cmp(most).is_ge())
                    {
                        here.words.insert("value".to_owned(), value.to_string());
                        top = Some((value, here));
                    }
                }
                top.map_or_else(|| self.fill(none), |(_, here)| here.fill(line))
            }
        }
    }

    /// Before there are results: texts of which only some will be said, read so that what is wrong with any is said then.
    pub fn read_ahead<'b>(&self, texts: impl IntoIterator<Item = &'b String>) -> Said<()> {
        if self.results.is_empty() {
            texts.into_iter().try_for_each(|text| self.fill(text).map(drop))?;
        }
        Ok(())
    }
}

/// Words that every experiment has.
pub(crate) const WORDS: [&str; 11] = [
    "data", "classes", "source", "preset", "fraction", "subset", "shares", "length", "updates", "batch",
    "seed",
];

/// Where the brace closes that was open before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// Decimals of a number, and whether it has a sign: `1`, `+2`.
#[derive(Clone, Copy)]
struct Format {
    decimals: Option<usize>,
    sign: bool,
}

/// An expression, and the format behind its last colon.
fn formatted(text: &str) -> Said<(&str, Format)> {
    let plain = (text, Format { decimals: None, sign: false });
    let Some((expression, format)) = text.rsplit_once(':') else { return Ok(plain) };
    let Ok(asked) = format.trim_start_matches('+').parse() else { return Ok(plain) };
    Ok((expression, Format { decimals: Some(decimals(asked)?), sign: format.starts_with('+') }))
}

fn set(number: f64, format: Format) -> String {
    match format {
        Format { decimals: None, .. } => number.to_string(),
        Format { decimals: Some(decimals), sign: false } => format!("{number:.decimals$}"),
        Format { decimals: Some(decimals), sign: true } => signed(number, decimals),
    }
}
