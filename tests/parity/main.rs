//! Parity with timm and the authors' EIT: logits, loss, block outputs, attention and gradients of every fixture; of ResNet and
//! ConvMixer also those of training, and the running averages.
//!
//! `cargo test --release -p inductive-tests --test parity -- --nocapture` prints the differences.

use dfdx::prelude::*;
use inductive_checkpoint::{LoadOptions, load_tensors};
use inductive_models::{Classifier, Context, ConvitSpec, Family, Model, ModelSpec, Record, Trunk};
use inductive_nn::{AnyBlock, Block, Build, ModuleExt, TokenMixer};
use inductive_ops::Backend;
use inductive_tests::{Fixture, assert_close, assert_points, relative_error};

/// The fixtures' tolerances for everything but gradients.
const RTOL: f32 = 1e-4;
const ATOL: f32 = 1e-5;

/// Runs a generic test on the CPU, or on CUDA with that feature and `INDUCTIVE_TEST_DEVICE=cuda`.
macro_rules! on_test_device {
    ($test:ident) => {
        if std::env::var("INDUCTIVE_TEST_DEVICE").is_ok_and(|v| v == "cuda") {
            #[cfg(not(feature = "cuda"))]
            panic!("INDUCTIVE_TEST_DEVICE=cuda needs a build with feature `cuda`");
            #[cfg(feature = "cuda")]
            return $test(&dfdx::tensor::Cuda::default());
        }
        $test(&Cpu::default());
    };
}

// Here and not above: they use the macro.
mod convit;
mod convolutional;
mod eit;
mod full_size;
mod vit;

fn smooth_targets(labels: &[i64], classes: usize, smoothing: f32) -> Vec<f32> {
    let mut targets = vec![smoothing / classes as f32; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[*label as usize] += 1.0 - smoothing;
    }
    targets
}

/// What a model for square images of `side` pixels in `patches x patches` patches is, in numbers.
fn spec(side: usize, patches: usize, depth: usize, local_up_to_layer: usize) -> ModelSpec {
    let patch = side / patches;
    let convit = ConvitSpec { local_up_to_layer, ..Default::default() };
    ModelSpec { image: (side, side), patch, depth, family: Family::Convit(convit), ..ModelSpec::default() }
}

/// Runs one fixture on `trunk` of width `C` with ten classes; returns the largest difference of the logits.
fn parity<M, const C: usize, D>(
    device: &D,
    name: &str,
    side: usize,
    trunk: inductive_models::Result<M>,
) -> f32
where
    D: Backend<f32>,
    M: Trunk<C, f32, D> + 'static,
{
    let fixture = Fixture::open(name);
    let (trunk, classes) = (trunk.unwrap(), Const::<10>);
    let mut model = Classifier::<M, C, _, f32, D>::new(device, trunk, classes, ModelSpec::default()).unwrap();
    let report = load_tensors(&mut model, fixture.main(), &LoadOptions::new().section("weight/")).unwrap();
    assert!(report.is_complete(), "{report}");

    let images = device.tensor_from_vec(fixture.tensor("input"), (2, 3, side, side));
    let mut record = Record::everything();
    record.points = Some(Vec::new());
    let recorded = model.forward(images.clone(), Some(&mut record)).unwrap().as_vec();
    let logits = model.forward(images.clone(), None).unwrap().as_vec();
    let worst = assert_close("logits", &logits, &fixture.tensor("logits"), RTOL, ATOL);
    assert_close("recorded logits", &recorded, &logits, 0.0, 1e-6);

    for (i, block) in record.blocks.iter().enumerate() {
        assert_close(
            &format!("block {i}"),
            &block.output,
            &fixture.tensor(&format!("block/{i}")),
            RTOL,
            ATOL,
        );
        if let Some(want) = fixture.get(&format!("attn/{i}")) {
            let got = &block.attention.as_ref().expect("a transformer").map[..want.len()];
            assert_close(&format!("attention {i}"), got, &want, RTOL, ATOL);
        }
    }
    let with_points = ["convit_a", "vit_a", "vit_gap_a"].contains(&name);
    assert_eq!(assert_points(name, &record.points.unwrap()), with_points, "points");
    assert!(fixture.get(&format!("block/{}", record.blocks.len())).is_none(), "a block is missing");
    assert!(fixture.get("attn/0").is_some(), "no attention to compare");

    let targets = smooth_targets(&fixture.integers("target"), 10, 0.1);
    let targets = device.tensor_from_vec(targets, (2, 10));
    let logits = model.logits(images.leaky_traced(), Context::default()).unwrap();
    let loss = device.cross_entropy(logits, &targets).unwrap();
    assert_close("loss", &loss.as_vec(), &fixture.tensor("loss"), RTOL, ATOL);
    let mut gradients = loss.backward();
    let mut compared = 0;
    model
        .for_each_parameter_mut(&mut |p| {
            let (got, want) = (p.gradient(&mut gradients)?, fixture.tensor(&format!("grad/{}", p.name())));
            assert_close(&format!("gradient of {}", p.name()), &got, &want, 1e-3, 1e-5);
            // Elementwise is loose where a gradient is small; as a whole it must agree to rounding. Those that are
            // zero in exact arithmetic (softmax ignores a shift) have no relative error.
            if want.iter().any(|v| v.abs() > 1e-12) {
                let thirds = if p.name().ends_with("qkv.bias") {
                    3
                } else {
                    1 + usize::from(p.name().ends_with("qk.bias"))
                };
                for (i, (got, want)) in
                    got.chunks(got.len() / thirds).zip(want.chunks(want.len() / thirds)).enumerate()
                {
                    let key_bias = thirds > 1 && i == 1;
                    let error = relative_error(got, want);
                    assert!(
                        key_bias || error < 1e-4,
                        "gradient of {} part {i}: relative error {error:e}",
                        p.name()
                    );
                }
            }
            compared += 1;
            Ok(())
        })
        .unwrap();
    assert!(compared > 30, "only {compared} gradients compared");
    println!("{name}: max |logits - timm| = {worst:.2e}, {compared} gradients");
    worst
}

/// A block with this mixer, among blocks of other mixers.
fn boxed<M, const C: usize, const HIDDEN: usize, D>(
    device: &D,
) -> inductive_nn::Result<Box<dyn AnyBlock<C, f32, D>>>
where
    D: Backend<f32>,
    M: TokenMixer<C, f32, D> + Build<f32, D> + 'static,
{
    Ok(Box::new(Block::<M, C, HIDDEN, f32, D>::new(device)?))
}
