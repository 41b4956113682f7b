//! A measuring process as its parent sees it: started, asked for rounds, and heard out when it dies.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
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

/// A child that answers in lines. It is ended when this is dropped.
pub struct Process {
    /// What it is, in errors.
    who: String,
    /// What to do when it dies.
    advice: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<Vec<String>>>,
}

impl Process {
    /// Starts `command`.
    pub fn start(who: String, advice: &'static str, command: &mut Command) -> Result<Self, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |error| Error::Start { who: who.clone(), error };
        let mut child = command.spawn().map_err(start)?;
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else {
            return Err(start(std::io::Error::other("it has no output")));
        };
        let stderr = child.stderr.take().map(|stderr| thread::spawn(move || last_lines(stderr)));
        Ok(Self { who, advice, child, input, output: BufReader::new(output), stderr })
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Result<String, Error> {
        let mut line = Vec::new();
        match self.output.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => Ok(String::from_utf8_lossy(&line).trim().to_owned()),
            _ => Err(self.died()),
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
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Error::Died { who: self.who.clone(), status, stderr, advice: self.advice }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to save, and a peer may not notice the end of its input.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(stderr: ChildStderr) -> Vec<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}
