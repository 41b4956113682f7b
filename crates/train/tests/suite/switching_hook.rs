//! Layers that a hook of one's own makes attention, through the public API alone: a run that is stopped goes on with the same bits.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::common::{assert_same_run, switching_recipe, switching_with, tensors};
use dfdx::prelude::Cpu;
use inductive_checkpoint::describe;
use inductive_models::{BuildOptions, Model, build};
use inductive_nn::{Gate, Operator, Positions, Reparameterization};
use inductive_schedule::{Duration, SwitchTimes};
use inductive_train::{
    Error, Hook, Learner, Metrics, Now, Outcome, Progress, Recipe, Result, Run, SaveEvery, Silent, StepInfo,
    StepReport, TrainOptions,
};

/// Makes a layer attention at each kind of moment: layer 2 before the first update, 0 after update 4, 1 after the evaluation at 6 and 5 before
/// update 8.
struct ByHand;

fn how(positions: Positions, gate: Gate) -> Reparameterization {
    Reparameterization { positions, gate }
}

impl Hook<Cpu> for ByHand {
    fn name(&self) -> &str {
        "by-hand"
    }

    fn start(&mut self, learner: &mut Learner<Cpu>, _: &mut Now<'_>) -> Result<()> {
        if learner.model().switchable()?[2].operator == Operator::Convolution {
            learner.switch(2, &how(Positions::Kernel { alpha: 1.0 }, Gate::Linear(0.5)))?;
        }
        Ok(())
    }

    fn before_step(&mut self, learner: &mut Learner<Cpu>, at: &mut Now<'_>) -> Result<()> {
        if at.step == 7 {
            learner.switch(5, &how(Positions::default(), Gate::Sigmoid(1.0)))?;
        }
        Ok(())
    }

    fn after_step(&mut self, learner: &mut Learner<Cpu>, _: &StepReport, at: &mut Now<'_>) -> Result<()> {
        if at.step == 4 {
            learner.switch(0, &how(Positions::default(), Gate::Held))?;
        }
        Ok(())
    }

    fn after_evaluation(
        &mut self,
        learner: &mut Learner<Cpu>,
        _: &mut Metrics,
        at: &mut Now<'_>,
    ) -> Result<()> {
        if at.step == 6 {
            learner.switch(1, &how(Positions::Kernel { alpha: 2.0 }, Gate::Linear(0.8)))?;
        }
        Ok(())
    }
}

/// Asks to stop after so many updates.
struct StopAfter(u64, Arc<AtomicBool>);

impl Progress for StopAfter {
    fn step(&mut self, step: &StepInfo) {
        self.1.store(step.step == self.0, Ordering::Relaxed);
    }
}

fn until(run: Run<Cpu>, folder: &Path, step: u64) {
    let stop = Arc::new(AtomicBool::new(step == 0));
    let options = TrainOptions { stop: Some(stop.clone()), save_every: SaveEvery::Never };
    let outcome = run.train(&Cpu::default(), folder, &options, &mut StopAfter(step, stop)).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { step: at, .. } if at == step), "{outcome:?}");
}

fn go(run: Run<Cpu>, folder: &Path) -> Result<Vec<Metrics>> {
    match run.train(&Cpu::default(), folder, &TrainOptions::default(), &mut Silent)? {
        Outcome::Finished(result) => Ok(result.metrics.iter().map(Metrics::without_timing).collect()),
        other => panic!("{other:?}"),
    }
}

fn switched(folder: &Path) -> Option<String> {
    describe(folder.join("state.safetensors")).unwrap().metadata.get("switched").cloned()
}

#[test]
fn a_run_whose_hook_switches_layers_goes_on_bit_by_bit() {
    let by_hand = Recipe { switch: None, ..switching_recipe() };
    // Of two layers the hook is faster than the recipe, of one it is not asked.
    let both = switching_with(|switch| {
        let [third, fifth] = [3, 5].map(|step| Some(Duration::Steps(step)));
        switch.times = SwitchTimes::Layers(vec![fifth, None, fifth, third, None, None]);
    });
    for (recipe, after_run) in [
        (by_hand, [Some(4), Some(6), Some(0), None, None, Some(7)]),
        (both, [Some(4), Some(6), Some(0), Some(3), None, Some(7)]),
    ] {
        let run = || Run::new(recipe.clone()).hook(ByHand);
        let dir = tempfile::tempdir().unwrap();
        let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
        let metrics = go(run(), &whole).unwrap();
        assert_eq!(metrics[1].switched, after_run);
        for step in [0, 2, 4, 6, 7, 8, 10] {
            until(run(), &stopped, step);
        }
        assert_eq!(go(run(), &stopped).unwrap(), metrics);
        assert_same_run(&whole, &stopped);
        let names = [(0, 0, 4), (0, 1, 6), (0, 2, 0), (1, 2, 7)];
        let names = names.map(|(stage, block, at)| format!("\"stages.{stage}.blocks.{block}.mixer\":{at}"));
        assert_eq!(switched(&whole).unwrap(), format!("{{{}}}", names.join(",")));
    }
}

#[test]
fn a_state_that_contradicts_what_it_says_of_hooks_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = || Run::new(Recipe { switch: None, ..switching_recipe() }).hook(ByHand);
    until(run(), dir.path(), 5);
    let path = dir.path().join("state.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for (from, to, problem) in [
        ("blocks.0.mixer\\\":4", "blocks.0.mixer\\\":9", "after update 9, but the run has made 5"),
        ("blocks.0.mixer\\\":4", "blocks.0.mixes\\\":4", "`stages.0.blocks.0.mixes`, which is no layer"),
        (
            "blocks.0.mixer\\\":4",
            "blocks.1.mixer\\\":4",
            "after 5 updates of this recipe it is 0 (convolution)",
        ),
        ("blocks.2.mixer\\\":0", "blocks.1.mixer\\\":0", "`switched` says that it left convolution after 0"),
        ("\\\"stages.0.blocks.0.mixer\\\":4", "\\\"stages.0.blocks.0.mixer\\\":x", "cannot be read"),
    ] {
        let text = whole.windows(from.len()).position(|part| part == from.as_bytes()).expect(from);
        let mut changed = whole.clone();
        changed[text..text + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, changed).unwrap();
        let error = go(run(), dir.path()).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(go(run(), dir.path()).unwrap().len(), 2, "the state as it was goes on");
}

#[test]
fn a_model_whose_layers_have_left_before_the_run_goes_on_and_says_so() {
    let recipe = Recipe { switch: None, ..switching_recipe() };
    let model = || -> Box<dyn Model<f32, Cpu>> {
        let options = BuildOptions { classes: 10, ..BuildOptions::default() };
        let mut model = build(&Cpu::seed_from_u64(1), &recipe.model, &options).unwrap().model;
        model.reparameterize(3, &Reparameterization::default()).unwrap();
        model
    };
    let run = || Run::new(recipe.clone()).model(model());
    let dir = tempfile::tempdir().unwrap();
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    let metrics = go(run(), &whole).unwrap();
    assert_eq!(metrics[0].switched, [None, None, None, Some(0), None, None]);
    until(run(), &stopped, 4);
    assert_eq!(go(run(), &stopped).unwrap(), metrics);
    assert_same_run(&whole, &stopped);
}

#[test]
fn a_run_without_such_a_hook_says_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    go(Run::new(switching_recipe()), dir.path()).unwrap();
    assert_eq!(switched(dir.path()), None);
    assert!(!tensors(dir.path().join("state.safetensors")).is_empty());
}

/// Makes a layer attention without telling the learner.
struct BehindItsBack;

impl Hook<Cpu> for BehindItsBack {
    fn name(&self) -> &str {
        "behind"
    }

    fn before_step(&mut self, learner: &mut Learner<Cpu>, _: &mut Now<'_>) -> Result<()> {
        Ok(learner.model_mut().reparameterize(0, &Reparameterization::default())?)
    }
}

#[test]
fn a_layer_that_is_switched_without_the_learner_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(Recipe { switch: None, ..switching_recipe() }).hook(BehindItsBack);
    let error = go(run, dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("switch: ") && error.contains("`Learner::switch`"), "{error}");
}
