//! Numbers that are computed, not measured: they agree with what is expected or they do not.

use serde::{Deserialize, Serialize};

use crate::{
    published::PublishedClaim,
    verdict::{ClaimVerdict, Verdict, comparison::ROUNDING},
};

/// One computed number, or list of numbers, beside the published one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is compared.
    pub statement: String,
    /// What was computed.
    pub computed: String,
    /// What is published, or the bound.
    pub expected: String,
    /// Whether they agree.
    pub agrees: bool,
}

impl Check {
    /// Two values that must be equal as they are written.
    pub fn equal(statement: impl Into<String>, computed: impl ToString, expected: impl ToString) -> Self {
        let (computed, expected) = (computed.to_string(), expected.to_string());
        Self { statement: statement.into(), agrees: computed == expected, computed, expected }
    }

    /// A number that must be below another, by more than the rounding of both.
    pub fn below(statement: impl Into<String>, computed: f64, bound: f64) -> Self {
        Self {
            statement: statement.into(),
            computed: computed.to_string(),
            expected: format!("below {bound}"),
            agrees: bound - computed > ROUNDING * computed.abs().max(bound.abs()),
        }
    }

    /// A number that must not be below `bound`.
    pub fn at_least(statement: impl Into<String>, computed: f64, bound: f64) -> Self {
        Self {
            statement: statement.into(),
            computed: ((computed * 1e3).round() / 1e3).to_string(),
            expected: format!("at least {bound}"),
            agrees: computed >= bound,
        }
    }

    /// A deviation that must not be above `limit`.
    pub fn within(statement: impl Into<String>, deviation: f64, limit: f64) -> Self {
        Self {
            statement: statement.into(),
            computed: format!("{deviation:.1e}"),
            expected: format!("at most {limit:.0e}"),
            agrees: deviation <= limit,
        }
    }
}

/// The verdict on a claim: *holds* if every check agrees, *fails* if one does not, *undecided* without checks.
pub fn judge_exact(claim: &PublishedClaim, checks: Vec<Check>) -> ClaimVerdict {
    let wrong: Vec<&str> = checks.iter().filter(|c| !c.agrees).map(|c| c.statement.as_str()).collect();
    let (verdict, reason) = match (checks.len(), wrong.as_slice()) {
        (0, _) => (Verdict::Undecided, "nothing was computed for it".to_owned()),
        (n, []) => (Verdict::Holds, format!("all {n} numbers agree")),
        (_, wrong) => (Verdict::Fails, format!("another number: {}", wrong.join("; "))),
    };
    ClaimVerdict {
        id: claim.id.clone(),
        text: claim.text.clone(),
        source: claim.source.clone(),
        verdict,
        n: 0,
        reason,
        pieces: Vec::new(),
        checks,
        observations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Published;

    #[test]
    fn one_number_that_differs_fails_the_claim_and_is_named() {
        let claim = Published::embedded().unwrap().claim("eit.A1").unwrap();
        let right = Check::equal("parameters of Mini", 3_512_750, 3_512_750);
        let wrong = Check::equal("parameters of Tiny", 1, 2);
        assert_eq!(judge_exact(claim, vec![right.clone()]).verdict, Verdict::Holds);
        let judged = judge_exact(claim, vec![right, wrong]);
        assert_eq!(judged.verdict, Verdict::Fails);
        assert_eq!(judged.reason, "another number: parameters of Tiny");
        assert_eq!(judge_exact(claim, Vec::new()).verdict, Verdict::Undecided);
    }

    #[test]
    fn a_deviation_that_is_no_number_is_not_within_anything() {
        assert!(Check::within("x", 1e-14, 1e-12).agrees);
        assert!(!Check::within("x", 1e-11, 1e-12).agrees);
        assert!(!Check::within("x", f64::NAN, 1e-12).agrees);
        assert!(Check::at_least("x", 0.5, 0.5).agrees && !Check::at_least("x", 0.4, 0.5).agrees);
        assert!(!Check::at_least("x", f64::NAN, 0.5).agrees);
        assert!(Check::below("x", 1.0, 2.0).agrees && !Check::below("x", 2.0, 2.0).agrees);
        assert!(!Check::below("x", f64::NAN, 2.0).agrees && !Check::below("x", 1.0, f64::NAN).agrees);
    }

    #[test]
    fn a_number_is_below_another_by_its_fraction_too_and_not_by_rounding() {
        assert!(!Check::below("x", 3.7, 3.0).agrees && !Check::below("x", 3.7, 3.5).agrees);
        assert!(Check::below("x", 3.2, 3.7).agrees && Check::below("x", -0.7, -0.2).agrees);
        assert!(!Check::below("x", 0.3, 0.1 + 0.2).agrees);
        assert_eq!(Check::below("x", 373_690.0, 3.7).computed, "373690");
        assert_eq!(Check::below("x", 373_690.0, 3.7).expected, "below 3.7");
    }
}
