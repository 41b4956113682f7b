//! An operation of one's own, by what a user of the crate has: values, gradients, and what is refused.

use dfdx::prelude::*;
use inductive_ops::{
    Result,
    custom::{Input, Operation, gradient_error, run},
};

/// `y_ij = x_ij w_j`, of as many columns as `w` has elements.
struct Scale;

impl Operation for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn check(&self, inputs: &[&[usize]], out: &[usize]) -> Result<(), String> {
        match inputs {
            [x, [w]] if x.last() == Some(w) && *x == out => Ok(()),
            _ => Err(format!("x [.., C] and w [C] give [.., C]; these are {inputs:?} and {out:?}")),
        }
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        let columns = inputs[1].values;
        inputs[0].values.iter().zip(columns.iter().cycle()).map(|(x, w)| x * w).collect()
    }

    fn backward(&self, inputs: &[Input<'_>], _: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
        let columns = inputs[1].values.len();
        for (i, dy) in dy.iter().enumerate() {
            gradients[0][i] += dy * inputs[1].values[i % columns];
            gradients[1][i % columns] += dy * inputs[0].values[i];
        }
    }
}

/// A result that is one short.
struct Short;

impl Operation for Short {
    fn name(&self) -> &'static str {
        "short"
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        inputs[0].values[1..].to_vec()
    }

    fn backward(&self, _: &[Input<'_>], _: &[f32], _: &[f32], _: &mut [&mut [f32]]) {
        unreachable!("it has no result")
    }
}

#[test]
fn an_input_given_twice_gets_both_gradients() {
    let x = Cpu::default().tensor([1.0f32, -2.0, 3.0]);
    let y = run(Scale, x.leaky_trace(), &[&x], *x.shape()).unwrap();
    assert_eq!(y.array(), [1.0, 4.0, 9.0]);
    assert_eq!(y.sum::<Rank0, _>().backward().get(&x).array(), [2.0, -4.0, 6.0]);
}

#[test]
fn a_permuted_input_is_read_in_its_own_order() {
    let dev = Cpu::default();
    let x: Tensor<Rank2<2, 3>, f32, _> = dev.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let w = dev.tensor([1.0f32, 10.0]);
    let turned = x.leaky_trace().permute::<Rank2<3, 2>, _>();
    let y = run(Scale, turned, &[&w], Rank2::<3, 2>::default()).unwrap();
    assert_eq!(y.array(), [[1.0, 40.0], [2.0, 50.0], [3.0, 60.0]]);
    let gradients = y.sum::<Rank0, _>().backward();
    assert_eq!(gradients.get(&x).array(), [[1.0; 3], [10.0; 3]]);
    assert_eq!(gradients.get(&w).array(), [6.0, 15.0]);
}

#[test]
fn what_does_not_fit_is_refused_in_the_operations_words() {
    let dev = Cpu::default();
    let x: Tensor<Rank2<2, 3>, f32, _> = dev.zeros();
    let error = |result: Result<Tensor<_, f32, Cpu>>| result.unwrap_err().to_string();
    let two = dev.tensor([1.0f32, 2.0]);
    let got = error(run(Scale, x.clone(), &[&two], *x.shape()));
    assert_eq!(got, "scale: x [.., C] and w [C] give [.., C]; these are [[2, 3], [2]] and [2, 3]");
    assert_eq!(error(run(Short, x.clone(), &[], *x.shape())), "short: expected a result of 6 numbers, got 5");
    let view = two.broadcast::<Rank2<2, 3>, Axis<1>>();
    let got = error(run(Scale, x.clone(), &[&view], *x.shape()));
    assert!(got.starts_with("scale: a parameter is a permuted or broadcast view"), "{got}");
}

#[test]
fn gradients_that_are_not_those_of_the_values_are_seen() {
    /// As [`Scale`], but the weights get no gradient.
    struct Forgetful;

    impl Operation for Forgetful {
        fn name(&self) -> &'static str {
            "forgetful"
        }

        fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
            Scale.forward(inputs)
        }

        fn backward(&self, inputs: &[Input<'_>], y: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
            let (x, weights) = gradients.split_at_mut(1);
            let mut unused = weights[0].to_vec();
            Scale.backward(inputs, y, dy, &mut [&mut *x[0], &mut unused]);
        }
    }

    let (x, w) = ([0.3, -1.0, 2.0, 0.5, 0.1, -0.7], [1.5, -0.5, 0.25]);
    let inputs = [Input { shape: &[2, 3], values: &x }, Input { shape: &[3], values: &w }];
    let error = |operation: &dyn Operation| gradient_error(operation, &inputs, &[2, 3]).unwrap();
    assert!(error(&Scale) < 1e-3, "{}", error(&Scale));
    assert!(error(&Forgetful) > 0.1, "{}", error(&Forgetful));
}
