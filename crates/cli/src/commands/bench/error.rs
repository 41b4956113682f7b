//! What can go wrong while measuring in other processes.

use std::{io, path::PathBuf, time::Duration};

use inductive_files::shown;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--peer` without a Python that runs.
    #[error("--peer pytorch needs Python 3, but {tried}; install it, or say where it is with --python PATH")]
    NoPython {
        /// What was tried, and what came of it.
        tried: String,
    },
    /// A module of the peer cannot be imported.
    #[error(
        "{} cannot import {} ({}); install it with `{} -m pip install torch timm`, or give a Python that has \
         it with --python PATH",
        shown(python.display()), shown(module), shown(reason), shown(python.display())
    )]
    MissingModule { python: PathBuf, module: String, reason: String },
    /// A measuring process cannot be started.
    #[error("cannot start {who}: {error}")]
    Start { who: String, error: io::Error },
    /// A measuring process ended too early.
    #[error("{who} ended before it had answered ({status}){}{advice}", last_words(stderr))]
    Died {
        who: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: Vec<String>,
        /// What to do.
        advice: &'static str,
    },
    /// A measuring process hangs, or has far too much to do.
    #[error(
        "{who} had not answered after {} s and was stopped{}\na smaller --batch takes less time, a longer --seconds \
         allows more of it",
        patience.as_secs(), last_words(stderr)
    )]
    Silent { who: String, patience: Duration, stderr: Vec<String> },
    /// A measuring process did not keep to the protocol.
    #[error("{who} gave an answer that cannot be used ({}): {}", shown(problem), shown(line))]
    Answer { who: String, problem: String, line: String },
    /// The peer has built something else.
    #[error(
        "{model}: {} has {theirs} parameters, inductive has {ours}; that is not the same model, so nothing was \
         compared. Try another version of timm",
        shown(peer)
    )]
    OtherModel { model: String, peer: String, ours: usize, theirs: usize },
}

fn last_words(lines: &[String]) -> String {
    if lines.is_empty() {
        return " without a word".to_owned();
    }
    let words: String = lines.iter().map(|line| format!("\n    {}", shown(line))).collect();
    format!("; its last words:{words}")
}
