//! Weights of whole layers: what follows the seed, what layers share, what each strategy leaves alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use inductive_init::{
    AttentionInit, Dims, Error, Gradient, Linear, Offsets, PseudoInput, SinCos, Solver, Strategy,
    StrategyInitializer,
};
use inductive_ops::Grid;

const DIMS: Dims = Dims { width: 24, heads: 3, grid: Grid { rows: 4, cols: 3 }, class_token: true };

/// Random numbers are not needed here, only directions.
fn position() -> Vec<f32> {
    (0..DIMS.tokens() * DIMS.width).map(|i| ((i * i * 31 + i * 7) % 101) as f32 * 1e-3 - 0.05).collect()
}

/// As named, but a gradient solve takes a moment only.
fn strategy(name: &str) -> Strategy {
    let mut strategy = Strategy::named(name).unwrap();
    if let Some(impulse) = strategy.impulse_mut()
        && let Solver::Gradient(gradient) = &mut impulse.solver
    {
        *gradient = Gradient { steps: 20, ..*gradient };
    }
    strategy
}

fn initializer(strategy: Strategy, seed: u64) -> StrategyInitializer {
    StrategyInitializer::new(strategy, DIMS, &position(), seed).unwrap()
}

fn layer(name: &str, seed: u64, index: usize) -> AttentionInit {
    initializer(strategy(name), seed).layer(index).unwrap()
}

#[test]
fn every_strategy_is_a_function_of_seed_and_layer_whatever_the_order() {
    for name in Strategy::NAMES {
        let first = initializer(strategy(name), 7);
        let second = initializer(strategy(name), 7);
        let (a, b) = (first.layer(0).unwrap(), first.layer(2).unwrap());
        let (d, c) = (second.layer(2).unwrap(), second.layer(0).unwrap());
        assert_eq!((&a, &b), (&c, &d), "{name}");
        assert_ne!(a.value.weight, b.value.weight, "{name}");
        let other = layer(name, 8, 0);
        for (a, other) in
            [(&a.query, &other.query), (&a.key, &other.key), (&a.value, &other.value), (&a.proj, &other.proj)]
        {
            assert_ne!(a.weight, other.weight, "{name}");
            assert_eq!((a.weight.len(), a.bias.len()), (24 * 24, 24), "{name}");
            assert!(a.weight.iter().chain(&a.bias).all(|v| v.is_finite()), "{name}");
        }
    }
}

#[test]
fn designed_weights_leave_biases_and_other_layers_to_the_default() {
    let bound = 24f32.sqrt().recip();
    for name in Strategy::NAMES.into_iter().filter(|name| !["trunc-normal", "lecun"].contains(name)) {
        let (got, plain) = (layer(name, 3, 1), layer("kaiming", 3, 1));
        assert_eq!(got.qkv().bias, plain.qkv().bias, "{name}");
        assert_eq!(got.proj.bias, plain.proj.bias, "{name}");
        assert!(got.query.bias.iter().all(|v| v.abs() <= bound) && got.query.bias[0] != 0.0);
        let other = initializer(strategy(name), 3).linear(0, 96, 24);
        assert_eq!(other, initializer(strategy("kaiming"), 3).linear(0, 96, 24), "{name}");
        assert!(other.weight.iter().all(|v| v.abs() <= 96f32.sqrt().recip()));
    }
    for (name, expected) in [("trunc-normal", 0.02), ("lecun", 24f32.sqrt().recip())] {
        let normal = layer(name, 3, 1);
        assert_eq!(normal.qkv().bias, [0.0; 72]);
        let deviation = (normal.qkv().weight.iter().map(|v| v * v).sum::<f32>() / 1728.0).sqrt();
        assert!((deviation / expected - 1.0).abs() < 0.05, "{name}: {deviation}");
    }
}

#[test]
fn convolutions_are_pytorchs_with_every_strategy_but_timms() {
    let of = |name: &str, number| initializer(strategy(name), 3).convolution(number, 9 * 48, 48);
    let bound = 432f32.sqrt().recip();
    for name in Strategy::NAMES.into_iter().filter(|name| *name != "trunc-normal") {
        let init = of(name, 0).unwrap();
        assert!(init.weight.iter().chain(&init.bias).all(|v| v.abs() <= bound), "{name}");
        assert!(init.weight.iter().any(|v| v.abs() > 0.99 * bound) && init.bias[0] != 0.0, "{name}");
        assert_eq!((init.weight.len(), init.bias.len()), (48 * 432, 48));
        assert_ne!(init, of(name, 1).unwrap(), "{name}: layers differ");
    }
    assert!(of("trunc-normal", 0).is_none(), "as the model has them");
}

#[test]
fn controls_differ_from_their_strategy_in_one_part_only() {
    let (impulse, plain) = (layer("impulse", 3, 1), layer("kaiming", 3, 1));
    let default_v = layer("impulse-default-v", 3, 1);
    assert_eq!((&default_v.query, &default_v.key), (&impulse.query, &impulse.key));
    assert_eq!((&default_v.value, &default_v.proj), (&plain.value, &plain.proj));
    let mimetic_v = layer("default-mimetic-v", 3, 1);
    assert_eq!((&mimetic_v.query, &mimetic_v.key), (&plain.query, &plain.key));
    assert_eq!((&mimetic_v.value, &mimetic_v.proj), (&impulse.value, &impulse.proj));
    assert_eq!(layer("default-scaled-position", 3, 1), plain);
    for (name, factor) in [("impulse", 18.0), ("default-scaled-position", 18.0), ("mimetic", 1.0)] {
        let scaled = initializer(strategy(name), 0).position();
        let pairs = scaled.iter().zip(position());
        assert!(pairs.into_iter().all(|(got, drawn)| (got - factor * drawn).abs() < 1e-6), "{name}");
    }
}

#[test]
fn the_class_tokens_row_is_not_looked_at() {
    let mut other = position();
    other[..24].fill(5.0);
    let other = StrategyInitializer::new(strategy("impulse"), DIMS, &other, 3).unwrap();
    assert_eq!(other.layer(0).unwrap(), layer("impulse", 3, 0));
}

#[test]
fn a_shared_solve_runs_once_and_others_run_for_every_layer() {
    for (shared, others, solves) in [
        (true, PseudoInput::Position, 1),
        (true, PseudoInput::Gaussian, 2),
        (false, PseudoInput::Position, 4),
    ] {
        let mut strategy = strategy("impulse3");
        let impulse = strategy.impulse_mut().unwrap();
        (impulse.shared, impulse.others) = (shared, others);
        let initializer = initializer(strategy, 0);
        let steps = AtomicUsize::new(0);
        let count = |_| {
            steps.fetch_add(1, Ordering::Relaxed);
        };
        let layers: Vec<_> = (0..4).map(|i| initializer.layer_reporting(i, &count).unwrap()).collect();
        assert_eq!(steps.load(Ordering::Relaxed), solves * 3 * 20);
        assert_eq!(layers[0].query.weight == layers[1].query.weight, solves == 1);
        assert_eq!(layers[1].query.weight == layers[2].query.weight, shared);
    }
}

#[test]
fn controls_aim_at_the_same_keys_in_all_layers_and_random_offsets_at_new_ones() {
    for name in ["impulse", "impulse-scrambled", "impulse-anywhere"] {
        assert_eq!(layer(name, 0, 0).targets, layer(name, 0, 5).targets, "{name}");
    }
    let mut strategy = strategy("impulse").offsets(Offsets::Random);
    strategy.impulse_mut().unwrap().kernel = 3;
    let initializer = initializer(strategy, 0);
    let targets: Vec<_> = (0..6).map(|i| initializer.layer(i).unwrap().targets).collect();
    assert!(targets.iter().any(|t| *t != targets[0]));
    assert!(layer("kaiming", 0, 0).targets.is_empty() && layer("kaiming", 0, 0).quality.is_none());
}

#[test]
fn dimensions_that_do_not_fit_are_errors_that_say_what_to_do() {
    let new =
        |dims: Dims, position: &[f32]| StrategyInitializer::new(strategy("impulse"), dims, position, 0).err();
    let got = new(Dims { heads: 5, ..DIMS }, &position());
    assert_eq!(got, Some(Error::Heads { width: 24, heads: 5 }));
    assert!(got.unwrap().to_string().contains("expected a width that 5 heads divide, got 24"));
    let grid = Grid { rows: 0, cols: 3 };
    assert_eq!(new(Dims { grid, ..DIMS }, &[]), Some(Error::EmptyGrid { grid }));
    assert!(matches!(new(DIMS, &[0.0; 5]), Some(Error::Shape { .. })));
    let mut broken = position();
    broken[30] = f32::NAN;
    assert!(matches!(new(DIMS, &broken), Some(Error::Decomposition { .. })));
    let mut even = strategy("impulse3");
    even.impulse_mut().unwrap().kernel = 4;
    assert_eq!(initializer(even, 0).layer(0), Err(Error::EvenKernel { kernel: 4 }));
    let unscaled = Strategy { position_scale: f64::NAN, ..Strategy::plain(Linear::Kaiming) };
    assert!(matches!(StrategyInitializer::new(unscaled, DIMS, &position(), 0), Err(Error::Constant { .. })));
    assert!(SinCos::Timm.embedding(DIMS.grid, 26).unwrap_err().to_string().contains("26"));
}
