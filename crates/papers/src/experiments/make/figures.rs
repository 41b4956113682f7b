//! Figures of an experiment.

use inductive_report::figure::{Axis, Figure, Series};

use super::super::{
    context::{Context, Said},
    evaluate::Value,
    rows::Row,
    spec::{self, Drawn, Kind, Rows},
};

impl Context<'_> {
    pub fn figure(&self, figure: &spec::Figure) -> Said<Figure> {
        let mut made = Figure::new(self.filled(&figure.title)?, self.axis(&figure.x)?, self.axis(&figure.y)?)
            .caption(self.filled(&figure.caption)?);
        for lines in &figure.lines {
            let one = vec![Row::default()];
            for row in lines.each.as_ref().map_or(Ok(one), |rows| self.rows(rows))? {
                let hue = made.series.len();
                if let Some(series) = self.at(&row).line(lines, hue)? {
                    made = made.series(series);
                }
            }
        }
        Ok(made)
    }

    fn axis(&self, axis: &spec::Axis) -> Said<Axis> {
        let label = self.filled(&axis.label)?;
        let made = match axis.scale {
            Kind::Linear => Axis::linear(label),
            Kind::Log => Axis::log(label),
        };
        let Some(ticks) = &axis.ticks else { return Ok(made) };
        let mut all = Vec::new();
        for row in self.rows(ticks)? {
            let here = self.at(&row);
            let x = here.number("x")?;
            all.push((x, here.words.get("tick").cloned().unwrap_or_else(|| x.to_string())));
        }
        Ok(made.with_ticks(all))
    }

    /// The number that an expression or a word is.
    fn number(&self, text: &str) -> Said<f64> {
        match self.value(text)?.in_the_mean() {
            Value::Number(number) => Ok(number),
            Value::Missing => Ok(f64::NAN),
            _ => Err(format!("`{text}` is to be a number")),
        }
    }

    /// A line; `None` where it would begin with what was not measured.
    fn line(&self, line: &Drawn, next: usize) -> Said<Option<Series>> {
        let hue = match self.words.get("hue").map(|hue| hue.parse()) {
            Some(Ok(hue)) => hue,
            _ => line.hue.unwrap_or(next),
        };
        let name = self.filled(&line.name)?;
        let mut series = match line.published {
            Some(_) => Series::published(name, hue),
            None => Series::measured(name, hue),
        };
        if let Some((x, y)) = &line.begin {
            match self.value(y)?.in_the_mean() {
                Value::Number(y) if !y.is_nan() => series = series.point(*x, y),
                // Before there are results the line is read to its end.
                _ if self.results.is_empty() => {}
                _ => return Ok(None),
            }
        }
        if line.over == Rows::Named("layers".to_owned()) {
            let Some(y) = &line.y else { return Err("a line over layers needs `y`".to_owned()) };
            let list = match self.value(y)?.in_the_mean() {
                Value::List(list) => list,
                Value::Missing => Vec::new(),
                _ => return Err(format!("`{y}` is to be a number per layer")),
            };
            let place = |layer: usize| {
                let words = [("layer".to_owned(), layer.to_string())].into();
                self.at(&Row { words, ..Row::default() }).number(line.x.as_deref().unwrap_or("layer"))
            };
            place(1)?;
            for (at, value) in list.into_iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                series = series.point(place(at + 1)?, value);
            }
            return Ok(Some(series));
        }
        for row in self.rows(&line.over)? {
            let here = self.at(&row);
            let x = here.number(line.x.as_deref().unwrap_or("x"))?;
            series = match (&line.y, &line.published) {
                (None, Some(cell)) => {
                    here.published(cell)?.into_iter().fold(series, |series, it| series.point(x, it.value))
                }
                (Some(y), None) => match here.value(y)? {
                    Value::Missing => series,
                    Value::Number(y) => series.point(x, y),
                    Value::Seeded(seeded) => series.mean_sd(x, seeded.summary()),
                    _ => {
                        return Err(format!(
                            "`{y}` is a number per layer; draw it over layers, or one of them"
                        ));
                    }
                },
                _ => return Err("a line needs one of `y` and `published`".to_owned()),
            };
        }
        Ok(Some(series))
    }
}
