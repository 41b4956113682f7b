//! Structured initialization (arXiv 2401.12511, 2404.01139, 2505.19985): attention that starts as impulses.

mod exact;

use super::Protocol;

/// The exact part: linear algebra and solvers.
pub(super) const EXACT: Protocol = Protocol {
    paper: "structured-init",
    table: "exact",
    about: "channels over frozen filters, what initial weights reach, ranks at initialisation; trains nothing",
    cells: |_| Ok(Vec::new()),
    report: |request, _| exact::report(request),
};
