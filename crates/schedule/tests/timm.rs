//! Schedules against timm 1.0.31 and the learning rates in the published EIT logs (`fixtures/schedule.json`).

use std::collections::BTreeMap;

use inductive_schedule::{Clock, CosineWarmup, Progress, Schedule, drop_path_rates};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    schedules: Vec<Case>,
    eit_logs: BTreeMap<String, Log>,
    drop_path: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    epochs: f64,
    warmup_epochs: f64,
    warmup_lr: f64,
    lr: f64,
    min_lr: f64,
    warmup_prefix: bool,
    lr_of_t: Vec<f64>,
    lr_used_step_epoch: Vec<f64>,
}

#[derive(Deserialize)]
struct Log {
    n: u64,
    base_lr_inferred: f64,
    at: BTreeMap<u64, f64>,
}

impl Case {
    fn schedule(&self) -> CosineWarmup {
        CosineWarmup {
            epochs: self.epochs,
            warmup_epochs: self.warmup_epochs,
            warmup_lr: self.warmup_lr,
            lr: self.lr,
            min_lr: self.min_lr,
            warmup_prefix: self.warmup_prefix,
        }
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/schedule.json")).unwrap()
}

#[track_caller]
fn assert_close(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-12 * want.abs(), "got {got}, expected {want}");
}

const STEPS_PER_EPOCH: u64 = 7;

/// The first update of an epoch, in a run of 310 epochs of seven.
fn epoch(epoch: usize) -> Progress {
    Progress { step: epoch as u64 * STEPS_PER_EPOCH, steps_per_epoch: STEPS_PER_EPOCH, total_steps: 2170 }
}

#[test]
fn the_value_at_each_epoch_is_timms() {
    for case in fixture().schedules {
        for (t, want) in case.lr_of_t.iter().enumerate() {
            assert_close(case.schedule().value(t as f64), *want);
            assert_close(case.schedule().at(epoch(t), Clock::WholeEpoch), *want);
        }
    }
}

#[test]
fn stepping_with_the_finished_epoch_trains_one_value_behind() {
    for case in fixture().schedules {
        for (t, want) in case.lr_used_step_epoch.iter().enumerate() {
            assert_close(case.schedule().at(epoch(t), Clock::WholeEpochOneBehind), *want);
        }
    }
}

#[test]
fn the_published_eit_runs_trained_one_value_behind() {
    for (name, log) in fixture().eit_logs {
        let schedule =
            CosineWarmup::new(log.n as f64, log.base_lr_inferred).with_warmup(5.0, 1e-6).with_min_lr(1e-5);
        for (at, want) in log.at {
            let got = schedule.at(epoch(at as usize), Clock::WholeEpochOneBehind);
            assert!((got - want).abs() <= 1e-12 * want, "{name}, epoch {at}: got {got}, logged {want}");
        }
    }
}

#[test]
fn per_update_values_pass_through_the_per_epoch_values_and_equal_a_schedule_counted_in_updates() {
    for case in fixture().schedules {
        let schedule = case.schedule();
        let per = STEPS_PER_EPOCH as f64;
        // timm with t_in_epochs=False: the same schedule with every length in updates.
        let in_updates =
            CosineWarmup { epochs: case.epochs * per, warmup_epochs: case.warmup_epochs * per, ..schedule };
        for step in 0..2170 {
            let progress = Progress { step, ..epoch(0) };
            let got = schedule.at(progress, Clock::Epoch);
            assert_close(got, in_updates.at(progress, Clock::Step));
            if step % STEPS_PER_EPOCH == 0
                && let Some(want) = case.lr_of_t.get((step / STEPS_PER_EPOCH) as usize)
            {
                assert_close(got, *want);
            }
        }
    }
}

#[test]
fn drop_path_rates_of_12_layers_have_torchs_bits() {
    for (key, want) in fixture().drop_path {
        let (depth, rate) = key.split_once('_').unwrap();
        let rates = drop_path_rates(rate.parse().unwrap(), depth.parse().unwrap()).unwrap();
        let want: Vec<u32> = want.iter().map(|&x| (x as f32).to_bits()).collect();
        assert_eq!(rates.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
    }
}
