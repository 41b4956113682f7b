//! Batch normalisation: kernel and composition, its statistics, and what it refuses.

use dfdx::prelude::*;

use super::*;
use crate::{Backend, testing::*};

const EPS: f64 = 1e-5;
const FORMS: [(bool, Activation); 4] = [
    (false, Activation::None),
    (true, Activation::None),
    (false, Activation::Relu),
    (true, Activation::Relu),
];

/// Batch, tokens; whether there is a residual, and what comes last; whether the statistics are the batch's.
struct Norm<const C: usize> {
    shape: (usize, usize),
    form: (bool, Activation),
    own: bool,
}

impl<const C: usize> Norm<C> {
    fn inputs(&self) -> Vec<Vec<f64>> {
        let len = self.shape.0 * self.shape.1 * C;
        let x = random(len, 1).iter().map(|v| 3.0 * v + 0.5).collect();
        let mut inputs = vec![x, random(C, 2), random(C, 3)];
        inputs.extend(self.form.0.then(|| random(len, 4)));
        inputs
    }
}

impl<const C: usize> Case for Norm<C> {
    fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let shape = (self.shape.0, self.shape.1, Const::<C>);
        let x = leaf(dev, shape, &inputs[0]);
        let (w, b) = (leaf(dev, (Const,), &inputs[1]), leaf(dev, (Const,), &inputs[2]));
        let residual = inputs.get(3).map(|values| leaf(dev, shape, values));
        let affine = Affine { weight: &w, bias: &b, residual: residual.as_ref(), then: self.form.1 };
        let y = if self.own {
            dev.batch_norm_train(x.leaky_trace(), EPS, affine).unwrap().0
        } else {
            let mean = leaf(dev, (Const::<C>,), &random(C, 5));
            let variance: Vec<f64> = random(C, 6).iter().map(|v| v + 1.2).collect();
            let variance = leaf(dev, (Const::<C>,), &variance);
            dev.batch_norm(x.leaky_trace(), &mean, &variance, EPS, affine).unwrap()
        };
        let (y, mut g) = differentiate(dev, y);
        let mut gradients = vec![gradient(&mut g, &x), gradient(&mut g, &w), gradient(&mut g, &b)];
        gradients.extend(residual.map(|residual| gradient(&mut g, &residual)));
        (y, gradients)
    }
}

fn agree<const C: usize>(shape: (usize, usize), differences: bool) {
    for own in [true, false] {
        for form in FORMS {
            let case = Norm::<C> { shape, form, own };
            if own && shape == (1, 1) {
                continue;
            }
            if differences { check_case(&case, &case.inputs()) } else { check_kernel(&case, &case.inputs()) }
        }
    }
}

#[test]
fn kernel_and_composition_agree() {
    agree::<5>((1, 6), true);
    agree::<5>((6, 1), true);
    agree::<1>((2, 3), true);
    agree::<16>((1, 1), true);
    agree::<35>((3, 4), true);
}

#[test]
fn kernel_and_composition_agree_over_many_blocks() {
    agree::<5>((3, 9001), false);
    agree::<80>((2, 1000), false);
    agree::<2056>((3, 11), false);
}

#[test]
fn statistics_are_those_of_pytorch() {
    // bn = torch.nn.BatchNorm1d(2, momentum=1.0); bn(torch.tensor([[1., 4.], [2., 0.], [6., -1.], [3., 5.]]))
    // bn.running_mean, bn.running_var
    let dev = Cpu::default();
    let values = [1.0, 4.0, 2.0, 0.0, 6.0, -1.0, 3.0, 5.0];
    fn run<E: Dtype, D: Backend<E>>(dev: &D, values: &[f64]) -> [Vec<f64>; 2] {
        let x = leaf(dev, (2, 2, Const::<2>), values);
        let (weight, bias) = (dev.ones::<Rank1<2>>(), dev.zeros::<Rank1<2>>());
        let affine = Affine { weight: &weight, bias: &bias, residual: None, then: Activation::None };
        let (_, statistics) = dev.batch_norm_train(x, EPS, affine).unwrap();
        [to_f64(statistics.mean), to_f64(statistics.variance)]
    }
    for got in [run::<f32, _>(&dev, &values), run::<f64, _>(&dev, &values)] {
        for (got, want) in got.concat().iter().zip([3.0, 2.0, 14.0 / 3.0, 26.0 / 3.0]) {
            assert!((got - want).abs() < 1e-6, "{got}, want {want}");
        }
    }
}

#[test]
fn a_large_offset_does_not_cost_precision() {
    let dev = Cpu::default();
    let rows = 40_000;
    let values = (0..3 * rows).map(|i| 1000.0 + ((i / 3) % 2) as f32).collect();
    let x = dev.tensor_from_vec(values, (rows, 1, Const::<3>));
    let (weight, bias) = (dev.ones::<Rank1<3>>(), dev.zeros::<Rank1<3>>());
    let affine = Affine { weight: &weight, bias: &bias, residual: None, then: Activation::None };
    let (y, statistics) = dev.batch_norm_train(x, EPS, affine).unwrap();
    for (i, y) in y.as_vec().iter().enumerate() {
        let want = if (i / 3) % 2 == 0 { -1.0 } else { 1.0 };
        assert!((y - want).abs() < 1e-4, "{y}, want {want}");
    }
    assert!(statistics.mean.iter().all(|mean| *mean == 1000.5), "{statistics:?}");
    assert!(statistics.variance.iter().all(|v| (v - 0.25).abs() < 1e-4), "{statistics:?}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let case = Norm::<24> { shape: (5, 999), form: (true, Activation::Relu), own: true };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run::<f32, _>(&Cpu::default(), &case.inputs()))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn relu_has_no_gradient_at_zero_and_keeps_nan() {
    fn run<E: Dtype, D: Backend<E>>(dev: &D) -> (Vec<f64>, Vec<f64>) {
        let x = leaf(dev, (1, 4, Const::<1>), &[0.0, 1.0, -1.0, f64::NAN]);
        let (one, zero) = (dev.ones::<Rank1<1>>(), dev.zeros::<Rank1<1>>());
        let affine = Affine { weight: &one, bias: &zero, residual: None, then: Activation::Relu };
        let y = dev.batch_norm(x.leaky_trace(), &zero, &one, 0.0, affine).unwrap();
        let values = to_f64(y.as_vec());
        let mut gradients = y.sum::<Rank0, _>().backward();
        (values, gradient(&mut gradients, &x))
    }
    let dev = Cpu::default();
    for (y, dx) in [run::<f32, _>(&dev), run::<f64, _>(&dev)] {
        assert_eq!(y[..3], [0.0, 1.0, 0.0]);
        assert!(y[3].is_nan(), "{y:?}");
        assert_eq!(dx, [0.0, 1.0, 0.0, 1.0]);
    }
}

#[test]
fn x_that_is_its_own_residual_gets_both_gradients() {
    let dev = Cpu::default();
    let run = |same: bool| {
        let x: Tensor<_, f32, _> = leaf(&dev, (2, 3, Const::<4>), &random(24, 1));
        let other = leaf(&dev, (2, 3, Const::<4>), &random(24, 1));
        let (weight, bias) = (leaf(&dev, (Const,), &random(4, 2)), leaf(&dev, (Const,), &random(4, 3)));
        let residual = Some(if same { &x } else { &other });
        let affine = Affine { weight: &weight, bias: &bias, residual, then: Activation::Relu };
        let (_, mut g) = differentiate(&dev, dev.batch_norm_train(x.leaky_trace(), EPS, affine).unwrap().0);
        (gradient(&mut g, &x), gradient(&mut g, &other))
    };
    let ((both, _), (dx, dresidual)) = (run(true), run(false));
    for (both, (x, residual)) in both.iter().zip(dx.iter().zip(dresidual)) {
        assert!((both - (x + residual)).abs() < 1e-6, "{both}, want {x} + {residual}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    fn run<E: Dtype, D: Backend<E>>(dev: &D, batch: usize, residual: usize) -> [Result<()>; 2] {
        let x = dev.zeros_like(&(batch, 1, Const::<3>));
        let residual = dev.zeros_like(&(residual, 1, Const::<3>));
        let (one, zero) = (dev.ones::<Rank1<3>>(), dev.zeros::<Rank1<3>>());
        let affine = Affine { weight: &one, bias: &zero, residual: Some(&residual), then: Activation::None };
        [
            dev.batch_norm(x.clone(), &zero, &one, EPS, affine).map(drop),
            dev.batch_norm_train(x, EPS, affine).map(drop),
        ]
    }
    let dev = Cpu::default();
    for run in [run::<f32, Cpu>, run::<f64, Cpu>] as [fn(&Cpu, usize, usize) -> [Result<()>; 2]; 2] {
        assert_eq!(run(&dev, 2, 2), [Ok(()), Ok(())]);
        assert!(run(&dev, 0, 0).iter().all(|result| result.is_err()));
        assert!(run(&dev, 2, 3).iter().all(|result| result.is_err()));
        let [given, own] = run(&dev, 1, 1);
        assert!(given.is_ok() && own.unwrap_err().to_string().contains("no variance"));
    }
}
