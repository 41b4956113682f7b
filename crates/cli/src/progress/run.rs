//! What is shown of a run, and of the runs of a study.

use std::time::Instant;

use inductive_checkpoint::LoadReport;
use inductive_files::{shown, shown_lines};
use inductive_papers::experiments::{Cell, CellResult, Study, StudyProgress};
use inductive_train::{Metrics, Progress, RunInfo, StepInfo, SwitchInfo};

use super::{Bar, PLAIN_EVERY, count, is_wide, time};
use crate::output::{for_errors, note};

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
    plain: bool,
    /// From the start of the run.
    bar: Option<Bar>,
    last: Instant,
    /// Seconds that come after this run, added to the time left.
    later: f64,
}

impl RunView {
    pub fn new(plain: bool, title: String) -> Self {
        Self { title, plain, bar: None, last: Instant::now(), later: 0.0 }
    }

    fn line(&self, text: &str) {
        let line = if self.title.is_empty() { text.to_owned() } else { format!("{}: {text}", self.title) };
        match &self.bar {
            Some(bar) => bar.println(shown_lines(for_errors(&line)).to_string()),
            None => note(&for_errors(&line)),
        }
    }
}

impl Progress for RunView {
    fn start(&mut self, run: &RunInfo<'_>) {
        // One line: what is longer would be left behind, or wiped off with a line before it.
        let template =
            if is_wide() { "{prefix}[{wide_bar}] {pos}/{len} {msg}" } else { "{pos}/{len} {wide_msg}" };
        self.bar = Bar::new(self.plain, run.plan.total_steps, template);
        if let Some(bar) = &self.bar {
            let space = if self.title.is_empty() { "" } else { " " };
            bar.set_prefix(format!("{}{space}", self.title));
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
        let speed = format!("{:.0} images/s, {left} left", step.images_per_s);
        match &self.bar {
            Some(bar) => {
                bar.set_position(step.step);
                bar.set_message(format!("loss {:.3}, {speed}", step.loss));
            }
            None if self.last.elapsed() >= PLAIN_EVERY => {
                self.last = Instant::now();
                let text = format!("loss {:.3} lr {:.1e} {speed}", step.loss, step.lr);
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
    /// Runs made since the start, and seconds that they took, those of an earlier start too.
    made: usize,
    spent: f64,
}

impl StudyView {
    /// Seconds that so many more runs take, if they take as long as those that were made.
    fn left(&self, runs: usize) -> f64 {
        self.spent / self.made.max(1) as f64 * runs as f64
    }

    pub fn new(plain: bool) -> Self {
        Self { plain, cells: 0, stored: 0, made: 0, spent: 0.0 }
    }
}

impl StudyProgress for StudyView {
    fn study(&mut self, study: &Study, finished: usize) {
        self.cells = study.cells.len();
        self.stored = finished;
        let (experiment, folder) = (&study.experiment, shown(study.folder.display()));
        note(&match self.cells {
            0 => format!("{} {}: trains nothing, written to {folder}", experiment.paper, experiment.name),
            runs => format!("{} {}: {} in {folder}", experiment.paper, experiment.name, count(runs, "run")),
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
        view.later = self.left((self.cells - self.stored - self.made).saturating_sub(1));
        Box::new(view)
    }

    fn done(&mut self, index: usize, result: &CellResult, stored: bool) {
        if stored {
            return;
        }
        self.made += 1;
        let last = result.result.metrics.last();
        self.spent += last.map_or(0.0, |m| m.seconds);
        let open = self.cells - self.stored - self.made;
        let left = self.left(open);
        let top1 = last.map_or(f64::NAN, |m| m.test_top1);
        note(&format!(
            "[{}/{}] {} seed {} finished: top-1 {top1:.1} %; {}",
            index + 1,
            self.cells,
            result.cell.name,
            result.cell.seed,
            match open {
                0 => "all runs are done".to_owned(),
                _ => format!("{} to go, about {}", count(open, "run"), time(left)),
            }
        ));
    }

    fn reporting(&mut self) {
        note("making the report; exact experiments, where there are any, take up to a minute");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
