//! A measuring process as its parent sees it: started, asked for rounds, heard out when it dies, ended when it hangs.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use super::{
    error::Error,
    protocol::{Answer, RUN},
};

/// Lines of the standard error that are kept.
const LAST_LINES: usize = 8;
/// Characters of an answer that an error shows.
const SHOWN: usize = 200;

/// A process that has closed its output may take so long to end.
const GRACE: Duration = Duration::from_secs(2);

/// A child that answers in lines. It is ended when this is dropped.
pub struct Process {
    /// What it is, in errors.
    who: String,
    /// What to do when it dies.
    advice: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    /// The lines of its output.
    output: Receiver<String>,
    /// How long it may take for one.
    patience: Duration,
    stderr: Option<LastLines>,
}

impl Process {
    /// Starts `command`, which may take `patience` for an answer.
    pub fn start(
        who: String,
        advice: &'static str,
        command: &mut Command,
        patience: Duration,
    ) -> Result<Self, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |error| Error::Start { who: who.clone(), error };
        let mut child = command.spawn().map_err(start)?;
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else {
            return Err(start(std::io::Error::other("it has no output")));
        };
        let stderr = child.stderr.take().map(LastLines::of);
        Ok(Self { who, advice, child, input, output: lines(output), patience, stderr })
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Result<String, Error> {
        match self.output.recv_timeout(self.patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(self.silent()),
            Err(RecvTimeoutError::Disconnected) => Err(self.died()),
        }
    }

    /// A line of its output, understood.
    pub fn parse<T: DeserializeOwned>(&self, line: &str) -> Result<T, Error> {
        serde_json::from_str(line).map_err(|error| self.refuse(error.to_string(), line))
    }

    /// One round.
    pub fn ask(&mut self) -> Result<Answer, Error> {
        // A process that is dead shows when it is read from.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{RUN}").and_then(|()| input.flush());
        }
        let line = self.line()?;
        self.parse(&line)
    }

    /// An answer that cannot be used.
    pub fn refuse(&self, problem: impl Into<String>, line: &str) -> Error {
        let line = line.chars().take(SHOWN).collect();
        Error::Answer { who: self.who.clone(), problem: problem.into(), line }
    }

    fn died(&mut self) -> Error {
        self.input = None;
        let status = match within_grace(|| self.child.try_wait().transpose()) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            None => {
                self.kill();
                "it closed its output, but had to be stopped".to_owned()
            }
        };
        Error::Died { who: self.who.clone(), status, stderr: self.last_words(), advice: self.advice }
    }

    fn silent(&mut self) -> Error {
        self.kill();
        Error::Silent { who: self.who.clone(), patience: self.patience, stderr: self.last_words() }
    }

    fn last_words(&mut self) -> Vec<String> {
        self.stderr.take().map(LastLines::take).unwrap_or_default()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to save, and a peer may not notice the end of its input.
        self.kill();
    }
}

/// What `look` finds within [`GRACE`].
fn within_grace<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = look();
        if found.is_some() || start.elapsed() > GRACE {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of `output`, read by a thread: a pipe cannot be read with a time limit.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The end of a standard error, read by a thread.
struct LastLines {
    thread: JoinHandle<()>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LastLines {
    fn of(stderr: ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let Ok(mut kept) = kept.lock() else { break };
                if !line.is_empty() {
                    kept.push_back(line);
                }
                if kept.len() > LAST_LINES {
                    kept.pop_front();
                }
            }
        });
        Self { thread, lines }
    }

    /// All of them, or those so far if something that the process has started still holds its standard error.
    fn take(self) -> Vec<String> {
        within_grace(|| self.thread.is_finished().then_some(()));
        self.lines.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// What comes of a shell `script` that is asked for a round, and has to be given up soon.
    fn ask(script: &str, patience: Duration) -> String {
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut process = Process::start("it".to_owned(), "", &mut command, patience).unwrap();
        let error = process.ask().unwrap_err().to_string();
        drop(process);
        assert!(start.elapsed() < Duration::from_secs(15), "{error}");
        error
    }

    #[test]
    fn a_process_that_hangs_is_stopped() {
        let error = ask("echo tired >&2; exec sleep 60", Duration::from_millis(500));
        assert!(error.contains("not answered after 0 s") && error.contains("tired"), "{error}");
    }

    #[test]
    fn a_process_that_closes_its_output_and_goes_on_is_stopped() {
        let error = ask("exec >&-; echo bored >&2; exec sleep 60", Duration::from_secs(60));
        assert!(error.contains("had to be stopped") && error.contains("bored"), "{error}");
    }

    #[test]
    fn what_a_process_leaves_running_is_not_waited_for() {
        let error = ask("sleep 20 >&- & echo gone >&2; exit 3", Duration::from_secs(60));
        assert!(error.contains("exit status: 3") && error.contains("gone"), "{error}");
    }
}
