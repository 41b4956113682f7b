//! Queries and keys whose attention is an impulse: each patch attends to the one at a given offset.

mod closed_form;
mod gradient;
mod head;

pub use closed_form::ClosedForm;
pub use gradient::{Gradient, Progress};

use crate::{Basis, Error, Result, Target, query_key::head_dim};

/// Whether there is one target per head, of the pseudo-input's patches; gives the channels per head.
fn check_targets(basis: &Basis, targets: &[Target]) -> Result<usize> {
    let head_dim = head_dim(basis.width(), targets.len())?;
    if let Some(target) = targets.iter().find(|target| target.tokens() != basis.tokens()) {
        let expected = format!("{} patches as in the pseudo-input", basis.tokens());
        return Err(Error::shape("impulse target", expected, target.tokens().to_string()));
    }
    Ok(head_dim)
}
