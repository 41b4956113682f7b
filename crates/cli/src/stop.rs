//! Ctrl-C, a closed terminal and `kill`: the first asks the run to stop after the step at hand, the second ends the process.
//!
//! On Unix `signal-hook` listens, one signal at a time: a signal that was ignored when the program started stays ignored, as `nohup`
//! (SIGHUP) and shells that start a job in the background (SIGINT) want it. `ctrlc`, which would take all or none, listens elsewhere.
//! No crate tells without `unsafe` whether a signal is ignored: Linux says it in `/proc/self/status`, elsewhere a shell is asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    error::{Error, Result},
    output::note,
};

/// A flag that an interrupt sets.
pub fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    listen(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        note("\nstopping after this step; press Ctrl-C again to stop at once (the last checkpoint stays)");
    })
    .map_err(|error| Error::Failure(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(flag)
}

#[cfg(not(unix))]
fn listen(heard: impl FnMut() + Send + 'static) -> std::result::Result<(), ctrlc::Error> {
    ctrlc::set_handler(heard)
}

#[cfg(unix)]
fn listen(mut heard: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };
    let ask = [(SIGINT, "INT"), (SIGTERM, "TERM"), (SIGHUP, "HUP")];
    let heeded = ask.into_iter().filter(|(number, name)| !is_ignored(*number, name));
    let mut signals = Signals::new(heeded.map(|(number, _)| number))?;
    std::thread::spawn(move || signals.forever().for_each(|_| heard()));
    Ok(())
}

/// Whether this process ignores a signal.
#[cfg(unix)]
fn is_ignored(number: i32, name: &str) -> bool {
    ignored_by_status(number).unwrap_or_else(|| ignored_by_shell(name))
}

/// As Linux tells it; `None` elsewhere.
#[cfg(unix)]
fn ignored_by_status(number: i32) -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & (1 << (number - 1)) != 0)
}

/// As a child finds it, which inherits what is ignored and ends of the signal otherwise. Without a shell nothing is ignored.
#[cfg(unix)]
fn ignored_by_shell(name: &str) -> bool {
    let mut shell = std::process::Command::new("sh");
    let shell =
        shell.args(["-c", &format!("kill -s {name} $$; echo alive")]).stderr(std::process::Stdio::null());
    shell.output().is_ok_and(|output| output.stdout.starts_with(b"alive"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Starts this test again where SIGHUP is ignored.
    #[test]
    fn the_system_and_a_shell_tell_the_same_of_what_is_ignored() {
        const INSIDE: &str = "INDUCTIVE_TEST_HUP_IS_IGNORED";
        if std::env::var_os(INSIDE).is_some() {
            use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
            assert!(is_ignored(SIGHUP, "HUP"));
            for (number, name) in [(SIGHUP, "HUP"), (SIGINT, "INT"), (SIGTERM, "TERM")] {
                assert_eq!(is_ignored(number, name), ignored_by_shell(name), "{name}");
            }
            return;
        }
        let test = "stop::tests::the_system_and_a_shell_tell_the_same_of_what_is_ignored";
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' HUP; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
