//! What is computed without a run, by the names that experiments know it by.

pub(super) mod eit;
pub(super) mod prs;
pub(super) mod structured_init;
