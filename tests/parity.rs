//! Parity with timm and the authors' EIT: logits, loss, block outputs, attention and gradients of every fixture; of ResNet and
//! ConvMixer (`convolutional.rs`) also those of training, and the running averages.
//!
//! `cargo test --release -p inductive-tests --test parity -- --nocapture` prints the differences.

use dfdx::prelude::*;
use inductive_attention::{ConvAttention, Gpsa, Mhsa};
use inductive_checkpoint::{LoadOptions, load_tensors};
use inductive_models::{
    Block, BuildOptions, Chain, Classifier, Context, Convit, Eit, Last, Model, ModelSpec, OverlappingPatches,
    PatchEmbed, PooledVit, Record, Trunk, Vit, Zoo, build,
};
use inductive_ops::{Backend, Parameters, relative_positions};
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

// Here and not above: it uses the macro.
mod convolutional;

fn smooth_targets(labels: &[i64], classes: usize, smoothing: f32) -> Vec<f32> {
    let mut targets = vec![smoothing / classes as f32; labels.len() * classes];
    for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
        row[*label as usize] += 1.0 - smoothing;
    }
    targets
}

/// Runs one fixture on the model type `M` with width `C` and ten classes; returns the largest difference of the logits.
fn parity<M, const C: usize, D>(device: &D, name: &str, side: usize) -> f32
where
    D: Backend<f32>,
    M: Trunk<C, f32, D> + TensorCollection<f32, D, To<f32, D> = M> + 'static,
{
    let fixture = Fixture::open(name);
    let trunk = M::build(device);
    let mut model = Classifier::<M, C, 10, f32, D>::new(device, trunk, ModelSpec::default()).unwrap();
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

type ConvitOf<
    const C: usize,
    const H: usize,
    const HIDDEN: usize,
    const LOCAL: usize,
    const GLOBAL: usize,
    const G: usize,
    const B: bool,
    D,
> = Convit<C, H, HIDDEN, LOCAL, GLOBAL, 4, G, G, B, f32, D>;

#[test]
fn convit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<ConvitOf<32, 4, 128, 3, 1, 8, false, D>, 32, D>(device, "convit_a", 32);
    }
    on_test_device!(test);
}

#[test]
fn convit_b_with_nine_heads_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<ConvitOf<36, 9, 72, 2, 1, 5, false, D>, 36, D>(device, "convit_b", 20);
    }
    on_test_device!(test);
}

#[test]
fn convit_c_without_gated_layers_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<ConvitOf<32, 4, 128, 0, 2, 6, true, D>, 32, D>(device, "convit_c", 24);
    }
    on_test_device!(test);
}

#[test]
fn convit_d_with_locality_strength_2_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<ConvitOf<32, 4, 128, 1, 1, 6, false, D>, 32, D>(device, "convit_d", 24);
    }
    on_test_device!(test);
}

#[test]
fn vit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<Vit<32, 4, 128, 3, 4, 8, 8, 65, true, f32, D>, 32, D>(device, "vit_a", 32);
    }
    on_test_device!(test);
}

/// Without class token, average pooling; the position embedding is not trained here, and its gradient agrees all the same.
#[test]
fn vit_gap_a_agrees_with_timm() {
    fn run<D: Backend<f32>>(device: &D) {
        parity::<PooledVit<16, 2, 64, 2, 8, 4, 4, 16, true, f32, D>, 16, D>(device, "vit_gap_a", 32);
    }
    on_test_device!(run);
}

#[test]
fn the_fixed_positions_are_timm_s_sines_and_cosines() {
    let trunk = PooledVit::<16, 2, 64, 2, 8, 4, 4, 16, true, f32, Cpu>::build(&Cpu::default());
    let want = Fixture::open("vit_gap_a").tensor("weight/pos_embed");
    assert_close("pos_embed", &trunk.pos_embed.as_vec(), &want, 0.0, 1e-6);
}

/// EIT with 40 channels in 4 heads and 3 layers, split 28 + 12, 16 + 24, 0 + 40.
type Split<const HIDDEN: usize, D> = Chain<
    0,
    Block<ConvAttention<40, 28, 12, 4, f32, D>, 40, HIDDEN, f32, D>,
    Chain<
        1,
        Block<ConvAttention<40, 16, 24, 4, f32, D>, 40, HIDDEN, f32, D>,
        Last<2, Block<Mhsa<40, 4, true, f32, D>, 40, HIDDEN, f32, D>>,
    >,
>;
/// The same with attention on all channels.
type Whole<D> = Chain<
    0,
    Block<Mhsa<40, 4, true, f32, D>, 40, 80, f32, D>,
    Chain<
        1,
        Block<Mhsa<40, 4, true, f32, D>, 40, 80, f32, D>,
        Last<2, Block<Mhsa<40, 4, true, f32, D>, 40, 80, f32, D>>,
    >,
>;
type EitOf<STEM, BLOCKS, const SIDE: usize, const G: usize, const TOKENS: usize, const POS: bool, D> =
    Eit<STEM, BLOCKS, 40, SIDE, SIDE, G, G, TOKENS, POS, f32, D>;
type Overlap<const K: usize, const S: usize, const P: usize, D> = OverlappingPatches<40, K, S, P, f32, D>;

#[test]
fn eit_a_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        parity::<EitOf<Overlap<3, 1, 4, D>, Split<160, D>, 32, 8, 65, false, D>, 40, D>(device, "eit_a", 32);
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_16x16_stem_and_its_true_grid_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        type M<D> = EitOf<Overlap<16, 4, 3, D>, Split<80, D>, 64, 5, 26, false, D>;
        parity::<M<D>, 40, D>(device, "eit_k16s4p3", 64);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_overlapping_patches_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        type M<D> = EitOf<PatchEmbed<40, 4, f32, D>, Split<80, D>, 24, 6, 37, false, D>;
        parity::<M<D>, 40, D>(device, "eit_no_p", 24);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_convolution_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        type M<D> = EitOf<Overlap<3, 1, 4, D>, Whole<D>, 24, 6, 37, false, D>;
        parity::<M<D>, 40, D>(device, "eit_no_t", 24);
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_position_embedding_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        type M<D> = EitOf<Overlap<3, 1, 4, D>, Split<80, D>, 24, 6, 37, true, D>;
        parity::<M<D>, 40, D>(device, "eit_pos", 24);
    }
    on_test_device!(test);
}

/// Local initialisation of `H` heads of 4 channels against timm's.
fn local_init<const C: usize, const H: usize, D: Backend<f32>>(device: &D, fixture: &Fixture) {
    for strength in [1, 2] {
        let mut layer = Gpsa::<C, H, false, f32, D>::build(device);
        let plan = layer.local_init(strength as f64).unwrap();
        assert_eq!(plan.warning(), None);
        let want = |key: &str| fixture.tensor(&format!("heads{H}/strength{strength}/{key}"));
        assert_eq!(layer.pos_proj.weight.as_vec(), want("pos_proj.weight"), "{H} heads, strength {strength}");
        assert_eq!(layer.pos_proj.bias.as_vec(), want("pos_proj.bias"));
        assert_eq!(layer.gating_param.as_vec(), want("gating_param"));
        assert_eq!(layer.v.weight.as_vec(), want("v.weight"));
        if let Some(want) = fixture.get(&format!("heads{H}/strength{strength}/pos_attention_5x5")) {
            // Gate far open: attention is position alone.
            layer.gating_param = device.tensor_from_vec(vec![100.0; H], (Const,));
            let tokens = device.zeros_like(&(1, 25, Const::<C>));
            let (_, record) = inductive_attention::TokenMixer::mix_recorded(
                &layer,
                tokens,
                &inductive_attention::Layout::patches(inductive_ops::Grid::square(5)),
            )
            .unwrap();
            assert_close("positional attention", &record.map, &want, RTOL, 1e-6);
        }
    }
}

#[test]
fn local_initialisation_is_timms_bit_for_bit() {
    fn test<D: Backend<f32>>(device: &D) {
        let fixture = Fixture::open("convit_local_init");
        local_init::<16, 4, D>(device, &fixture);
        local_init::<36, 9, D>(device, &fixture);
        local_init::<64, 16, D>(device, &fixture);
        let want = fixture.tensor("rel_indices_5x5");
        assert_eq!(relative_positions(inductive_ops::Grid::square(5)), want);
    }
    on_test_device!(test);
}

/// The rule that the weights of the full-size fixtures follow.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Sine,
    Hash,
}

impl Rule {
    fn hash(index: u32, position: u32) -> f64 {
        let mut h = index
            .wrapping_mul(2_654_435_761)
            .wrapping_add(position.wrapping_mul(40_503))
            .wrapping_add(12_345);
        h ^= h >> 16;
        h = h.wrapping_mul(2_246_822_507);
        h ^= h >> 13;
        h = h.wrapping_mul(3_266_489_909);
        h ^= h >> 16;
        h as f64 / 4_294_967_296.0
    }

    fn weight(self, index: usize, position: usize, layer_norm: bool) -> f32 {
        let offset = if layer_norm { 1.0 } else { 0.0 };
        let value = match self {
            Self::Sine => 0.02 * (0.37 * index as f64 + 1.7 * position as f64).sin(),
            Self::Hash => 0.1 * (Self::hash(index as u32, position as u32) - 0.5),
        };
        (value + offset) as f32
    }

    fn pixel(self, index: usize) -> f32 {
        match self {
            Self::Sine => (0.01 * index as f64).sin() as f32,
            Self::Hash => (4.0 * (Self::hash(index as u32, 1000) - 0.5)) as f32,
        }
    }
}

fn full_size<D: Zoo>(device: &D, name: &str, rule: Rule) {
    let fixture = Fixture::open(name);
    let mut model = build(device, "convit_tiny", &BuildOptions::default()).unwrap().model;
    let mut names = Vec::new();
    model
        .for_each_parameter(&mut |p| {
            names.push(p.name().to_owned());
            Ok(())
        })
        .unwrap();
    names.sort();
    model
        .for_each_parameter_mut(&mut |p| {
            let position = names.binary_search_by(|n| n.as_str().cmp(p.name())).unwrap();
            let layer_norm = p.name().ends_with("norm.weight")
                || p.name().ends_with("norm1.weight")
                || p.name().ends_with("norm2.weight");
            let values: Vec<f32> = (0..p.numel()).map(|i| rule.weight(i, position, layer_norm)).collect();
            p.copy_from(&values)
        })
        .unwrap();
    let pixels = (0..3 * 224 * 224).map(|i| rule.pixel(i)).collect();
    let images = device.tensor_from_vec(pixels, (1, 3, 224, 224));
    let logits = model.forward(images, None).unwrap();
    let worst = assert_close("logits", &logits.as_vec(), &fixture.tensor("logits"), RTOL, ATOL);
    let labels = fixture.integers("target");
    for (key, smoothing) in [("loss", 0.1), ("loss_plain", 0.0)] {
        let targets = device.tensor_from_vec(smooth_targets(&labels, 1000, smoothing), (1, 1000));
        let loss = device.cross_entropy(logits.clone(), &targets).unwrap();
        assert_close(key, &loss.as_vec(), &fixture.tensor(key), RTOL, ATOL);
    }
    println!("{name}: max |logits - timm| = {worst:.2e}");
}

#[test]
fn convit_tiny_at_224_pixels_agrees_with_timm() {
    fn test<D: Zoo>(device: &D) {
        full_size(device, "full_convit_tiny_hash", Rule::Hash);
        full_size(device, "full_convit_tiny_sine", Rule::Sine);
    }
    on_test_device!(test);
}
