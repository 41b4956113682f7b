//! Tables of an experiment.

use inductive_report::table::{Cell, Column as Head, Table};

use super::{
    super::{
        context::{Context, Said},
        evaluate::Value,
        rows::Row,
        spec,
        work::{MAX_LAYERS, decimals},
    },
    Question,
};
use crate::{Published, published::Effort};

/// Decimals of a number where nothing is said.
const DIGITS: usize = 1;
/// The same of numbers per layer.
const LAYER_DIGITS: usize = 2;

impl Context<'_> {
    /// A table; adds its comparisons to `questions`.
    pub fn table(&self, table: &spec::Table, questions: &mut Vec<Question>) -> Said<Table> {
        let title = self.filled(&table.title)?;
        let mut made = match (&table.untested, table.questions.is_empty()) {
            (Some(paper), _) => untested(&title, paper)?,
            (None, false) => {
                let judged = self.questions(table)?;
                let made = comparisons(&title, &table.unit, &judged);
                questions.extend(judged);
                made
            }
            (None, true) => self.table_of_rows(&title, table)?,
        };
        for note in self.lines(&table.notes)? {
            made.note(note);
        }
        Ok(made)
    }

    fn questions(&self, table: &spec::Table) -> Said<Vec<Question>> {
        let mut all = Vec::new();
        for spec::Questions { question, compare } in &table.questions {
            let judged = self.comparisons(compare, &table.unit)?;
            all.extend(
                judged
                    .into_iter()
                    .map(|judged| Question { question: question.clone(), judged: judged.judge() }),
            );
        }
        Ok(all)
    }

    fn table_of_rows(&self, title: &str, table: &spec::Table) -> Said<Table> {
        let heads = table.columns.iter().map(|column| self.heads(column)).collect::<Said<Vec<_>>>()?;
        let mut made = Table::new(title, heads.into_iter().flatten());
        let one = [Row::default()];
        let rows = table.rows.as_ref().map(|rows| self.rows(rows)).transpose()?;
        for row in rows.as_deref().unwrap_or(&one) {
            let here = self.at(row);
            if let Some(only) = &table.only_with
                && !here.value(only)?.is_measured()
                && !self.results.is_empty()
            {
                continue;
            }
            let cells = table.columns.iter().map(|column| {
                here.cells(column).map_err(|problem| format!("column `{}`: {problem}", column.head))
            });
            made.row(cells.collect::<Said<Vec<_>>>()?.into_iter().flatten());
        }
        Ok(made)
    }

    /// The heads of what may be several columns.
    fn heads(&self, column: &spec::Column) -> Said<Vec<Head>> {
        let head = |context: &Self| -> Said<Head> {
            let name = context.filled(&column.head)?;
            Ok(if column.text.is_some() && !column.right { Head::left(name) } else { Head::right(name) })
        };
        let Some(layers) = column.layers else { return Ok(vec![head(self)?]) };
        if layers > MAX_LAYERS {
            return Err(format!("column `{}`: {layers} layers; give at most {MAX_LAYERS}", column.head));
        }
        let layer = |at: usize| {
            let words = [("layer".to_owned(), at.to_string())].into();
            head(&self.at(&Row { words, ..Row::default() }))
        };
        (1..=layers).map(layer).collect()
    }

    /// What stands in the column, in each of the columns of a value per layer.
    fn cells(&self, column: &spec::Column) -> Said<Vec<Cell>> {
        let spec::Column { text, value, published, each, digits, layers, missing, .. } = column;
        let digits = digits.map(decimals).transpose()?;
        match (text, value, published) {
            (Some(text), None, None) => Ok(vec![self.fill(text)?.map_or(Cell::Empty, Cell::text)]),
            (None, None, Some(cell)) => {
                let mut values = Vec::new();
                match each {
                    None => values = self.published(cell)?,
                    Some(rows) => {
                        for row in self.rows(rows)? {
                            values.extend(self.at(&row).published(cell)?);
                        }
                    }
                }
                Ok(vec![Cell::published(values)])
            }
            (None, Some(value), None) => {
                let value = self.value(value)?;
                let Some(layers) = layers else {
                    let of_row = self.words.get("digits").and_then(|word| word.parse().ok());
                    return Ok(vec![cell(value, digits.or(of_row.map(decimals).transpose()?))]);
                };
                let list = match value {
                    Value::List(list) => list,
                    Value::Missing => Vec::new(),
                    _ => {
                        return Err("`layers` needs a number per layer: over_seeds(..) or of_first_seed(..)"
                            .to_owned());
                    }
                };
                let shown = |number: &f64| match missing {
                    Some(missing) if number.is_nan() => Cell::text(missing),
                    _ => Cell::number(*number, digits.unwrap_or(LAYER_DIGITS)),
                };
                Ok((0..*layers).map(|at| list.get(at).map_or(Cell::Empty, shown)).collect())
            }
            _ => Err("give one of `text`, `value` and `published`".to_owned()),
        }
    }
}

impl Value {
    /// Whether there is any number in it.
    fn is_measured(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Number(number) => !number.is_nan(),
            Self::List(list) => !list.is_empty(),
            Self::Seeded(seeded) => !seeded.values().iter().all(|value| value.is_nan()),
            Self::Layers(layers) => layers.values().any(|list| !list.is_empty()),
        }
    }
}

fn cell(value: Value, digits: Option<usize>) -> Cell {
    match value {
        Value::Missing => Cell::Empty,
        Value::Number(number) => Cell::number(number, digits.unwrap_or(DIGITS)),
        Value::Seeded(seeded) => Cell::measured(seeded.summary(), digits.unwrap_or(DIGITS)),
        layered => {
            let digits = digits.unwrap_or(LAYER_DIGITS);
            let Value::List(list) = layered.in_the_mean() else { return Cell::Empty };
            Cell::text(list.iter().map(|number| format!("{number:.digits$}")).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Comparisons that no claim is judged by; those without a pair are left out.
fn comparisons(title: &str, unit: &str, questions: &[Question]) -> Table {
    let columns = [
        Head::left("question"),
        Head::left("statement"),
        Head::right(format!("difference, {unit}")),
        Head::right("95 % interval"),
        Head::right("n"),
        Head::left("verdict"),
    ];
    let mut table = Table::new(title, columns);
    for Question { question, judged } in questions.iter().filter(|asked| asked.judged.n > 0) {
        let interval =
            judged.interval.map(|interval| format!("{:+.1} to {:+.1}", interval.low, interval.high));
        table.row([
            Cell::text(question),
            Cell::text(&judged.statement),
            judged.difference.map_or(Cell::Empty, |difference| Cell::text(format!("{difference:+.1}"))),
            interval.map_or(Cell::Empty, Cell::text),
            Cell::count(judged.n),
            Cell::text(judged.verdict.to_string()),
        ]);
    }
    table.note(
        "Intervals are Student-t's and not widened for the number of comparisons: of twenty that have no effect one is expected \
         to be decided by chance.",
    );
    table
}

/// The claims of a paper that no run on a CPU can test.
fn untested(title: &str, paper: &str) -> Said<Table> {
    let columns = [Head::left("claim"), Head::left("statement"), Head::left("why")];
    let mut table = Table::new(title, columns);
    let published = Published::embedded().map_err(|error| error.to_string())?;
    for claim in published.claims_of(paper).filter(|claim| claim.testable == Effort::Gpu) {
        table.row([&claim.id, &claim.text, &claim.expected].map(Cell::text));
    }
    Ok(table)
}
