//! Claims judged by measured numbers: holds, fails or undecided.
//!
//! A claim is judged by pieces. Each piece is a [`Comparison`] of two quantities over paired seeds; a [`ClaimTest`]
//! collects the pieces of one claim. [`trend`] builds the pieces of claims about how a lead changes. Claims about numbers
//! that are computed are judged by [`judge_exact`].

mod comparison;
mod exact;
mod show;
pub mod trend;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, Judged};
pub use exact::{Check, judge_exact};

use crate::published::PublishedClaim;

/// What the measured numbers say about a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The numbers support it.
    Holds,
    /// The numbers contradict it.
    Fails,
    /// The numbers say neither.
    Undecided,
    /// Runs that it is judged by are no better than guessing, so that their differences say nothing.
    NothingLearned,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
            Self::NothingLearned => "nothing was learned",
        })
    }
}

/// Something worth saying beside a verdict, on which no verdict hangs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The statement.
    pub statement: String,
    /// Whether the numbers show it; `None` where they cannot say.
    pub seen: Option<bool>,
}

/// The measured numbers that test one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimTest {
    /// Name of the claim, e.g. `convit.1`.
    pub id: String,
    /// The claim.
    pub text: String,
    /// Where the paper says it.
    pub source: String,
    /// The pieces it is judged by; all must hold.
    pub pieces: Vec<Comparison>,
    /// Numbers that are computed and belong to the claim; all must agree.
    pub checks: Vec<Check>,
    /// What else is worth saying.
    pub observations: Vec<Observation>,
}

/// A claim, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimVerdict {
    /// Name of the claim, e.g. `convit.1`.
    pub id: String,
    /// The claim.
    pub text: String,
    /// Where the paper says it.
    pub source: String,
    /// The verdict over all pieces.
    pub verdict: Verdict,
    /// Paired seeds of the piece that has fewest.
    pub n: usize,
    /// Why the verdict is what it is.
    pub reason: String,
    /// Every piece with its own verdict.
    pub pieces: Vec<Judged>,
    /// Numbers that were computed, where the claim is about such too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What else is worth saying.
    pub observations: Vec<Observation>,
}

impl ClaimVerdict {
    /// On how many seeds the verdict stands, as text; `exact` where nothing is left to chance.
    pub fn n_text(&self) -> String {
        if self.pieces.is_empty() && !self.checks.is_empty() {
            "exact".to_owned()
        } else {
            self.n.to_string()
        }
    }
}

impl ClaimTest {
    /// A test of `claim` without pieces yet.
    pub fn new(claim: &PublishedClaim) -> Self {
        Self {
            id: claim.id.clone(),
            text: claim.text.clone(),
            source: claim.source.clone(),
            pieces: Vec::new(),
            checks: Vec::new(),
            observations: Vec::new(),
        }
    }

    /// Adds a number that is computed.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a piece.
    pub fn piece(mut self, comparison: Comparison) -> Self {
        self.pieces.push(comparison);
        self
    }

    /// Adds an observation.
    pub fn observe(mut self, statement: impl Into<String>, seen: Option<bool>) -> Self {
        self.observations.push(Observation { statement: statement.into(), seen });
        self
    }

    /// The verdict: *holds* if every piece holds and every check agrees, *fails* if any piece fails or check disagrees,
    /// *undecided* otherwise and without pieces.
    ///
    /// Intervals are not widened for the number of pieces. For *holds* none is needed, since all must hold; *fails* is
    /// a little easier to reach by chance with many pieces than with one.
    pub fn judge(&self) -> ClaimVerdict {
        let pieces: Vec<Judged> = self.pieces.iter().map(Comparison::judge).collect();
        let of = |verdict| -> Vec<&str> {
            pieces.iter().filter(|p| p.verdict == verdict).map(|p| p.statement.as_str()).collect()
        };
        let (mut fails, undecided) = (of(Verdict::Fails), of(Verdict::Undecided));
        fails.extend(self.checks.iter().filter(|c| !c.agrees).map(|c| c.statement.as_str()));
        let (verdict, reason) = if pieces.is_empty() {
            (Verdict::Undecided, "nothing was measured for it".to_owned())
        } else if !fails.is_empty() {
            (Verdict::Fails, format!("contradicted: {}", fails.join("; ")))
        } else if !undecided.is_empty() {
            (Verdict::Undecided, format!("not decided: {}", undecided.join("; ")))
        } else if pieces.len() == 1 {
            (Verdict::Holds, pieces[0].reason.clone())
        } else {
            (Verdict::Holds, format!("all {} pieces hold", pieces.len()))
        };
        ClaimVerdict {
            id: self.id.clone(),
            text: self.text.clone(),
            source: self.source.clone(),
            verdict,
            n: pieces.iter().map(|p| p.n).min().unwrap_or(0),
            reason,
            pieces,
            checks: self.checks.clone(),
            observations: self.observations.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;

    fn test(differences: &[&[f64]]) -> ClaimVerdict {
        let pieces = differences.iter().enumerate().map(|(i, values)| {
            let left: Seeded = (0..).zip(values.iter().copied()).collect();
            Comparison::new(format!("piece {i}"), "points", left.clone(), left.paired_with(&left, |_, _| 0.0))
        });
        ClaimTest {
            id: "t.1".into(),
            text: "a claim".into(),
            source: "nowhere".into(),
            pieces: pieces.collect(),
            checks: Vec::new(),
            observations: Vec::new(),
        }
        .judge()
    }

    const UP: &[f64] = &[1.0, 1.1, 0.9];
    const DOWN: &[f64] = &[-1.0, -1.1, -0.9];
    const OPEN: &[f64] = &[1.0, -1.1, 0.9];

    #[test]
    fn a_claim_holds_only_if_every_piece_holds() {
        assert_eq!(test(&[UP, UP]).verdict, Verdict::Holds);
        assert_eq!(test(&[UP, OPEN]).verdict, Verdict::Undecided);
        assert_eq!(test(&[UP, OPEN]).reason, "not decided: piece 1");
    }

    #[test]
    fn one_failing_piece_fails_the_claim_even_beside_an_undecided_one() {
        let judged = test(&[OPEN, UP, DOWN]);
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Fails, "contradicted: piece 2"));
    }

    #[test]
    fn one_seed_decides_nothing() {
        let judged = test(&[&[50.0]]);
        assert_eq!((judged.verdict, judged.n), (Verdict::Undecided, 1));
    }

    #[test]
    fn a_claim_without_pieces_is_undecided_with_n_zero() {
        let judged = test(&[]);
        assert_eq!((judged.verdict, judged.n), (Verdict::Undecided, 0));
    }

    #[test]
    fn a_computed_number_that_is_wrong_fails_the_claim_though_every_piece_holds() {
        let claim = crate::Published::embedded().unwrap().claim("eit.C1").unwrap();
        let seeds: Seeded = (0..).zip(UP.iter().copied()).collect();
        let up = Comparison::new("a > b", "points", seeds.clone(), seeds.paired_with(&seeds, |_, _| 0.0));
        let test = ClaimTest::new(claim).piece(up);
        assert_eq!(test.clone().check(Check::equal("size", 1, 1)).judge().verdict, Verdict::Holds);
        let judged = test.check(Check::equal("size", 1, 2)).judge();
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Fails, "contradicted: size"));
    }

    #[test]
    fn n_is_that_of_the_piece_with_fewest_seeds() {
        assert_eq!(test(&[UP, &[1.0, 1.1]]).n, 2);
    }
}
