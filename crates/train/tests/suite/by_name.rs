//! What is kept beside a model goes by the names of its parameters: their order does not matter, and other parameters are refused.

use dfdx::prelude::*;
use inductive_nn::{Module, module};
use inductive_schedule::EmaDecay;
use inductive_train::{AdamW, AdamWConfig, Ema, Error, Initial, Recipe};

/// Two parameters, visited in one order.
struct Pair<E: Dtype, D: Device<E>> {
    w: Tensor<Rank2<2, 3>, E, D>,
    b: Tensor<Rank1<2>, E, D>,
}

/// The same, the other way round.
struct Turned<E: Dtype, D: Device<E>> {
    b: Tensor<Rank1<2>, E, D>,
    w: Tensor<Rank2<2, 3>, E, D>,
}

struct Extra<E: Dtype, D: Device<E>> {
    pair: Pair<E, D>,
    c: Tensor<Rank1<2>, E, D>,
}

struct Fewer<E: Dtype, D: Device<E>> {
    w: Tensor<Rank2<2, 3>, E, D>,
}

struct Larger<E: Dtype, D: Device<E>> {
    w: Tensor<Rank2<2, 3>, E, D>,
    b: Tensor<Rank1<4>, E, D>,
}

struct Twice<E: Dtype, D: Device<E>> {
    w: Tensor<Rank2<2, 3>, E, D>,
    b: Tensor<Rank1<2>, E, D>,
}

module!([] Pair<E, D> { w, b });
module!([] Turned<E, D> { b, w });
module!([] Extra<E, D> { pair: "", c });
module!([] Fewer<E, D> { w });
module!([] Larger<E, D> { w, b });
module!([] Twice<E, D> { w, b: "w" });

const W: [[f32; 3]; 2] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
const B: [f32; 2] = [7.0, 8.0];

fn pair(dev: &Cpu) -> Pair<f32, Cpu> {
    Pair { w: dev.tensor(W), b: dev.tensor(B) }
}

/// Models of other parameters than [`Pair`], with what is said of each.
fn others(dev: &Cpu) -> [(Box<dyn Module<f32, Cpu>>, &'static str); 3] {
    let (w, b) = (dev.tensor(W), dev.tensor(B));
    let larger = Larger { w: w.clone(), b: dev.zeros() };
    [
        (Box::new(Extra { pair: pair(dev), c: b }), "without the parameter `c`"),
        (Box::new(Fewer { w }), "with the parameter `b`, which this one has not"),
        (Box::new(larger), "made for 2 numbers of `b`, which has 4"),
    ]
}

#[track_caller]
fn assert_refused<T>(result: Result<T, Error>, of: &str, problem: &str) {
    let error = result.err().expect("another model");
    let message = error.to_string();
    assert!(matches!(error, Error::Parameters { .. }), "{error:?}");
    assert!(message.starts_with(of) && message.contains(problem), "{message}");
    assert!(message.ends_with("use the model that it was made for"), "{message}");
}

/// The gradients of the sum of all squares.
fn gradients(w: &Tensor<Rank2<2, 3>, f32, Cpu>, b: &Tensor<Rank1<2>, f32, Cpu>) -> Gradients<f32, Cpu> {
    (w.leaky_trace().square().sum::<Rank0, _>() + b.leaky_trace().square().sum::<Rank0, _>()).backward()
}

#[test]
fn optimizer_and_average_do_not_depend_on_the_order_of_the_parameters() {
    let dev = Cpu::default();
    let config = AdamWConfig { clip_grad: Some(0.1), ..AdamWConfig::default() };
    let (mut one, mut other) = (pair(&dev), Turned { w: dev.tensor(W), b: dev.tensor(B) });
    let mut optimizers =
        [0, 1].map(|_| AdamW::new(&dev, &one, config, |_, shape| shape.len() > 1, |_| false).unwrap());
    let mut averages = [0, 1].map(|_| Ema::new(&dev, &one, EmaDecay::constant(0.5)).unwrap());
    for step in 0..3 {
        let mut of_one = gradients(&one.w, &one.b);
        let mut of_other = gradients(&other.w, &other.b);
        let norms = [
            optimizers[0].update(&mut one, &mut of_one, 0.1).unwrap().unwrap(),
            optimizers[1].update(&mut other, &mut of_other, 0.1).unwrap().unwrap(),
        ];
        assert!((norms[0] / norms[1] - 1.0).abs() < 1e-12, "{norms:?}");
        averages[0].update(&mut one, step).unwrap();
        averages[1].update(&mut other, step).unwrap();
    }
    assert_ne!(one.w.array(), W);
    assert_eq!((one.w.array(), one.b.array()), (other.w.array(), other.b.array()));
    averages[0].load_into(&mut one).unwrap();
    averages[1].load_into(&mut other).unwrap();
    assert_eq!((one.w.array(), one.b.array()), (other.w.array(), other.b.array()));
}

#[test]
fn an_optimizer_refuses_a_model_of_other_parameters_and_changes_nothing() {
    let dev = Cpu::default();
    let model = pair(&dev);
    let mut optimizer = AdamW::new(&dev, &model, AdamWConfig::default(), |_, _| true, |_| false).unwrap();
    for (mut other, problem) in others(&dev) {
        let mut gradients = gradients(&model.w, &model.b);
        assert_refused(optimizer.update(&mut *other, &mut gradients, 0.1), "optimizer", problem);
    }
    assert_eq!((optimizer.steps(), model.w.array()), (0, W));
    let error = optimizer.set_idle(&dev, &["bias".to_owned()].into()).unwrap_err();
    assert!(error.to_string().contains("no parameter `bias`"), "{error}");
}

#[test]
fn an_average_refuses_a_model_of_other_parameters() {
    let dev = Cpu::default();
    let mut average = Ema::new(&dev, &pair(&dev), EmaDecay::constant(0.9)).unwrap();
    for (mut other, problem) in others(&dev) {
        assert_refused(average.update(&mut *other, 0), "moving average", problem);
        assert_refused(average.load_into(&mut *other), "moving average", problem);
        let with = average.with(&mut other, |_| -> Result<(), Error> { panic!("it is not run") });
        assert_refused(with, "moving average", problem);
    }
}

#[test]
fn two_parameters_of_one_name_are_refused() {
    let dev = Cpu::default();
    let model = Twice { w: dev.tensor(W), b: dev.tensor(B) };
    let average = Ema::new(&dev, &model, EmaDecay::constant(0.9)).map(drop);
    let optimizer = AdamW::new(&dev, &model, AdamWConfig::default(), |_, _| true, |_| false).map(drop);
    for result in [average, optimizer] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("two parameters are called `w`"), "{message}");
    }
}

#[test]
fn initial_weights_are_copied_to_the_same_model_alone() {
    let recipe = Recipe { model: "vit_micro_gap".to_owned(), ..Recipe::default() };
    let initial = Initial::new(&recipe, 3, &|_| ()).unwrap();
    let dev = Cpu::default();
    assert!(initial.on(&dev, &recipe).is_ok());
    for (depth, problem) in [(3, "with the parameter `blocks.3"), (5, "without the parameter `blocks.4")] {
        let other = Recipe { depth: Some(depth), ..recipe.clone() };
        assert_refused(initial.on(&dev, &other).map(drop), "initial weights", problem);
    }
}
