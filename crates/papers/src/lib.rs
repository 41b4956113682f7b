//! Published tables and claims as data, the experiments that re-measure them, verdicts and reports.
//!
//! Published numbers come from `published.toml`, measured numbers only from runs; nothing here makes up either.
//!
//! | module | what it holds |
//! |---|---|
//! | [`published`] | the registry: every published number with its source, every claim |
//! | [`stats`] | values by seed, paired differences, Student-t intervals |
//! | [`verdict`] | a claim judged: holds, fails or undecided |
//! | [`frequencies`] | plots of what a model does to frequencies |
//! | [`report`] | all of it in a folder, set by [`inductive_report`] |
//! | [`experiments`] | which runs re-measure which table |
//!
//! ```
//! use inductive_papers::{Published, Seeded, Verdict, verdict::{ClaimTest, Comparison}};
//!
//! let seeds = |accuracies: [f64; 3]| -> Seeded { (1..).zip(accuracies).collect() };
//! let (strong, weak) = (seeds([61.2, 60.8, 61.9]), seeds([55.0, 55.4, 55.1]));
//! let claim = Published::embedded()?.claim("convit.3")?;
//! let verdict = ClaimTest::new(claim).piece(Comparison::new("alpha 1 > alpha .01", "points", strong, weak)).judge();
//! assert_eq!((verdict.verdict, verdict.n), (Verdict::Holds, 3));
//! # Ok::<(), inductive_papers::Error>(())
//! ```

pub mod error;
pub mod experiments;
pub mod frequencies;
pub mod published;
pub mod report;
pub mod stats;
pub mod verdict;

pub use error::{Error, Result};
pub use published::Published;
pub use report::Report;
pub use stats::Seeded;
pub use verdict::Verdict;
