//! Claims of an experiment, judged by its results.

use super::super::{
    context::{Context, Said},
    evaluate::Value,
    expression::{Expression, Statement},
    percent,
    rows::Row,
    spec::{Alike, Arm, Claim, Compare, Trend},
};
use crate::{
    Published,
    verdict::{
        Check, ClaimTest, ClaimVerdict, Comparison, Verdict,
        trend::{TrendPoint, lead_grows_as_x_shrinks},
    },
};

impl<'a> Context<'a> {
    /// The verdict on a claim; `None` where arms were not run that it needs.
    pub fn claim(&self, claim: &Claim) -> Said<Option<ClaimVerdict>> {
        let published = Published::embedded()
            .and_then(|published| published.claim(&claim.id))
            .map_err(|error| error.to_string())?;
        for arm in &claim.needs {
            if !self.runs(self.arm(arm)?) {
                return Ok(None);
            }
        }
        let mut test = match &claim.trend {
            Some(trend) => {
                let (points, [leader, baseline]) = self.trend(trend)?;
                lead_grows_as_x_shrinks(published, leader, baseline, &points)
            }
            None => ClaimTest::new(published),
        };
        test.id += &claim.part;
        let once = vec![Row::default()];
        for row in claim.each.as_ref().map_or(Ok(once), |rows| self.rows(rows))? {
            test.pieces.extend(self.at(&row).comparisons(&claim.compare, &claim.unit)?);
        }
        for agreement in &claim.agree {
            let statement = Statement::parse(&self.filled(&agreement.compare)?)?;
            let [left, right] = statement.sides.as_slice() else {
                return Err(format!("`{}`: an agreement has two sides", agreement.compare));
            };
            let (below, above) = if statement.less { (left, right) } else { (right, left) };
            match (self.evaluate(below)?, self.evaluate(above)?) {
                (Value::Number(below), Value::Number(above)) => {
                    let says = self.filled(&agreement.says)?;
                    // A run that diverged says nothing.
                    test = match below.is_finite() && above.is_finite() {
                        true => test.check(Check::below(says, below, above)),
                        false => test.observe(says, None),
                    };
                }
                (Value::Missing, _) | (_, Value::Missing) => {}
                _ => {
                    return Err(format!("`{}` is not of computed numbers; use `compare`", agreement.compare));
                }
            }
        }
        for alike in &claim.alike {
            test = self.alike(test, alike)?;
        }
        for observation in &claim.observe {
            let seen = match &observation.sees {
                Some(statement) => self.sees(statement)?,
                None => self.all_hold(&observation.judged)?,
            };
            if let Some(says) = self.fill(&observation.says)? {
                test = test.observe(says, seen);
            }
        }
        Ok(Some(test.judge()))
    }

    /// Comparisons, each as often as it has rows.
    pub fn comparisons(&self, compare: &[Compare], unit: &str) -> Said<Vec<Comparison>> {
        let mut all = Vec::new();
        for Compare { compare, says, unit: own, each } in compare {
            let once = vec![Row::default()];
            for row in each.as_ref().map_or(Ok(once), |rows| self.rows(rows))? {
                let here = self.at(&row);
                let statement = Statement::parse(&here.filled(compare)?)?;
                let [left, right] = statement.sides.as_slice() else {
                    return Err(format!("`{compare}`: what is judged has two sides"));
                };
                let (left, right) = if statement.less { (right, left) } else { (left, right) };
                let (a, b) = (here.evaluate(left)?, here.evaluate(right)?);
                let says = match says {
                    Some(says) => here.filled(says)?,
                    None => here.statement(left, right)?,
                };
                all.push(Comparison::new(
                    says,
                    here.filled(own.as_deref().unwrap_or(unit))?,
                    a.side(&b)?,
                    b.side(&a)?,
                ));
            }
        }
        Ok(all)
    }

    /// The statement in words, behind what the experiment says of such statements.
    fn statement(&self, left: &Expression, right: &Expression) -> Said<String> {
        let (left_words, right_words) = (self.in_words(left)?, self.in_words(right)?);
        let before = match (&self.experiment.statement, self.first_arm(left)?) {
            (Some(before), Some(arm)) => self.of_arm(arm).filled(before)?,
            _ => String::new(),
        };
        let when = self.words.get("when").map_or("", String::as_str);
        Ok(format!("{before}{left_words} > {right_words}{when}"))
    }

    /// This context with the words of an arm.
    fn of_arm(&self, arm: &Arm) -> Self {
        let words = arm.words.iter().map(|(name, word)| (name.clone(), word.to_string()));
        self.at(&Row { words: words.collect(), ..Row::default() })
    }

    fn first_arm(&self, expression: &Expression) -> Said<Option<&'a Arm>> {
        match expression {
            Expression::Name(name) => self.arm(name).map(Some),
            Expression::Binary(_, left, _) => self.first_arm(left),
            _ => Ok(None),
        }
    }

    /// A side in words: an arm as it is called, what is added in points.
    fn in_words(&self, expression: &Expression) -> Said<String> {
        Ok(match expression {
            Expression::Name(name) => self.called(self.arm(name)?).to_owned(),
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.in_words(left)?, self.in_words(right)?);
                let points = match right.parse::<f64>() {
                    Ok(1.0) => " point",
                    Ok(_) => " points",
                    Err(_) => "",
                };
                format!("{left} {operator} {right}{points}")
            }
            other => other.to_string(),
        })
    }

    /// Whether a statement is so in the means over seeds; `None` where they cannot say.
    pub fn sees(&self, statement: &str) -> Said<Option<bool>> {
        let statement = Statement::parse(&self.filled(statement)?)?;
        let sides = statement.sides.iter().map(|side| self.evaluate(side)).collect::<Said<Vec<_>>>()?;
        let mut all = Some(true);
        for pair in sides.windows(2) {
            let (above, below) = if statement.less { (&pair[1], &pair[0]) } else { (&pair[0], &pair[1]) };
            let seen = above
                .mean_difference(below)?
                .filter(|difference| difference.is_finite())
                .map(|difference| difference > 0.0);
            all = all.zip(seen).map(|(all, seen)| all && seen);
        }
        Ok(all)
    }

    /// Whether all comparisons are judged to hold; `None` where one has fewer than two pairs.
    fn all_hold(&self, compare: &[Compare]) -> Said<Option<bool>> {
        let judged: Vec<_> = self.comparisons(compare, "points")?.iter().map(Comparison::judge).collect();
        let measured = !judged.is_empty() && judged.iter().all(|judged| judged.n > 1);
        Ok(measured.then(|| judged.iter().all(|judged| judged.verdict == Verdict::Holds)))
    }

    /// Adds whether two arms are within a bound of each other: a check where the seeds can say, an observation where not.
    fn alike(&self, test: ClaimTest, Alike { alike, within, says }: &Alike) -> Said<ClaimTest> {
        let arm = self.arm(&alike[0])?;
        let [left, right] = [self.value(&alike[0])?, self.value(&alike[1])?];
        let judged = Comparison::new("", "points", left.side(&right)?, right.side(&left)?).judge();
        let before = match &self.experiment.statement {
            Some(before) => self.of_arm(arm).filled(before)?,
            None => String::new(),
        };
        Ok(match judged.is_within(*within) {
            Some(agrees) => test.check(Check {
                statement: format!("{before}{says} are within {within} point of each other"),
                computed: judged
                    .difference
                    .map_or_else(String::new, |difference| format!("{difference:+.1} points")),
                expected: format!("a 95 % interval within +-{within}"),
                agrees,
            }),
            None => test.observe(format!("{before}{says} are alike"), None),
        })
    }

    /// A lead at every share of the data, and how both sides are called.
    fn trend<'b>(&self, Trend { leader, baseline }: &'b Trend) -> Said<(Vec<TrendPoint>, [&'b str; 2])> {
        let [[leader, leads], [baseline, led]] = [leader, baseline];
        let mut points = Vec::new();
        for &fraction in &self.size.fractions {
            let here = self.at(&Row { fraction: Some(fraction), ..Row::default() });
            let (a, b) = (here.value(leader)?, here.value(baseline)?);
            let (leader, baseline) = (a.side(&b)?, b.side(&a)?);
            points.push(TrendPoint { label: percent(fraction), x: fraction, leader, baseline });
        }
        Ok((points, [leads, led]))
    }
}
