//! The loop of a run: updates, evaluations, checkpoints.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use inductive_checkpoint::save;
use inductive_data::Batches;
use inductive_models::Zoo;

use crate::{
    Best, Error, Hook, Learner, Metrics, Now, Outcome, Plan, Progress, Result, SaveEvery, StepInfo,
    TrainOptions,
    data::RunData,
    evaluate::evaluate,
    folder::RunFolder,
    metrics::write_metrics,
    outcome::stored_result,
    state::{Position, StateHeader, Sums},
};

/// How long the outcome of an update may wait to be read.
const AT_THE_LATEST: Duration = Duration::from_millis(100);

/// A run on its way.
pub(crate) struct Course<'a, D: Zoo> {
    pub learner: Learner<D>,
    pub plan: Plan,
    pub data: RunData,
    pub folder: RunFolder,
    pub header: StateHeader,
    pub lines: Vec<Metrics>,
    pub hooks: Vec<Box<dyn Hook<D>>>,
    pub options: &'a TrainOptions,
    pub progress: &'a mut dyn Progress,
    /// Until when time has been counted, and updates have been.
    tick: Instant,
    counted: u64,
    /// When, and after how many updates, the state was written.
    saved: (Instant, u64),
}

impl<'a, D: Zoo> Course<'a, D> {
    #[allow(clippy::too_many_arguments, reason = "they are its fields")]
    pub fn new(
        learner: Learner<D>,
        plan: Plan,
        data: RunData,
        folder: RunFolder,
        header: StateHeader,
        lines: Vec<Metrics>,
        hooks: Vec<Box<dyn Hook<D>>>,
        options: &'a TrainOptions,
        progress: &'a mut dyn Progress,
    ) -> Self {
        let tick = Instant::now();
        let counted = header.position.step;
        let saved = (tick, counted);
        Self { learner, plan, data, folder, header, lines, hooks, options, progress, tick, counted, saved }
    }

    /// The newest weights in the folder.
    pub fn newest_weights(&self) -> Option<PathBuf> {
        self.folder.newest_weights()
    }

    /// Lets every hook have its turn after `step` updates.
    fn each(
        &mut self,
        step: u64,
        mut turn: impl FnMut(&mut dyn Hook<D>, &mut Learner<D>, &mut Now<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut at = Now {
            step,
            plan: &self.plan,
            folder: self.folder.path(),
            test: &self.data.test,
            progress: &mut *self.progress,
        };
        self.hooks.iter_mut().try_for_each(|hook| turn(&mut **hook, &mut self.learner, &mut at))
    }

    /// Trains to the end, or until it is asked to stop.
    pub fn go(&mut self) -> Result<Outcome> {
        if self.header.position.step == 0 {
            self.each(0, |hook, learner, at| hook.start(learner, at))?;
        }
        let mut batches = None;
        loop {
            if self.plan.reports_after(self.header.position.step) {
                self.count()?;
            }
            let position = self.header.position;
            let report_is_due = self.plan.reports_after(position.step) && position.reported < position.step;
            // Before a request to stop, which may have come during the last evaluation: nothing is left to do.
            if position.step >= self.plan.total_steps && !report_is_due {
                let result = stored_result(&self.folder, &position)?;
                return result.map(Outcome::Finished).ok_or_else(|| Error::State {
                    path: self.folder.state(),
                    problem: "it does not say that the run is finished".to_owned(),
                });
            }
            // Before the evaluation that may be due, which takes its time; a resumed run makes up for it.
            if self.options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return self.interrupt();
            }
            if report_is_due {
                self.report()?;
                continue;
            }
            self.step(&mut batches)?;
            if self.save_is_due() {
                self.count()?;
                self.save_state()?;
            }
        }
    }

    fn step(&mut self, batches: &mut Option<Batches>) -> Result<()> {
        let position = self.header.position;
        self.each(position.step, |hook, learner, at| hook.before_step(learner, at))?;
        let next = batches.as_mut().and_then(Iterator::next);
        let mut batch = match next {
            Some(batch) => batch,
            None => {
                let (epoch, first) =
                    (position.step / self.plan.steps_per_epoch, position.step % self.plan.steps_per_epoch);
                let fresh = batches.insert(self.data.train.epoch_from(epoch, first as usize)?);
                fresh.next().ok_or_else(|| Error::State {
                    path: self.folder.state(),
                    problem: format!("epoch {epoch} has no batch {first}"),
                })?
            }
        };
        let lr = self.plan.lr(position.step);
        if !(lr.is_finite() && lr >= 0.0) {
            let problem = format!(
                "the learning rate of update {} is {lr}; it must be finite, 0 or more",
                position.step
            );
            return Err(Error::part("schedule", problem));
        }
        let labels = std::mem::take(&mut batch.labels);
        self.learner.start(std::mem::take(&mut batch.images), &labels, lr)?;
        self.header.position.step += 1;
        let watched = self.hooks.iter().any(|hook| hook.sees_every_step());
        if watched || self.learner.unsettled() == 0 || self.tick.elapsed() >= AT_THE_LATEST {
            self.count()?;
        }
        Ok(())
    }

    /// Counts the updates that have been started since the last time in, and says what they did.
    fn count(&mut self) -> Result<()> {
        let reports = self.learner.reports()?;
        if reports.is_empty() {
            return Ok(());
        }
        let seconds = self.count_time() / reports.len() as f64;
        for report in reports {
            self.counted += 1;
            let step = self.counted;
            self.each(step, |hook, learner, at| match hook.sees_every_step() {
                true => hook.after_step(learner, &report, at),
                false => Ok(()),
            })?;
            let position = &mut self.header.position;
            position.since.loss += report.loss * report.images as f64;
            position.since.correct += report.correct as u64;
            position.since.images += report.images as u64;
            position.since.seconds += seconds;
            let left = self.plan.total_steps - step;
            self.progress.step(&StepInfo {
                step,
                total_steps: self.plan.total_steps,
                epoch: self.plan.epoch(step),
                loss: report.loss,
                lr: self.plan.lr(step - 1),
                images_per_s: position.since.images as f64 / position.since.seconds.max(1e-9),
                seconds_left: position.seconds / step as f64 * left as f64,
            });
        }
        Ok(())
    }

    /// Evaluates, and writes metrics, weights and state, in this order: a run that is killed in between makes the
    /// evaluation again and writes the same.
    fn report(&mut self) -> Result<()> {
        self.learner.check_finite()?;
        let mut metrics = self.measure()?;
        self.each(metrics.step, |hook, learner, at| hook.after_evaluation(learner, &mut metrics, at))?;
        // JSON has no word for others, and a line that cannot be read would end the run.
        metrics.measures.retain(|_, value| value.is_finite());
        self.count_time();
        metrics.seconds = self.header.position.seconds;
        let (step, epoch, top1) = (metrics.step, metrics.epoch, metrics.top1());
        self.lines.push(metrics);
        write_metrics(&self.folder.metrics(), &self.lines)?;
        if self.header.position.best.is_none_or(|best| top1 > best.top1) {
            self.header.position.best = Some(Best { step, epoch, top1 });
            if self.header.recipe.keep.best {
                self.save_weights(&self.folder.best(), self.learner.ema.is_some())?;
            }
        }
        if self.header.recipe.keep.last {
            self.save_weights(&self.folder.last(), false)?;
            if self.learner.ema.is_some() {
                self.save_weights(&self.folder.ema(), true)?;
            }
        }
        let position = &mut self.header.position;
        position.reported = step;
        position.since = Sums::default();
        position.finished = step == self.plan.total_steps;
        self.count_time();
        self.save_state()?;
        if let Some(metrics) = self.lines.last() {
            self.progress.report(metrics);
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<Metrics> {
        let Learner { device, model, ema, .. } = &mut self.learner;
        let test = evaluate(device, &**model, &self.data.test)?;
        let averaged = match ema {
            Some(ema) => Some(ema.with(&mut **model, |model| evaluate(device, model, &self.data.test))?),
            None => None,
        };
        let Position { step, since, .. } = self.header.position;
        for (evaluation, which) in
            [(Some(test), "test loss"), (averaged, "test loss of the averaged weights")]
        {
            if evaluation.is_some_and(|e| !e.loss.is_finite()) {
                return Err(Error::NotFinite { step, layer: format!("the {which}"), checkpoint: None });
            }
        }
        let images = since.images.max(1) as f64;
        Ok(Metrics {
            epoch: self.plan.epoch(step),
            step,
            train_loss: since.loss / images,
            train_top1: 100.0 * since.correct as f64 / images,
            test_loss: test.loss,
            test_top1: test.top1,
            test_top5: test.top5,
            ema: averaged,
            lr: self.plan.lr(step - 1),
            images_per_s: images / since.seconds.max(1e-9),
            ..Metrics::default()
        })
    }

    fn interrupt(&mut self) -> Result<Outcome> {
        self.count()?;
        self.save_state()?;
        let step = self.header.position.step;
        let total_steps = self.plan.total_steps;
        Ok(Outcome::Interrupted { step, total_steps, folder: self.folder.path().to_owned() })
    }

    /// Adds the time since the last call to the run's, and returns it.
    fn count_time(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.tick).as_secs_f64();
        self.tick = now;
        self.header.position.seconds += seconds;
        seconds
    }

    fn save_is_due(&self) -> bool {
        match self.options.save_every {
            SaveEvery::Never => false,
            SaveEvery::Steps(steps) => self.header.position.step - self.saved.1 >= steps.max(1),
            SaveEvery::Seconds(seconds) => self.saved.0.elapsed().as_secs_f64() >= seconds,
        }
    }

    fn save_state(&mut self) -> Result<()> {
        let position = self.header.position;
        let full = !position.finished || self.header.recipe.keep.state;
        if full {
            self.learner.check_finite()?;
        }
        self.header.write(&self.folder.state(), full.then_some((&self.learner, &self.hooks)))?;
        self.saved = (Instant::now(), position.step);
        Ok(())
    }

    /// Writes a model under timm's names: the averaged weights or the plain ones.
    fn save_weights(&mut self, path: &Path, averaged: bool) -> Result<()> {
        let mut about = crate::weights::about(self.learner.model.spec());
        let Position { step, .. } = self.header.position;
        let weights = if averaged { "ema" } else { "model" };
        let epoch = self.plan.epoch(step);
        about.extend(
            [
                ("model", self.header.recipe.model.clone()),
                ("step", step.to_string()),
                ("epoch", epoch.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        about.insert("weights".to_owned(), weights.to_owned());
        let Learner { model, ema, .. } = &mut self.learner;
        match ema.as_ref().filter(|_| averaged) {
            Some(ema) => ema.with(&mut **model, |model| Ok(save(model, path, &about)?)),
            None => Ok(save(&**model, path, &about)?),
        }
    }
}
