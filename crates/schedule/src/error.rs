//! The errors of schedules: a duration or a setting without a meaning.

/// What is wrong with a duration or a schedule's settings, and what to write instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A duration that is not a number and a unit.
    #[error(
        "duration `{input}`: {problem}; write a number and a unit, such as \"300 epochs\", \"2000 steps\", \
         \"1e6 examples\" or \"5%\""
    )]
    Duration {
        /// What was given.
        input: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A duration that cannot be turned into steps in this run.
    #[error("duration `{duration}` cannot be turned into steps: {problem}")]
    Unresolved {
        /// The duration.
        duration: String,
        /// What is missing, and what would help.
        problem: &'static str,
    },
    /// A setting outside its range.
    #[error("{schedule}: {field} is {got}, expected {expected}")]
    Setting {
        /// The schedule that refused.
        schedule: &'static str,
        /// Its field.
        field: &'static str,
        /// The value that came.
        got: f64,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// Ends of [`SwitchTimes`](crate::SwitchTimes) in the wrong order.
    #[error(
        "switch times: earliest, {earliest}, is after latest, {latest}; exchange them, or late-first and early-first"
    )]
    SwitchOrder {
        /// The time of the first switch.
        earliest: String,
        /// The time of the last switch.
        latest: String,
    },
    /// A time in a list of [`SwitchTimes`](crate::SwitchTimes) that has no meaning.
    #[error("switch times: time {number} of layers {problem}")]
    SwitchTime {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it, and what would have been accepted.
        problem: String,
    },
    /// A list of [`SwitchTimes`](crate::SwitchTimes) for another model.
    #[error(
        "switch times: layers has {got} times, but the model has {expected} layers that can switch; give one time or \
         \"never\" for each, from the first"
    )]
    SwitchLayers {
        /// Times that were given.
        got: usize,
        /// Layers of the model that can switch.
        expected: usize,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Refuses `got` unless `ok`.
pub(crate) fn setting(
    schedule: &'static str,
    field: &'static str,
    got: f64,
    ok: bool,
    expected: &'static str,
) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::Setting { schedule, field, got, expected }) }
}
