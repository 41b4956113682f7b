//! Runs whose layers leave convolution, stopped and continued.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::common::{assert_same_run, run, run_to_end, run_until, switching_recipe, switching_with, tensors};
use inductive_nn::{Gate, Positions};
use inductive_schedule::{Duration, SwitchTimes};
use inductive_train::{Error, Metrics, Outcome, Progress, Recipe, SaveEvery, Silent, TrainOptions};

fn at(times: SwitchTimes) -> Recipe {
    switching_with(|switch| switch.times = times)
}

#[test]
fn stopping_before_at_and_after_a_switch_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let recipe = switching_recipe();
    let undisturbed = run_to_end(&recipe, &path("undisturbed"));
    for stops in [&[2, 3, 4][..], &[3], &[6, 7], &[1, 5, 8, 9, 10, 11]] {
        let name = format!("{stops:?}");
        for step in stops {
            run_until(&recipe, &path(&name), *step);
        }
        assert_eq!(run_to_end(&recipe, &path(&name)), undisturbed, "{name}");
        assert_same_run(&path("undisturbed"), &path(&name));
    }
}

/// Asks to stop in an evaluation.
struct StopAtReport(u64, Arc<AtomicBool>);

impl Progress for StopAtReport {
    fn report(&mut self, line: &Metrics) {
        self.1.store(line.step == self.0, Ordering::Relaxed);
    }
}

/// The layers' operators in a folder's state.
fn operators(folder: &Path) -> Vec<f32> {
    let state = tensors(folder.join("state.safetensors")).into_iter();
    let own = state.filter(|(name, _)| name.starts_with("model/") && name.ends_with(".operator"));
    own.map(|(_, bytes)| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn stopping_between_an_evaluation_and_the_switch_at_its_step_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, stopped) = (folder.path().join("undisturbed"), folder.path().join("stopped"));
    let [third, sixth] = [Duration::Steps(3), Duration::Epochs(1.0)].map(Some);
    let mut recipe = at(SwitchTimes::Layers(vec![sixth, None, sixth, None, third, None]));
    recipe.switch.as_mut().unwrap().positions = Positions::Kernel { alpha: 2.0 };
    let want = run_to_end(&recipe, &undisturbed);
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), save_every: SaveEvery::Never };
    let outcome = run(&recipe, &stopped, &options, &mut StopAtReport(6, stop)).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { step: 6, .. }), "{outcome:?}");
    assert_eq!(operators(&stopped), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    let lines = std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 1, "the evaluation was made");
    assert_eq!(run_to_end(&recipe, &stopped), want);
    assert_same_run(&undisturbed, &stopped);
}

#[test]
fn stopping_before_the_first_update_of_a_run_from_the_start_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, stopped) = (folder.path().join("undisturbed"), folder.path().join("stopped"));
    let mut recipe = at(SwitchTimes::FromStart);
    recipe.switch.as_mut().unwrap().positions = Positions::Scattered { std: 2.0, alpha: 1.0, seed: 0 };
    let want = run_to_end(&recipe, &undisturbed);
    let stop = Some(Arc::new(AtomicBool::new(true)));
    let options = TrainOptions { stop, save_every: SaveEvery::Never };
    let outcome = run(&recipe, &stopped, &options, &mut Silent).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { step: 0, .. }), "{outcome:?}");
    assert_eq!(operators(&stopped), [2.0; 6]);
    assert_eq!(run_to_end(&recipe, &stopped), want);
    assert_same_run(&undisturbed, &stopped);
    let start = |folder: &Path| std::fs::read_to_string(folder.join("start.json")).unwrap();
    assert_eq!(start(&undisturbed), start(&stopped));
}

#[test]
fn other_gates_and_positions_resume_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let scattered = Positions::Scattered { std: 2.0, alpha: 1.0, seed: 0 };
    for (name, positions, gate) in [
        ("held", Positions::default(), Gate::Held),
        ("sigmoid", scattered, Gate::Sigmoid(1.0)),
        ("kept", Positions::Kept, Gate::Linear(0.5)),
    ] {
        let recipe = switching_with(|switch| (switch.positions, switch.gate) = (positions, gate));
        let path = |kind: &str| folder.path().join(format!("{name}-{kind}"));
        let undisturbed = run_to_end(&recipe, &path("undisturbed"));
        run_until(&recipe, &path("stopped"), 4);
        run_until(&recipe, &path("stopped"), 8);
        assert_eq!(run_to_end(&recipe, &path("stopped")), undisturbed, "{name}");
        assert_same_run(&path("undisturbed"), &path("stopped"));
    }
}

#[test]
fn a_state_whose_layers_are_not_those_of_recipe_and_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Recipe { switch: None, ..switching_recipe() };
    let start = at(SwitchTimes::FromStart);
    for (index, (recipe, step, cases)) in [
        // The third layer switches at 7.
        (
            switching_recipe(),
            7,
            &[
                ("model/stages.0.blocks.1.mixer", 7.0, "holds 7, but"),
                (
                    "model/stages.0.blocks.1.mixer",
                    2.0,
                    "holds 2 (attention, linear gate), but after 7 updates",
                ),
                ("model/stages.0.blocks.2.mixer", 2.0, "it is 0 (convolution)"),
                ("model/stages.1.blocks.0.mixer", 0.0, "holds 0 (convolution), but after 7 updates"),
                ("model/stages.1.blocks.1.mixer", 3.0, "it is 2 (attention, linear gate)"),
                ("model/stages.1.blocks.2.mixer", 1.0, "holds 1 (attention by position)"),
                ("model/stages.1.blocks.2.mixer", f32::NAN, "holds NaN"),
                ("ema/stages.1.blocks.2.mixer", 0.0, "holds 0 (convolution)"),
                ("ema/stages.0.blocks.2.mixer", 2.0, "it is 0 (convolution)"),
            ][..],
        ),
        (plain, 1, &[("model/stages.0.blocks.0.mixer", 2.0, "after 1 updates of this recipe it is 0")]),
        (start, 1, &[("model/stages.0.blocks.0.mixer", 0.0, "it is 2")]),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder.path().join(index.to_string());
        run_until(&recipe, &folder, step);
        let path = folder.join("state.safetensors");
        let whole = std::fs::read(&path).unwrap();
        for (layer, code, problem) in cases {
            let buffer = format!("{layer}.operator");
            std::fs::write(&path, with_first_value(&whole, &buffer, *code)).unwrap();
            let error = run(&recipe, &folder, &TrainOptions::default(), &mut Silent).unwrap_err();
            assert!(matches!(error, Error::State { .. }), "{error:?}");
            let message = error.to_string();
            for part in ["state.safetensors: cannot", &format!("`{buffer}`"), problem, "to start again"] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(run_to_end(&recipe, &folder).len(), 2, "the state as it was goes on");
    }
}

/// A file of tensors in which the first value of one is another.
fn with_first_value(file: &[u8], tensor: &str, value: f32) -> Vec<u8> {
    let mut bytes = file.to_owned();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let at = end + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}
