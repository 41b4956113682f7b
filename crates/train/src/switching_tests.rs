//! A layer that leaves convolution while it is trained: what begins, what goes on, what stays.

use std::collections::{BTreeMap, BTreeSet};

use dfdx::prelude::Cpu;
use inductive_nn::{Gate, Operator, Positions, Reparameterization};
use inductive_schedule::EmaDecay;

use crate::{Learner, Recipe, by_name::values, switching::Roles};

const LAYER: usize = 1;
const LR: f64 = 1e-3;

fn recipe() -> Recipe {
    Recipe { model: "prs_nano".to_owned(), drop_path: 0.0, weight_decay: 0.0, ..Recipe::default() }
}

fn learner(recipe: &Recipe) -> Learner<Cpu> {
    Learner::new(&Cpu::default(), recipe, 10).unwrap()
}

/// An update with a batch of four, different for every step.
fn step(learner: &mut Learner<Cpu>, lr: f64) {
    let of = learner.steps() as usize;
    let pixel = |i: usize| ((i * i + 31 * of) % 1009) as f32 / 300.0 - 1.0;
    learner.step((0..4 * 3 * 32 * 32).map(pixel).collect(), &[0, 3, 5, 9], lr).unwrap();
}

fn steps(learner: &mut Learner<Cpu>, count: usize) {
    (0..count).for_each(|_| step(learner, LR));
}

fn averages(learner: &mut Learner<Cpu>) -> BTreeMap<String, Vec<f32>> {
    let Learner { ema, model, .. } = learner;
    ema.as_ref().unwrap().with(&mut **model, |model| Ok(values(model))).unwrap()
}

/// Names of the parameters that have averages in the optimizer.
fn learning(learner: &Learner<Cpu>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    learner
        .optimizer
        .for_each_moment(&mut |name, _, _| {
            names.insert(name.to_owned());
            Ok(())
        })
        .unwrap();
    names
}

/// Positions and gates that have gradients of a size from the start.
fn soft() -> Reparameterization {
    Reparameterization { positions: Positions::Kernel { alpha: 1.0 }, gate: Gate::Linear(0.5) }
}

#[test]
fn what_is_idle_neither_moves_nor_decays_and_begins_like_new_when_it_wakes() {
    let mut learner = learner(&Recipe { weight_decay: 0.5, ..recipe() });
    let idle = learner.model().switchable().unwrap()[LAYER].idle.clone();
    assert_eq!(idle.len(), 3);
    let start = values(learner.model());
    steps(&mut learner, 5);
    let before = values(learner.model());
    assert!(idle.iter().all(|name| before[name] == start[name] && !learning(&learner).contains(name)));
    let name = learner.switch(LAYER, &soft()).unwrap();
    let weight = format!("{name}.weight");
    assert!(before[&weight] != start[&weight]);

    let switched = values(learner.model());
    assert_eq!(switched[&weight], before[&weight], "the weight keeps its values");
    assert!(idle.iter().all(|name| learning(&learner).contains(name)));
    step(&mut learner, LR);
    let after = values(learner.model());
    for name in &idle {
        let decay = if name.ends_with("gate") { 0.0 } else { (LR * 0.5) as f32 };
        // The first update of Adam is the learning rate in the direction of the gradient; were it counted as the
        // sixth, it would be half of that.
        let sizes = switched[name].iter().zip(&after[name]).map(|(a, b)| (b - a * (1.0 - decay)).abs());
        let sizes: Vec<f64> = sizes.map(|size| f64::from(size) / LR).collect();
        let full = sizes.iter().filter(|size| (**size - 1.0).abs() < 0.05).count();
        assert!(sizes.iter().all(|size| *size < 1.001), "{name}");
        assert!(full * 10 > sizes.len() * 9, "{name}: {full} of {}", sizes.len());
    }
    // Those of the other layers still sleep.
    let other = &learner.model().switchable().unwrap()[0].idle;
    assert!(other.iter().all(|name| after[name] == start[name]));
}

#[test]
fn the_average_takes_what_is_new_as_it_is_and_goes_on_with_the_weight() {
    let recipe = Recipe { ema: Some(EmaDecay::constant(0.9)), ..recipe() };
    let (mut learner, mut never) = (learner(&recipe), learner(&recipe));
    steps(&mut learner, 3);
    steps(&mut never, 3);
    let name = learner.switch(LAYER, &soft()).unwrap();
    let (weight, operator) = (format!("{name}.weight"), format!("{name}.operator"));
    let (average, own) = (averages(&mut learner), values(learner.model()));
    assert_eq!(average[&weight], averages(&mut never)[&weight]);
    assert_ne!(average[&weight], own[&weight]);
    let new = ["pos_proj.weight", "gate", "qk.weight", "operator"].map(|it| format!("{name}.{it}"));
    assert!(new.iter().all(|name| average[name] == own[name]));

    step(&mut learner, LR);
    let (next, now) = (averages(&mut learner), values(learner.model()));
    assert_eq!((&next[&operator], &now[&operator]), (&vec![2.0], &vec![2.0]));
    for name in new.iter().filter(|name| **name != operator) {
        for ((old, new), got) in own[name].iter().zip(&now[name]).zip(&next[name]) {
            assert!((got - (0.9 * old + 0.1 * new)).abs() < 1e-6, "{name}: {got} of {old} and {new}");
        }
        assert_ne!(next[name], own[name]);
    }
    steps(&mut learner, 20);
    let averaged = averages(&mut learner);
    for (name, values) in averaged.iter().filter(|(name, _)| name.ends_with(".operator")) {
        assert!(*values == [if *name == operator { 2.0 } else { 0.0 }], "{name}: {values:?}");
    }
}

#[test]
fn linear_gates_stay_between_0_and_1_and_leave_both_ends() {
    let mut ends = 0;
    for end in [0.0, 1.0] {
        let mut learner = learner(&recipe());
        steps(&mut learner, 2);
        let how = Reparameterization { gate: Gate::Linear(end), ..soft() };
        learner.switch(LAYER, &how).unwrap();
        let (mut inside, mut left) = (0, 0);
        let mut last = vec![end; 9];
        for _ in 0..30 {
            step(&mut learner, 0.01);
            let gates = learner.model().gates().unwrap()[LAYER].clone();
            assert!(gates.iter().all(|gate| (0.0..=1.0).contains(gate)), "{gates:?}");
            let at_end = |gate: f64| gate == 0.0 || gate == 1.0;
            inside += gates.iter().filter(|gate| !at_end(**gate)).count();
            ends += gates.iter().filter(|gate| at_end(**gate)).count();
            left += last.iter().zip(&gates).filter(|(old, new)| **old == end && **new != end).count();
            last = gates;
        }
        assert!(inside > 0 && left > 0, "from {end}: {inside} {left}");
    }
    assert!(ends > 0);
}

#[test]
fn a_sigmoid_gate_may_be_any_number() {
    let mut learner = learner(&recipe());
    let how = Reparameterization { gate: Gate::Sigmoid(3.0), ..soft() };
    let name = learner.switch(LAYER, &how).unwrap();
    step(&mut learner, LR);
    let gate = &values(learner.model())[&format!("{name}.gate")];
    assert!(gate.iter().all(|gate| (gate - 3.0).abs() < 2e-3) && *gate != vec![3.0; 9], "{gate:?}");
}

#[test]
fn a_held_gate_is_left_alone_while_the_layer_learns() {
    let mut learner = learner(&Recipe { weight_decay: 0.5, ..recipe() });
    steps(&mut learner, 2);
    let name = learner.switch(LAYER, &Reparameterization { gate: Gate::Held, ..soft() }).unwrap();
    assert_eq!(learner.model().switchable().unwrap()[LAYER].operator, Operator::Positional);
    let before = values(learner.model());
    steps(&mut learner, 3);
    let after = values(learner.model());
    for (parameter, same) in
        [("weight", false), ("pos_proj.weight", false), ("gate", true), ("qk.weight", true)]
    {
        let name = format!("{name}.{parameter}");
        assert_eq!(before[&name] == after[&name], same, "{name}");
        assert_eq!(learning(&learner).contains(&name), !same, "{name}");
    }
    assert!(learner.model().gates().unwrap()[LAYER].iter().all(|gate| *gate == 1.0));
}

#[test]
fn what_is_frozen_stays_frozen_through_a_switch() {
    let frozen = "stages.*.pos_proj.weight";
    let mut learner = learner(&Recipe { freeze: vec![frozen.to_owned()], ..recipe() });
    step(&mut learner, LR);
    let name = format!("{}.pos_proj.weight", learner.switch(LAYER, &soft()).unwrap());
    let before = values(learner.model());
    assert_eq!(before[&name][..3], [-2.0, -2.0, -1.0], "the switch itself sets it");
    steps(&mut learner, 2);
    assert_eq!(values(learner.model())[&name], before[&name]);
    assert!(!learning(&learner).contains(&name));
}

#[test]
fn a_model_whose_layers_cannot_switch_has_nothing_idle() {
    let learner = learner(&Recipe { model: "convit_micro".to_owned(), ..recipe() });
    assert_eq!(learner.roles, Roles::default());
}

#[test]
fn a_layer_that_is_not_there_is_refused_and_changes_nothing() {
    let mut learner = learner(&recipe());
    let before = values(learner.model());
    let error = learner.switch(6, &soft()).unwrap_err().to_string();
    assert!(error.contains("no layer 6") && error.contains("there are 6"), "{error}");
    assert_eq!(values(learner.model()), before);
}
