//! What a command shows while it works: a bar on a terminal, plain lines otherwise.

mod passes;
mod run;

use std::{io::IsTerminal, ops::Deref, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::error_columns;

pub use passes::{BenchView, ImagesView, SolveView};
pub use run::{RunView, StudyView};

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// A bar on the terminal, which goes when it is dropped.
struct Bar(ProgressBar);

impl Bar {
    /// template: as `indicatif` has it. None where plain lines are asked for, or nobody looks.
    fn new(plain: bool, length: u64, template: &str) -> Option<Self> {
        if plain || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Some(Self(bar))
    }
}

impl Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Whether a line of the terminal has room for a title and a bar beside numbers.
fn is_wide() -> bool {
    error_columns().is_none_or(|columns| columns >= 76)
}

/// `1 run`, `2 runs`, `2 classes`
pub fn count(n: usize, what: &str) -> String {
    let ending = match n {
        1 => "",
        _ if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {what}{ending}")
}

/// `1h02m`, `3m20s`, `12s`
pub fn time(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_a_person_says_them() {
        assert_eq!(time(12.4), "12s");
        assert_eq!(time(200.0), "3m20s");
        assert_eq!(time(3725.0), "1h02m");
        assert_eq!(time(-1.0), "0s");
    }
}
