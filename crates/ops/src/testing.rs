//! The check every operation passes: kernel against composition, composition against finite differences.
//!
//! A [`Case`] runs an operation on a device for an element type and returns its value and all gradients. [`check_case`]
//! runs it in `f64` (the composition), compares the gradients with central differences, then compares the `f32` kernel
//! with it. With feature `cuda` and `INDUCTIVE_TEST_DEVICE=cuda` the composition also runs on the GPU.

use dfdx::prelude::*;

use crate::Backend;

/// An operation with its inputs as flat arrays.
pub(crate) trait Case {
    /// Output values and the gradient of each input, for the loss `sum_i out_i r_i` with fixed `r`; see [`differentiate`].
    fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>);
}

/// Numbers in [-1, 1] that look random and are the same everywhere.
pub(crate) fn random(len: usize, seed: u64) -> Vec<f64> {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.gen_range(-1.0..1.0)).collect()
}

pub(crate) fn leaf<S: Shape, E: Dtype, D: Backend<E>>(dev: &D, shape: S, values: &[f64]) -> Tensor<S, E, D> {
    dev.tensor_from_vec(values.iter().map(|v| E::from_f64(*v).unwrap()).collect(), shape)
}

pub(crate) fn to_f64<E: Dtype>(values: Vec<E>) -> Vec<f64> {
    values.into_iter().map(|v| v.to_f64().unwrap()).collect()
}

/// Values of `out` and the gradients of `sum_i out_i r_i`.
pub(crate) fn differentiate<S: Shape, E: Dtype, D: Backend<E>>(
    dev: &D,
    out: Tensor<S, E, D, OwnedTape<E, D>>,
) -> (Vec<f64>, Gradients<E, D>) {
    let values = to_f64(out.as_vec());
    let weights = leaf(dev, (values.len(),), &random(values.len(), 99));
    let gradients = (out.reshape_like(&(values.len(),)) * weights).sum::<Rank0, _>().backward();
    (values, gradients)
}

pub(crate) fn gradient<S: Shape, E: Dtype, D: Backend<E>>(
    gradients: &mut Gradients<E, D>,
    of: &Tensor<S, E, D>,
) -> Vec<f64> {
    gradients.get_or_alloc_mut(of).unwrap();
    to_f64(gradients.get(of).as_vec())
}

#[track_caller]
fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |a, v| a.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * scale, "{what}[{i}]: {g}, want {w} (scale {scale})");
    }
}

#[track_caller]
pub(crate) fn check_case(case: &impl Case, inputs: &[Vec<f64>]) {
    let (value, gradients) = case.run::<f64, _>(&Cpu::default(), inputs);
    check_differences(case, inputs, value.len(), &gradients);
    check_against(case, inputs, (value, gradients));
}

/// [`check_case`] without differences, whose number of evaluations takes too long for large inputs.
#[track_caller]
pub(crate) fn check_kernel(case: &impl Case, inputs: &[Vec<f64>]) {
    check_against(case, inputs, case.run::<f64, _>(&Cpu::default(), inputs));
}

/// [`check_kernel`] on the CPU alone: of inputs that cost a composition in `f32` its digits, which is what another device has.
#[track_caller]
pub(crate) fn check_cpu_kernel(case: &impl Case, inputs: &[Vec<f64>]) {
    let dev = Cpu::default();
    compare("kernel", case.run::<f32, _>(&dev, inputs), &case.run::<f64, _>(&dev, inputs));
}

#[track_caller]
fn check_differences(case: &impl Case, inputs: &[Vec<f64>], outputs: usize, gradients: &[Vec<f64>]) {
    let dev = Cpu::default();
    let weights = random(outputs, 99);
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let (value, _) = case.run::<f64, _>(&dev, inputs);
        value.iter().zip(&weights).map(|(v, w)| v * w).sum()
    };
    for (i, input) in inputs.iter().enumerate() {
        assert_eq!(gradients[i].len(), input.len(), "input {i}");
        // Every element of a small input, about forty of a large one.
        for j in (0..input.len()).step_by(input.len().div_ceil(40)) {
            let step = 1e-5;
            let mut moved = inputs.to_vec();
            moved[i][j] = input[j] + step;
            let up = loss(&moved);
            moved[i][j] = input[j] - step;
            let difference = (up - loss(&moved)) / (2.0 * step);
            let got = gradients[i][j];
            assert!(
                (got - difference).abs() <= 1e-6 * (1.0 + difference.abs()),
                "gradient of input {i}[{j}]: {got}, by differences {difference}"
            );
        }
    }
}

/// Runs a check on the GPU, where tests are asked to run there.
macro_rules! on_cuda {
    (|$device:ident| $check:expr) => {
        if std::env::var("INDUCTIVE_TEST_DEVICE").is_ok_and(|v| v == "cuda") {
            #[cfg(not(feature = "cuda"))]
            panic!("INDUCTIVE_TEST_DEVICE=cuda needs a build with feature `cuda`");
            #[cfg(feature = "cuda")]
            {
                let $device = &dfdx::tensor::Cuda::default();
                $check
            }
        }
    };
}
pub(crate) use on_cuda;

/// Compares the `f32` kernel (and the GPU) with values and gradients of the composition.
#[track_caller]
fn check_against(case: &impl Case, inputs: &[Vec<f64>], wanted: (Vec<f64>, Vec<Vec<f64>>)) {
    compare("kernel", case.run::<f32, _>(&Cpu::default(), inputs), &wanted);
    on_cuda!(|device| compare("cuda", case.run::<f32, _>(device, inputs), &wanted));
}

#[track_caller]
fn compare(what: &str, got: (Vec<f64>, Vec<Vec<f64>>), wanted: &(Vec<f64>, Vec<Vec<f64>>)) {
    close(&format!("{what} value"), &got.0, &wanted.0, 2e-6);
    for (i, (got, wanted)) in got.1.iter().zip(&wanted.1).enumerate() {
        close(&format!("{what} gradient {i}"), got, wanted, 2e-5);
    }
}
