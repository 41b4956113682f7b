//! What can be checked of the switch without a study: claim prs.C1, and which gradients are left.

mod gradients;
mod layer;
mod network;
mod toy;

use super::super::{Preset, Request, Result};
use crate::{Published, Report, verdict::judge_exact};

/// How much is computed.
struct Scale {
    /// Random kernels and inputs of the toy layer.
    draws: u64,
    /// Updates of the networks before they switch.
    updates: u64,
    /// Test images whose logits are compared.
    images: usize,
}

fn scale(preset: Preset) -> Scale {
    match preset {
        Preset::Smoke => Scale { draws: 20, updates: 12, images: 16 },
        Preset::Quick | Preset::Small => Scale { draws: 20, updates: 60, images: 128 },
    }
}

/// The largest of sizes. Not `f64::max`, which passes over what is no number.
fn largest(sizes: impl Iterator<Item = f64>) -> f64 {
    sizes.fold(0.0, |most, it| if it > most || it.is_nan() { it } else { most })
}

/// Adds the exact part.
pub(crate) fn add(report: &mut Report, request: &Request) -> Result<()> {
    let scale = scale(request.preset);
    let mut checks = layer::add(report, &scale)?;
    checks.extend(network::add(report, &scale)?);
    gradients::add(report)?;
    report.claim(judge_exact(Published::embedded()?.claim("prs.C1")?, checks));
    report.differs(
        "reference values of the toy layer are computations of this project's notes with one other kernel; no publication \
         prints them",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn a_switch_keeps_the_function_at_the_smallest_size() {
        let request = Request { preset: Preset::Smoke, ..Request::new("prs") };
        let mut report = Report::new("exact");
        add(&mut report, &request).unwrap();
        let claim = &report.claims[0];
        assert_eq!((claim.id.as_str(), claim.verdict), ("prs.C1", Verdict::Holds), "{claim:#?}");
        assert!(claim.checks.len() > 30, "{}", claim.checks.len());
        let names: Vec<_> = report.tables.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["locality", "gate", "borders", "networks", "gradients"]);
        assert!(report.tables.iter().all(|named| !named.table.rows.is_empty()));
    }
}
