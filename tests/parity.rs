//! Parity with timm and the authors' EIT: logits, loss, block outputs, attention and gradients of every fixture; of ResNet and
//! ConvMixer (`convolutional.rs`) also those of training, and the running averages.
//!
//! `cargo test --release -p inductive-tests --test parity -- --nocapture` prints the differences.

use dfdx::prelude::*;
use inductive_checkpoint::{LoadOptions, load_tensors};
use inductive_models::{
    BuildOptions, Classifier, Context, ConvitSpec, EitSpec, Family, Features, Joins, Model, ModelSpec,
    Overlap, Position, Record, Transformer, Trunk, Zoo, build,
    families::{convit, eit, pooled_vit, vit},
};
use inductive_nn::{
    AnyBlock, Block, Blocks, Build, ConvAttention, Fill, Gpsa, Mhsa, ModuleExt, OverlappingPatches,
    PatchEmbed, TokenMixer,
};
use inductive_ops::{Backend, relative_positions};
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

#[test]
fn convit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_a", 32, convit::<32, 4, 128, 4, f32, D>(device, &spec(32, 8, 4, 3)));
    }
    on_test_device!(test);
}

#[test]
fn convit_b_with_nine_heads_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_b", 20, convit::<36, 9, 72, 4, f32, D>(device, &spec(20, 5, 3, 2)));
    }
    on_test_device!(test);
}

#[test]
fn convit_c_without_gated_layers_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_c", 24, convit_with_bias(device, &spec(24, 6, 2, 0)));
    }
    on_test_device!(test);
}

#[test]
fn convit_d_with_locality_strength_2_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "convit_d", 24, convit::<32, 4, 128, 4, f32, D>(device, &spec(24, 6, 2, 1)));
    }
    on_test_device!(test);
}

#[test]
fn vit_a_agrees_with_timm() {
    fn test<D: Backend<f32>>(device: &D) {
        parity(device, "vit_a", 32, vit::<32, 4, 128, 4, f32, D>(device, &spec(32, 8, 3, 0)));
    }
    on_test_device!(test);
}

/// Without class token, average pooling; the position embedding is not trained here, and its gradient agrees all the same.
#[test]
fn vit_gap_a_agrees_with_timm() {
    fn run<D: Backend<f32>>(device: &D) {
        parity(device, "vit_gap_a", 32, pooled_vit::<16, 2, 64, 8, f32, D>(device, &spec(32, 4, 2, 0)));
    }
    on_test_device!(run);
}

#[test]
fn the_fixed_positions_are_timm_s_sines_and_cosines() {
    let trunk = pooled_vit::<16, 2, 64, 8, f32, Cpu>(&Cpu::default(), &spec(32, 4, 2, 0)).unwrap();
    let want = Fixture::open("vit_gap_a").tensor("weight/pos_embed");
    let mut seen = 0;
    trunk
        .for_each_parameter(&mut |p| {
            if p.name() == "pos_embed" {
                assert_close("pos_embed", &p.to_vec(), &want, 0.0, 1e-6);
                seen += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 1);
}

/// ConViT's control with a query bias, which no named model has.
fn convit_with_bias<D: Backend<f32>>(
    device: &D,
    spec: &ModelSpec,
) -> inductive_models::Result<Transformer<PatchEmbed<32, 4, f32, D>, 32, f32, D>> {
    let blocks = boxed::<Mhsa<32, 4, true, f32, D>, 32, 128, D>;
    let blocks = (0..spec.depth).map(|_| blocks(device)).collect::<inductive_ops::Result<_>>()?;
    let token = Fill::LINEAR.tensor(device, (Const, Const, Const))?;
    Ok(Transformer::new(device, Build::new(device)?, blocks, spec.image, Features::ClassToken)?
        .class_token(token, Joins::BeforeBlock(0))
        .positions(Position::learned(device, spec.grid().tokens())?))
}

fn boxed<M, const C: usize, const HIDDEN: usize, D>(
    device: &D,
) -> inductive_ops::Result<Box<dyn AnyBlock<C, f32, D>>>
where
    D: Backend<f32>,
    M: TokenMixer<C, f32, D> + Build<f32, D> + 'static,
{
    Ok(Box::new(Block::<M, C, HIDDEN, f32, D>::new(device)?))
}

/// EIT with 40 channels in 4 heads and 3 layers, split 28 + 12, 16 + 24, 0 + 40.
fn split<const HIDDEN: usize, D: Backend<f32>>(device: &D) -> inductive_ops::Result<Blocks<40, f32, D>> {
    Ok(vec![
        boxed::<ConvAttention<40, 28, 12, 4, f32, D>, 40, HIDDEN, D>(device)?,
        boxed::<ConvAttention<40, 16, 24, 4, f32, D>, 40, HIDDEN, D>(device)?,
        boxed::<Mhsa<40, 4, true, f32, D>, 40, HIDDEN, D>(device)?,
    ])
}

/// The same with attention on all channels.
fn whole<D: Backend<f32>>(device: &D) -> inductive_ops::Result<Blocks<40, f32, D>> {
    (0..3).map(|_| boxed::<Mhsa<40, 4, true, f32, D>, 40, 80, D>(device)).collect()
}

/// An EIT for square images of `side` pixels.
fn eit_spec(side: usize, overlap: Option<Overlap>, position_embedding: bool) -> ModelSpec {
    let eit = EitSpec { overlap, position_embedding, ..EitSpec::default() };
    ModelSpec { image: (side, side), patch: 4, family: Family::Eit(eit), ..ModelSpec::default() }
}

type Patches<const K: usize, const S: usize, const P: usize, D> = OverlappingPatches<40, K, S, P, f32, D>;
const SMALL: Option<Overlap> = Some(Overlap { kernel: 3, stride: 1, pool: 4 });

#[test]
fn eit_a_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(32, SMALL, false);
        parity(device, "eit_a", 32, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, split::<160, D>));
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_16x16_stem_and_its_true_grid_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(64, Some(Overlap { kernel: 16, stride: 4, pool: 3 }), false);
        let trunk = eit::<Patches<16, 4, 3, D>, 40, f32, D>(device, &spec, split::<80, D>);
        parity(device, "eit_k16s4p3", 64, trunk);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_overlapping_patches_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, None, false);
        let trunk = eit::<PatchEmbed<40, 4, f32, D>, 40, f32, D>(device, &spec, split::<80, D>);
        parity(device, "eit_no_p", 24, trunk);
    }
    on_test_device!(test);
}

#[test]
fn eit_without_convolution_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, SMALL, false);
        parity(device, "eit_no_t", 24, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, whole::<D>));
    }
    on_test_device!(test);
}

#[test]
fn eit_with_a_position_embedding_agrees_with_the_authors() {
    fn test<D: Backend<f32>>(device: &D) {
        let spec = eit_spec(24, SMALL, true);
        parity(device, "eit_pos", 24, eit::<Patches<3, 1, 4, D>, 40, f32, D>(device, &spec, split::<80, D>));
    }
    on_test_device!(test);
}

/// Local initialisation of `H` heads of 4 channels against timm's.
fn local_init<const C: usize, const H: usize, D: Backend<f32>>(device: &D, fixture: &Fixture) {
    for strength in [1, 2] {
        let mut layer = Gpsa::<C, H, false, f32, D>::new(device).unwrap();
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
            let (_, record) = inductive_nn::TokenMixer::mix_recorded(
                &layer,
                tokens,
                &inductive_nn::Layout::patches(inductive_ops::Grid::square(5)),
            )
            .unwrap();
            assert_close("positional attention", &record.unwrap().map, &want, RTOL, 1e-6);
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
