//! What a run shows while it runs: a bar on a terminal, plain lines otherwise.

use std::{
    io::IsTerminal,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use inductive_checkpoint::LoadReport;
use inductive_files::{shown, shown_lines};
use inductive_papers::experiments::{Cell, CellResult, Study, StudyProgress};
use inductive_train::{Metrics, Progress, RunInfo, StepInfo, SwitchInfo};

use crate::output::note;

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

fn is_plain(asked: bool) -> bool {
    asked || !std::io::stderr().is_terminal()
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

/// That a layer leaves convolution after `step` of `total` updates.
fn leaves(layer: &str, step: u64, total: u64) -> String {
    match step {
        0 => format!("layer {layer} leaves convolution before the first update"),
        _ => {
            let percent = 100.0 * step as f64 / total.max(1) as f64;
            format!("layer {layer} leaves convolution after update {step} ({percent:.0} % of the run)")
        }
    }
}

/// When layers leave convolution, in words and in updates of a run of `total`.
fn plan(words: &str, times: &[Option<u64>], total: u64) -> String {
    let update = |time: &Option<u64>| match time.filter(|time| *time < total) {
        Some(time) => time.to_string(),
        None => "never".to_owned(),
    };
    let updates: Vec<String> = times.iter().map(update).collect();
    let same = updates.windows(2).all(|pair| pair[0] == pair[1]);
    let updates = match updates.first().map(String::as_str) {
        None => String::new(),
        Some("0" | "never") if same => String::new(),
        Some(update) if same => format!(" (after update {update})"),
        Some(_) => format!(" (after updates {})", updates.join(", ")),
    };
    format!("layers leave convolution: {words}{updates}")
}

/// One run.
pub struct RunView {
    /// Before every line.
    title: String,
    bar: Option<ProgressBar>,
    last: Instant,
    /// Seconds that come after this run, added to the time left.
    later: f64,
}

impl RunView {
    pub fn new(plain: bool, title: String) -> Self {
        let bar = (!is_plain(plain)).then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(title.clone());
            bar
        });
        Self { title, bar, last: Instant::now(), later: 0.0 }
    }

    fn line(&self, text: &str) {
        let line = if self.title.is_empty() { text.to_owned() } else { format!("{}: {text}", self.title) };
        match &self.bar {
            Some(bar) => bar.println(shown_lines(line).to_string()),
            None => note(&line),
        }
    }
}

impl Drop for RunView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for RunView {
    fn start(&mut self, run: &RunInfo<'_>) {
        if let Some(bar) = &self.bar {
            bar.set_length(run.plan.total_steps);
            bar.set_position(run.step);
        }
        let resumed =
            if run.step > 0 { format!(", going on after {} updates", run.step) } else { String::new() };
        let gated = run.model.local_up_to_layer();
        let gated = gated.map_or(String::new(), |layers| format!(", {layers} gated layers"));
        self.line(&format!(
            "{} ({} parameters{gated}), {} training and {} test images, {} updates of {}{resumed}",
            run.model.name,
            run.num_params,
            run.train_images,
            run.test_images,
            run.plan.total_steps,
            run.recipe.batch_size
        ));
        if let Some(switch) = &run.recipe.switch {
            self.line(&plan(&switch.times.to_string(), run.switch_times, run.plan.total_steps));
        }
    }

    fn step(&mut self, step: &StepInfo) {
        let left = time(step.seconds_left + self.later);
        let text = format!(
            "loss {:.3} lr {:.1e} {:.0} images/s, {left} left",
            step.loss, step.lr, step.images_per_s
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(step.step);
                bar.set_message(text);
            }
            None if self.last.elapsed() >= PLAIN_EVERY => {
                self.last = Instant::now();
                self.line(&format!("{}/{} {text}", step.step, step.total_steps));
            }
            None => {}
        }
    }

    fn switch(&mut self, switch: &SwitchInfo<'_>) {
        self.line(&leaves(switch.layer, switch.step, switch.total_steps));
    }

    fn report(&mut self, m: &Metrics) {
        self.line(&format!(
            "epoch {:.1}: test top-1 {:.1} %, top-5 {:.1} %, loss {:.3} (training {:.3}), {:.0} images/s",
            m.epoch, m.test_top1, m.test_top5, m.test_loss, m.train_loss, m.images_per_s
        ));
    }

    fn loaded(&mut self, report: &LoadReport) {
        self.line(report.to_string().trim_end());
    }

    fn warning(&mut self, message: &str) {
        self.line(&format!("warning: {message}"));
    }
}

/// A study of many runs.
pub struct StudyView {
    plain: bool,
    cells: usize,
    stored: usize,
    begun: Instant,
    /// Runs made since the start.
    made: usize,
}

impl StudyView {
    pub fn new(plain: bool) -> Self {
        Self { plain, cells: 0, stored: 0, begun: Instant::now(), made: 0 }
    }
}

impl StudyProgress for StudyView {
    fn study(&mut self, study: &Study, finished: usize) {
        self.cells = study.cells.len();
        self.stored = finished;
        self.begun = Instant::now();
        let (experiment, folder) = (&study.experiment, shown(study.folder.display()));
        note(&match self.cells {
            0 => format!("{} {}: trains nothing, written to {folder}", experiment.paper, experiment.name),
            runs => format!("{} {}: {runs} runs in {folder}", experiment.paper, experiment.name),
        });
        if finished > 0 {
            note(&format!("{finished} of them are finished from an earlier start"));
        }
    }

    fn notices(&mut self, notices: &[String]) {
        notices.iter().for_each(|notice| note(&format!("note: {notice}")));
    }

    fn cell(&mut self, index: usize, cell: &Cell) -> Box<dyn Progress + '_> {
        let mut view = RunView::new(
            self.plain,
            format!("[{}/{}] {} seed {}", index + 1, self.cells, cell.name, cell.seed),
        );
        let open = self.cells - self.stored - self.made;
        if self.made > 0 {
            view.later = self.begun.elapsed().as_secs_f64() / self.made as f64 * (open - 1) as f64;
        }
        Box::new(view)
    }

    fn done(&mut self, index: usize, result: &CellResult, stored: bool) {
        if stored {
            return;
        }
        self.made += 1;
        let open = self.cells - self.stored - self.made;
        let left = self.begun.elapsed().as_secs_f64() / self.made as f64 * open as f64;
        let top1 = result.result.metrics.last().map_or(f64::NAN, |m| m.test_top1);
        note(&format!(
            "[{}/{}] {} seed {} finished: top-1 {top1:.1} %; {open} runs to go, about {}",
            index + 1,
            self.cells,
            result.cell.name,
            result.cell.seed,
            time(left)
        ));
    }

    fn reporting(&mut self) {
        note("making the report; exact experiments, where there are any, take up to a minute");
    }
}

/// Gradient solves of initial weights, which several threads report from.
pub struct SolveView {
    bar: Option<ProgressBar>,
    /// Steps of all heads and solves, done and to do.
    done: AtomicU64,
    total: u64,
    /// When the last plain line was written.
    last: Mutex<Instant>,
}

impl SolveView {
    /// total: steps of all heads and solves; 0 shows nothing.
    pub fn new(plain: bool, total: u64) -> Self {
        let bar = (total > 0 && !is_plain(plain)).then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("solving [{bar:30}] {percent} % {msg} {eta} left")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
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

impl Drop for SolveView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Images that a model is measured on.
pub struct ImagesView {
    bar: Option<ProgressBar>,
    total: usize,
    last: Instant,
}

impl ImagesView {
    pub fn new(plain: bool, total: usize) -> Self {
        let bar = (!is_plain(plain)).then(|| {
            let bar = ProgressBar::new(total as u64);
            if let Ok(style) =
                ProgressStyle::with_template("measuring [{bar:30}] {pos}/{len} images {eta} left")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
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

impl Drop for ImagesView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A series of measurements: on a terminal what is measured now, and a line for each that is done.
pub struct BenchView {
    bar: Option<ProgressBar>,
    count: usize,
    done: usize,
}

impl BenchView {
    pub fn new(plain: bool, count: usize) -> Self {
        let bar = (!is_plain(plain)).then(|| {
            let bar = ProgressBar::new(count as u64);
            if let Ok(style) = ProgressStyle::with_template("[{pos}/{len}] {msg}") {
                bar.set_style(style);
            }
            bar
        });
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

impl Drop for BenchView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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

    #[test]
    fn the_plan_of_switches_has_the_updates() {
        for (words, times, updates) in [
            ("late first, 25% to 75%", &[Some(9), Some(6), Some(3)][..], " (after updates 9, 6, 3)"),
            ("all at 50%", &[Some(6), Some(6)], " (after update 6)"),
            ("at 9 steps, never, 100%", &[Some(9), None, Some(12)], " (after updates 9, never, never)"),
            ("from the start", &[Some(0), Some(0)], ""),
            ("never", &[None, None], ""),
        ] {
            assert_eq!(plan(words, times, 12), format!("layers leave convolution: {words}{updates}"));
        }
    }

    #[test]
    fn a_switch_says_which_layer_and_when() {
        assert_eq!(
            leaves("stages.1.blocks.2.mixer", 120, 400),
            "layer stages.1.blocks.2.mixer leaves convolution after update 120 (30 % of the run)"
        );
        assert_eq!(leaves("a", 0, 400), "layer a leaves convolution before the first update");
    }
}
