//! Runs whose layers leave convolution for attention.

use std::sync::{Arc, atomic::AtomicBool};

use crate::common::{
    assert_same_run, fixed_batch, largest, run, run_to_end, run_until, switching_recipe, switching_with,
};
use dfdx::prelude::*;
use inductive_nn::{Gate, Positions, Reparameterization};
use inductive_schedule::{Duration, RunSize, SwitchTimes};
use inductive_train::{
    Error, Learner, Metrics, Progress, Recipe, RunInfo, SaveEvery, Silent, SwitchInfo, TrainOptions,
};

fn at(times: SwitchTimes) -> Recipe {
    switching_with(|switch| switch.times = times)
}

#[test]
fn a_trained_model_computes_the_same_after_every_switch() {
    let recipe = Recipe { drop_path: 0.0, ..switching_recipe() };
    let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), 16);
    let device = Cpu::default();
    let mut learner = Learner::new(&device, &recipe, 10).unwrap();
    for _ in 0..15 {
        learner.step(images.clone(), &labels, 2e-3).unwrap();
    }
    let logits = |learner: &Learner<Cpu>| {
        let images = device.tensor_from_vec(images.clone(), (16, 3, 32, 32));
        learner.model().forward(images, None).unwrap().as_vec()
    };
    let before = logits(&learner);
    let spread = largest(before.iter().copied());
    assert!(spread > 0.3, "it has learned something: {spread}");
    let worst = |learner: &Learner<Cpu>| largest(before.iter().zip(logits(learner)).map(|(a, b)| a - b));
    for layer in 0..6 {
        learner.switch(layer, &Reparameterization::default()).unwrap();
        let worst = worst(&learner);
        assert!(worst < 1e-4, "layer {layer}: {worst}");
    }
    let soft = Reparameterization { positions: Positions::Kernel { alpha: 1.0 }, gate: Gate::Linear(1.0) };
    let error = learner.switch(2, &soft).unwrap_err().to_string();
    assert!(error.contains("layer 2, `stages.0.blocks.2.mixer`, has left convolution already"), "{error}");
    assert!(worst(&learner) < 1e-4, "what is refused changes nothing");
    // With ConViT's locality strength it does not compute the same.
    learner.model_mut().reparameterize(2, &soft).unwrap();
    assert!(worst(&learner) > 1e-3, "{}", worst(&learner));
}

#[test]
fn scattered_positions_are_a_matter_of_the_run_s_seed() {
    let folder = tempfile::tempdir().unwrap();
    let heads = |name: &str, seed| {
        let recipe = switching_with(|switch| {
            switch.times = SwitchTimes::FromStart;
            switch.positions = Positions::Scattered { std: 2.0, alpha: 1.0, seed: 0 };
        });
        let recipe = Recipe { seed, lr: Some(0.0), warmup_lr: 0.0, min_lr: 0.0, ..recipe };
        run_to_end(&recipe, &folder.path().join(name))[0].head_positions.clone()
    };
    let (one, two) = (heads("one", 1), heads("two", 2));
    assert_ne!(one, two);
    assert_ne!(one[0], one[1], "every layer has its own");
}

/// What is told of switches and evaluations, in order.
#[derive(Default)]
struct Told(Vec<String>);

impl Progress for Told {
    fn switch(&mut self, switch: &SwitchInfo<'_>) {
        assert_eq!(switch.total_steps, 12);
        self.0.push(format!("{} {}", switch.step, switch.layer));
    }
    fn report(&mut self, line: &Metrics) {
        self.0.push(format!("{} evaluated", line.step));
    }
}

#[test]
fn switches_are_told_and_recorded_and_an_evaluation_comes_before_a_switch_at_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let [third, sixth, end] = [Duration::Steps(3), Duration::Epochs(1.0), Duration::Percent(100.0)];
    let times = vec![Some(end), None, Some(sixth), None, Some(third), Some(Duration::Steps(0))];
    let mut recipe = at(SwitchTimes::Layers(times));
    recipe.switch.as_mut().unwrap().positions = Positions::Kernel { alpha: 2.0 };
    let mut told = Told::default();
    run(&recipe, folder.path(), &TrainOptions::default(), &mut told).unwrap();
    assert_eq!(
        told.0,
        [
            "0 stages.1.blocks.2.mixer",
            "3 stages.1.blocks.1.mixer",
            "6 evaluated",
            "6 stages.0.blocks.2.mixer",
            "12 evaluated"
        ]
    );
    let lines = run_to_end(&recipe, folder.path());
    assert_eq!(lines[0].switched, [None, None, None, None, Some(3), Some(0)]);
    assert_eq!(lines[1].switched, [None, None, Some(6), None, Some(3), Some(0)]);
    let heads: Vec<usize> = lines[1].head_positions.iter().map(Vec::len).collect();
    assert_eq!(heads, [0, 0, 9, 0, 9, 9]);
    // Head p = 3 h2 + h1 looks at (h2 - 1, h1 - 1).
    let [dx, dy, alpha] = lines[1].head_positions[2][5];
    assert!(
        (dx - 0.0).abs() < 0.1 && (dy - 1.0).abs() < 0.1 && (alpha - 2.0).abs() < 0.1,
        "{dx} {dy} {alpha}"
    );
    assert_eq!((lines[0].gates.len(), lines[0].gates[2], lines[1].gates[0]), (6, 1.0, 1.0));
    assert!(lines[1].gates[2] < 1.0, "{:?}", lines[1].gates);
}

/// Keeps what is said before the first update.
#[derive(Default)]
struct Heard {
    times: Vec<Option<u64>>,
    warnings: Vec<String>,
}

impl Progress for Heard {
    fn start(&mut self, run: &RunInfo<'_>) {
        self.times = run.switch_times.to_vec();
    }
    fn warning(&mut self, message: &str) {
        self.warnings.push(message.to_owned());
    }
}

#[test]
fn the_plan_is_told_with_a_warning_of_layers_that_the_end_comes_before() {
    let folder = tempfile::tempdir().unwrap();
    let [early, late, end] = [Duration::Steps(3), Duration::Steps(12), Duration::Percent(100.0)];
    let first = |earliest, latest| SwitchTimes::LateFirst { earliest, latest };
    let list = vec![Some(early), Some(late), Some(end), None, Some(Duration::Steps(40)), None];
    for (times, late_layers) in [
        (SwitchTimes::Layers(list), &[(1, 12), (4, 40)][..]),
        (first(early, Duration::Epochs(3.0)), &[(0, 18), (1, 15), (2, 12)]),
        (SwitchTimes::Uniform(late), &[(0, 12), (1, 12), (2, 12), (3, 12), (4, 12), (5, 12)]),
        (first(early, end), &[]),
        (SwitchTimes::Uniform(end), &[]),
        (SwitchTimes::Never, &[]),
        (first(early, Duration::Steps(11)), &[]),
    ] {
        let recipe = at(times.clone());
        let path = folder.path().join(times.to_string());
        let stop = Some(Arc::new(AtomicBool::new(true)));
        let mut heard = Heard::default();
        run(&recipe, &path, &TrainOptions { stop, save_every: SaveEvery::Never }, &mut heard).unwrap();
        let run = RunSize { dataset_size: 48, batch_size: 8, total_steps: Some(12) };
        assert_eq!(heard.times, times.steps(6, run).unwrap());
        let layer = |(layer, update): &(usize, u64)| {
            format!("stages.{}.blocks.{}.mixer (after update {update})", layer / 3, layer % 3)
        };
        let late_layers: Vec<String> = late_layers.iter().map(layer).collect();
        assert_eq!(heard.warnings.len(), usize::from(!late_layers.is_empty()), "{times}");
        for warning in heard.warnings {
            let names = format!(": {}; they stay convolutions", late_layers.join(", "));
            assert!(warning.contains("ends after update 12") && warning.contains(&names), "{warning}");
        }
    }
}

#[test]
fn a_run_from_the_start_is_looked_into_as_it_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str, times| {
        let mut recipe = at(times);
        recipe.switch.as_mut().unwrap().positions = Positions::Kernel { alpha: 0.5 };
        run_to_end(&recipe, &folder.path().join(name));
        inductive_train::finished(&recipe, folder.path().join(name)).unwrap().unwrap().start.unwrap()
    };
    let (attention, convolution) = (start("now", SwitchTimes::FromStart), start("never", SwitchTimes::Never));
    assert_ne!(attention, convolution);
    let first = |inside: &inductive_train::Inside| inside.nonlocality[0];
    assert!(first(&attention) > first(&convolution), "{attention:?} {convolution:?}");
}

#[test]
fn never_and_the_end_of_the_run_are_the_run_without_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Recipe { switch: None, ..switching_recipe() };
    assert!(!plain.to_toml().unwrap().contains("switch"));
    let want = run_to_end(&plain, &folder.path().join("plain"));
    assert!(want[0].switched.is_empty() && want[0].head_positions.is_empty());
    let text = std::fs::read_to_string(folder.path().join("plain/metrics.jsonl")).unwrap();
    assert!(!text.contains("switched") && !text.contains("head_positions"), "{text}");
    for (name, times) in
        [("never", SwitchTimes::Never), ("end", SwitchTimes::Uniform(Duration::Percent(100.0)))]
    {
        let recipe = at(times);
        let mut lines = run_to_end(&recipe, &folder.path().join(name));
        lines.iter_mut().for_each(|line| assert_eq!(std::mem::take(&mut line.switched), [None; 6]));
        assert_eq!(lines, want);
        assert_same_run(&folder.path().join("plain"), &folder.path().join(name));
    }
}

#[test]
fn what_does_not_fit_the_model_or_the_run_is_refused_by_name_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let ends = |earliest, latest| SwitchTimes::LateFirst {
        earliest: Duration::Epochs(earliest),
        latest: Duration::Epochs(latest),
    };
    let positions = |positions: Positions| switching_with(|switch| switch.positions = positions);
    let model = |name: &str| Recipe { model: name.to_owned(), ..switching_recipe() };
    let gate = |gate: Gate| switching_with(|switch| switch.gate = gate);
    for (recipe, problem) in [
        (model("convit_micro"), "`model` is convit_micro, of which no layer can leave convolution"),
        (model("convit_micro"), "prs_micro"),
        (model("resnet_micro"), "expected `resnet_micro_switch`, which is the same"),
        (at(SwitchTimes::Layers(vec![None; 5])), "layers has 5 times, but the model has 6 layers"),
        (at(ends(2.0, 1.0)), "earliest, 2 epochs, is after latest, 1 epoch"),
        (at(ends(f64::NAN, 1.0)), "earliest is NaN"),
        (at(SwitchTimes::Uniform(Duration::Epochs(-1.0))), "uniform is -1"),
        (positions(Positions::Kernel { alpha: 0.0 }), "alpha is 0"),
        (positions(Positions::Scattered { std: f64::INFINITY, alpha: 1.0, seed: 0 }), "std is inf"),
        (gate(Gate::Linear(1.5)), "linear gate is 1.5"),
        (gate(Gate::Sigmoid(f64::NAN)), "sigmoid gate is NaN"),
    ] {
        let error = run(&recipe, &path, &TrainOptions::default(), &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Recipe { .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!path.exists(), "{problem}");
    }
    for (text, problem) in [
        ("switch = { times = \"soon\" }", "unknown variant `soon`"),
        ("switch = {}", "missing field `times`"),
        ("switch = { times = \"never\", gates = 1 }", "unknown field `gates`"),
        ("switch = { times = \"never\", gate = \"open\" }", "unknown variant `open`"),
    ] {
        let error = Recipe::from_toml(text, "test.toml").unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn a_recipe_that_switches_reads_back_and_another_one_is_told_apart() {
    let recipe = switching_with(|switch| {
        switch.gate = Gate::Held;
        switch.positions = Positions::Scattered { std: 2.0, alpha: 1.0, seed: 3 };
    });
    for recipe in [recipe.clone(), switching_recipe(), at(SwitchTimes::Layers(vec![None; 6]))] {
        assert_eq!(Recipe::from_toml(&recipe.to_toml().unwrap(), "test.toml").unwrap(), recipe);
        assert_eq!(recipe.resolve().unwrap().switch, recipe.switch);
    }
    let folder = tempfile::tempdir().unwrap();
    run_until(&switching_recipe(), folder.path(), 1);
    let error = run(&recipe, folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }));
    assert!(error.to_string().contains("`switch.gate` is"), "{error}");
}
