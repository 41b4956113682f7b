//! A run that is stopped or killed and continued is the run that was not.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::common::{assert_same_run, run, run_to_end, run_until, switching_recipe, tensors, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_train::{
    Error, Metrics, Outcome, Progress, Recipe, SaveEvery, Silent, StepInfo, Synthetic, TrainOptions,
    finished, train,
};

#[test]
fn stopping_anywhere_and_resuming_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let recipe = tiny_recipe();
    let undisturbed = run_to_end(&recipe, &at("undisturbed"));
    assert_eq!(undisturbed.iter().map(|m| (m.epoch, m.step)).collect::<Vec<_>>(), [(1.0, 6), (2.0, 12)]);

    // in the middle of an epoch, before an evaluation, and right after the first update of the second epoch
    for stops in [&[3, 7][..], &[6], &[1, 6, 11, 12]] {
        let name = format!("{stops:?}");
        for step in stops {
            match run_until(&recipe, &at(&name), *step) {
                Outcome::Interrupted { step: got, total_steps: 12, folder } => {
                    assert_eq!((got, folder), (*step, at(&name)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(run_to_end(&recipe, &at(&name)), undisturbed, "{name}");
        assert_same_run(&at("undisturbed"), &at(&name));
    }
}

#[test]
fn a_run_with_designed_weights_and_frozen_parameters_resumes_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let recipe = Recipe {
        model: "deit_micro".to_owned(),
        init: Some("impulse".into()),
        freeze: vec!["blocks.0.attn.qkv.*".to_owned()],
        ..tiny_recipe()
    };
    let undisturbed = run_to_end(&recipe, &at("undisturbed"));
    assert!(undisturbed.iter().all(|line| line.target_mass.len() == 4));
    run_until(&recipe, &at("stopped"), 8);
    assert_eq!(run_to_end(&recipe, &at("stopped")), undisturbed);
    assert_same_run(&at("undisturbed"), &at("stopped"));
    let start = |name: &str| fs::read_to_string(at(name).join("start.json")).unwrap();
    assert_eq!(start("undisturbed"), start("stopped"));
    fs::write(at("stopped").join("start.json"), "{").unwrap();
    let error = finished(&recipe, at("stopped")).unwrap_err();
    assert!(matches!(&error, Error::State { path, .. } if path.ends_with("start.json")), "{error}");
}

#[test]
fn lines_from_after_the_last_checkpoint_are_not_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, stopped) = (folder.path().join("undisturbed"), folder.path().join("stopped"));
    let want = run_to_end(&tiny_recipe(), &undisturbed);
    run_until(&tiny_recipe(), &stopped, 7);
    // As if it had been killed after writing the second line and before writing the state.
    fs::copy(undisturbed.join("metrics.jsonl"), stopped.join("metrics.jsonl")).unwrap();
    assert_eq!(run_to_end(&tiny_recipe(), &stopped), want);
    assert_eq!(fs::read_to_string(stopped.join("metrics.jsonl")).unwrap().lines().count(), 2);
}

const VICTIM: &str = "INDUCTIVE_TEST_VICTIM";
const SWITCHING: &str = "INDUCTIVE_TEST_VICTIM_SWITCHES";

/// Not a test by itself: the process that the next tests kill.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let options = TrainOptions { save_every: SaveEvery::Steps(1), stop: None };
    let recipe = if std::env::var_os(SWITCHING).is_some() { switching_recipe() } else { tiny_recipe() };
    run(&recipe, folder.as_ref(), &options, &mut Silent).unwrap();
}

#[test]
fn killing_the_process_and_resuming_changes_no_bit() {
    kill_and_resume(&tiny_recipe(), None);
}

#[test]
fn killing_the_process_while_layers_leave_convolution_changes_no_bit() {
    kill_and_resume(&switching_recipe(), Some((SWITCHING, "1")));
}

/// recipe: what [`victim`] runs with these variables of the environment.
fn kill_and_resume(recipe: &Recipe, variables: Option<(&str, &str)>) {
    let folder = tempfile::tempdir().unwrap();
    let (undisturbed, killed) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    let want = run_to_end(recipe, &undisturbed);
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume::victim", "--nocapture"])
            .env(VICTIM, &killed)
            .envs(variables)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut kills = 0;
    for _ in 0..40 {
        let mut child = start();
        // Some time after it has written a state, which is a different moment in every round.
        let before = fs::read(killed.join("state.safetensors")).ok();
        let mut waited = 0;
        while child.try_wait().unwrap().is_none() && waited < 60_000 {
            let now = fs::read(killed.join("state.safetensors")).ok();
            if now.is_some() && now != before {
                break;
            }
            thread::sleep(Duration::from_millis(2));
            waited += 2;
        }
        thread::sleep(Duration::from_millis(7 * (kills % 16)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            break;
        }
        kills += 1;
    }
    eprintln!("killed {kills} times");
    assert!(kills >= 2, "it was hardly ever killed in the middle");
    assert_eq!(run_to_end(recipe, &killed), want);
    assert_same_run(&undisturbed, &killed);
    let leftovers: Vec<_> = fs::read_dir(&killed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

fn short() -> Recipe {
    Recipe {
        synthetic: Synthetic { train: 20, test: 10, seed: 0 },
        batch_size: 10,
        epochs: inductive_schedule::Duration::Steps(2),
        ema: None,
        ..tiny_recipe()
    }
}

#[test]
fn a_finished_run_returns_its_stored_result_and_trains_no_more() {
    struct NoStep;
    impl Progress for NoStep {
        fn step(&mut self, _: &StepInfo) {
            panic!("a finished run trained again");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(finished(&short(), folder.path().join("none")).unwrap(), None);
    assert_eq!(finished(&short(), folder.path()).unwrap(), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "asking leaves no trace");
    let first = run(&short(), folder.path(), &TrainOptions::default(), &mut Silent).unwrap();
    let again = run(&short(), folder.path(), &TrainOptions::default(), &mut NoStep).unwrap();
    assert_eq!(first, again);
    let Outcome::Finished(result) = first else { panic!("{first:?}") };
    assert_eq!(finished(&short(), folder.path()).unwrap(), Some(result));
}

#[test]
fn a_finished_run_may_drop_its_optimizer() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = short();
    recipe.keep = inductive_train::Keep { state: false, best: false, last: true };
    run_to_end(&recipe, folder.path());
    assert!(tensors(folder.path().join("state.safetensors")).is_empty());
    assert!(!folder.path().join("best.safetensors").exists());
    assert!(finished(&recipe, folder.path()).unwrap().is_some());
}

#[test]
fn another_recipe_in_the_same_folder_is_refused_with_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    let other = Recipe { lr: Some(0.5), seed: 6, ..short() };
    let error = run(&other, folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }));
    let message = error.to_string();
    assert!(message.contains("`lr` is 0.001 there and 0.5 here, `seed` is 5 there and 6 here"), "{message}");

    // An edited recipe.toml does not deceive: the state remembers its own.
    fs::write(folder.path().join("recipe.toml"), other.resolve().unwrap().to_toml().unwrap()).unwrap();
    let error = run(&other, folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }), "{error}");
}

#[test]
fn other_data_under_the_same_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    let other = Recipe { synthetic: Synthetic { seed: 1, ..short().synthetic }, ..short() };
    let (device, options) = (Cpu::default(), TrainOptions::default());
    let error = train(&device, &short(), &other.load_data().unwrap(), folder.path(), &options, &mut Silent);
    assert!(matches!(error, Err(Error::OtherData { .. })), "{error:?}");
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    struct Intruder<'a>(&'a Path, usize);
    impl Progress for Intruder<'_> {
        fn step(&mut self, _: &StepInfo) {
            let error = run(&short(), self.0, &TrainOptions::default(), &mut Silent).unwrap_err();
            assert!(matches!(error, Error::Busy { .. }), "{error}");
            self.1 += 1;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut intruder = Intruder(folder.path(), 0);
    run(&short(), folder.path(), &TrainOptions::default(), &mut intruder).unwrap();
    assert_eq!(intruder.1, 2);
}

#[test]
fn a_damaged_state_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    let path = folder.path().join("state.safetensors");
    let bytes = fs::read(&path).unwrap();
    for damaged in [&bytes[..bytes.len() / 2], &bytes[..4], b"not a state at all"] {
        fs::write(&path, damaged).unwrap();
        let error = run(&short(), folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error:?}");
        let message = error.to_string();
        assert_eq!(message.matches("state.safetensors").count(), 1, "{message}");
        assert!(message.ends_with("to start again move the run's files away"), "{message}");
    }
}

#[test]
fn a_state_without_a_tensor_is_an_error_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    let path = folder.path().join("state.safetensors");
    let bytes = fs::read(&path).unwrap();
    for (name, other) in [("model/head.bias", "model/head.bits"), ("exp_avg/head.bias", "exp_avg/head.bits")]
    {
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + name.len()].copy_from_slice(other.as_bytes());
        fs::write(&path, damaged).unwrap();
        let error = run(&short(), folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("head.bias") && message.contains("state.safetensors"), "{message}");
    }
}

#[test]
fn a_broken_recipe_in_the_folder_is_an_error_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    fs::write(folder.path().join("recipe.toml"), "model = ").unwrap();
    let error = run(&short(), folder.path(), &TrainOptions::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::State { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("recipe.toml") && message.contains("to start again"), "{message}");
}

#[test]
fn a_refused_request_leaves_no_trace_and_does_not_block_the_corrected_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let (device, options) = (Cpu::default(), TrainOptions::default());
    let data = short().load_data().unwrap();
    let days = inductive_schedule::Duration::Epochs(30.0);
    for refused in [
        Recipe { batch_size: 1000, ..short() },
        Recipe { model: "convit_tiny".to_owned(), ..short() },
        Recipe { model: "convit_tinny".to_owned(), ..short() },
        Recipe { data: "cifar10:nowhere".to_owned(), ..short() },
        Recipe { warmup_epochs: days, ..short() },
        Recipe { local_up_to_layer: Some(4), ..short() },
        Recipe { locality_strength: -1.0, ..short() },
    ] {
        train(&device, &refused, &data, &path, &options, &mut Silent).unwrap_err();
        assert!(!path.exists(), "{refused:?}");
    }
    run_to_end(&short(), &path);
}

#[test]
fn a_request_to_stop_during_the_last_evaluation_comes_too_late() {
    struct StopAtReport(Arc<AtomicBool>);
    impl Progress for StopAtReport {
        fn report(&mut self, line: &Metrics) {
            self.0.store(line.step == 2, Ordering::Relaxed);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), save_every: SaveEvery::Never };
    let outcome = run(&short(), folder.path(), &options, &mut StopAtReport(stop.clone())).unwrap();
    assert!(stop.load(Ordering::Relaxed) && matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
}

#[test]
fn what_a_kill_during_a_save_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    run_until(&short(), folder.path(), 1);
    let left = folder.path().join(".inductive-1234-0.tmp");
    fs::write(&left, "half a state").unwrap();
    run_to_end(&short(), folder.path());
    assert!(!left.exists());
}

#[test]
fn a_folder_tells_how_to_run_it_again_and_on_what_it_ran() {
    let folder = tempfile::tempdir().unwrap();
    let result = run_to_end(&short(), folder.path());
    let kept = Recipe::read(folder.path().join("recipe.toml")).unwrap();
    assert_eq!(kept, short().resolve().unwrap());
    let again = tempfile::tempdir().unwrap();
    assert_eq!(run_to_end(&kept, again.path()), result);

    let env: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("env.json")).unwrap()).unwrap();
    assert_eq!(env[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(env[0]["device"], "Cpu");
    assert!(env[0]["threads"].as_u64().unwrap() > 0);
    // ConViT at its start: gates near sigma(1), and gated layers more local than the plain one.
    let last = result.last().unwrap();
    assert!(
        last.gates.len() == 3 && last.gates.iter().all(|g| (g - 0.7311).abs() < 0.01),
        "{:?}",
        last.gates
    );
    assert!(last.nonlocality.len() == 4 && last.nonlocality[0] < 2.5, "{:?}", last.nonlocality);
    assert!(last.nonlocality[3] > 3.5, "{:?}", last.nonlocality);
}
