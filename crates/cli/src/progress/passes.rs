//! What is shown of solves of initial weights, of images that are gone through, of measurements.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Bar, PLAIN_EVERY};
use crate::output::note;

/// Gradient solves of initial weights, which several threads report from.
pub struct SolveView {
    bar: Option<Bar>,
    /// Steps of all heads and solves, done and to do.
    done: AtomicU64,
    total: u64,
    /// When the last plain line was written.
    last: Mutex<Instant>,
}

impl SolveView {
    /// total: steps of all heads and solves; 0 shows nothing.
    pub fn new(plain: bool, total: u64) -> Self {
        let template = "solving [{bar:30}] {percent} % {msg} {eta} left";
        let bar = Bar::new(plain || total == 0, total, template);
        Self { bar, done: AtomicU64::new(0), total, last: Mutex::new(Instant::now()) }
    }

    /// One head has made a step.
    pub fn heard(&self, progress: inductive_init::Progress) {
        /// Steps between two looks at the clock.
        const STEPS: u64 = 100;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !done.is_multiple_of(STEPS) {
            return;
        }
        let loss = format!("head {}: loss {:.5}", progress.head, progress.loss);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(loss);
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() >= PLAIN_EVERY {
            *last = Instant::now();
            note(&format!("solving: {done} of {} steps, {loss}", self.total));
        }
    }
}

/// Images that a model is measured on.
pub struct ImagesView {
    bar: Option<Bar>,
    total: usize,
    last: Instant,
}

impl ImagesView {
    pub fn new(plain: bool, total: usize) -> Self {
        let bar = Bar::new(plain, total as u64, "measuring [{bar:30}] {pos}/{len} images {eta} left");
        Self { bar, total, last: Instant::now() }
    }

    /// So many are done.
    pub fn heard(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.last.elapsed() >= PLAIN_EVERY => {
                self.last = Instant::now();
                note(&format!("measuring: {done} of {} images", self.total));
            }
            None => {}
        }
    }
}

/// A series of measurements: on a terminal what is measured now, and a line for each that is done.
pub struct BenchView {
    bar: Option<Bar>,
    count: usize,
    done: usize,
}

impl BenchView {
    pub fn new(plain: bool, count: usize) -> Self {
        let bar = Bar::new(plain, count as u64, "[{pos}/{len}] {msg}");
        Self { bar, count, done: 0 }
    }

    /// What is measured now.
    pub fn now(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// A measurement is finished.
    pub fn done(&mut self, result: &str) {
        self.done += 1;
        let line = format!("[{}/{}] {result}", self.done, self.count);
        match &self.bar {
            Some(bar) => {
                bar.println(line);
                bar.set_position(self.done as u64);
            }
            None => note(&line),
        }
    }
}
