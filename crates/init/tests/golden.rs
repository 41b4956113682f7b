//! What the solvers reach at the sizes of the papers, against independent computations (NumPy) of the same formulas.
//!
//! Offsets are centre, up, right: the fixed order. Those computations had other random numbers, so tolerances allow for
//! what seeds change; where ours lie to one side of the reference for every seed tried, the test says so.

use std::sync::Mutex;

use inductive_init::{
    Basis, Dims, Gradient, Matrix, Offsets, Progress, Quality, SinCos, Solver, Strategy, StrategyInitializer,
    Target, layer_norm, learned,
};
use inductive_ops::Grid;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Attention of the closed form on a learned embedding.
fn closed_form(side: usize, width: usize, heads: usize) -> Quality {
    let dims = Dims { width, heads, grid: Grid::square(side), class_token: true };
    let position = learned(dims.tokens(), width, &mut rng(1)).to_f32();
    let initializer = StrategyInitializer::new(Strategy::impulse_closed_form(), dims, &position, 0).unwrap();
    initializer.layer(0).unwrap().quality.unwrap()
}

#[track_caller]
fn assert_near(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{what}: {got}, want {want} +- {tolerance}");
}

#[test]
fn the_closed_form_is_sharp_where_heads_have_many_channels_for_the_patches() {
    let tiny = closed_form(14, 192, 3);
    assert_near("ViT-T 14x14", tiny.mass(), 0.864, 0.01);
    assert_near("hits", tiny.hits(), 0.996, 0.01);
    // five seeds: 0.00023 to 0.00030
    assert_near("MSE", tiny.mse(), 0.00028, 0.00006);
    assert_near("uniform MSE", tiny.uniform_mse(), 0.00484, 0.00001);
    assert_near("ViT-T 8x8", closed_form(8, 192, 3).mass(), 1.0, 0.001);
    assert_near("ViT-T 16x16", closed_form(16, 192, 3).mass(), 0.682, 0.015);
    assert_near("ViT-S 14x14", closed_form(14, 384, 6).mass(), 0.979, 0.01);
    assert_near("ViT-B 14x14", closed_form(14, 768, 12).mass(), 0.994, 0.005);
}

#[test]
fn the_closed_form_leaves_an_embedding_of_sines_and_cosines_nearly_uniform() {
    let dims = Dims { width: 192, heads: 3, grid: Grid::square(14), class_token: false };
    let position = SinCos::Timm.embedding(dims.grid, dims.width).unwrap().to_f32();
    let initializer = StrategyInitializer::new(Strategy::impulse_closed_form(), dims, &position, 0).unwrap();
    let quality = initializer.layer(0).unwrap().quality.unwrap();
    assert!(quality.mass() < 1.5 * quality.uniform_mass(), "{quality}");
    assert!(quality.mse() > 0.99 * quality.uniform_mse(), "{quality}");
}

/// Mass on target of the closed form once patches of deviation `content` are added to the (scaled) embedding.
fn with_content(side: usize, scale: f64, content: f64) -> f64 {
    let dims = Dims { width: 192, heads: 3, grid: Grid::square(side), class_token: false };
    let position = learned(dims.tokens(), 192, &mut rng(1)).to_f32();
    let strategy = Strategy { position_scale: scale, ..Strategy::impulse_closed_form() };
    let initializer = StrategyInitializer::new(strategy, dims, &position, 0).unwrap();
    let layer = initializer.layer(0).unwrap();
    let weights = layer.query_key(3).unwrap();
    let mut input = Matrix::from_f32(dims.tokens(), 192, &initializer.position()).unwrap();
    // of deviation 0.02
    let images = learned(dims.tokens(), 192, &mut rng(2));
    input.values_mut().iter_mut().zip(images.values()).for_each(|(v, image)| *v += content / 0.02 * image);
    Quality::measure(&weights, &layer_norm(&input), &layer.targets).unwrap().mass()
}

#[test]
fn images_blur_the_impulses_unless_the_embedding_is_scaled() {
    // four seeds: 0.808 to 0.825, 0.496 to 0.516 (below the reference), 0.310 to 0.318 (below)
    for (content, want) in [(0.0, 0.86), (0.1, 0.82), (0.3, 0.53), (0.6, 0.33)] {
        assert_near("14x14", with_content(14, 18.0, content), want, 0.04);
    }
    assert_near("14x14, embedding not scaled", with_content(14, 1.0, 0.3), 0.21, 0.03);
    // 0.982 to 0.992, 0.529 to 0.600
    for (content, want) in [(0.1, 1.0), (0.3, 0.99), (0.6, 0.57)] {
        assert_near("8x8", with_content(8, 18.0, content), want, 0.05);
    }
}

/// Loss before each step (mean of the heads) and what was reached at the end.
fn descend(side: usize, heads: usize, steps: usize) -> (Vec<f64>, Quality) {
    let grid = Grid::square(side);
    let basis = Basis::new(layer_norm(&SinCos::Timm.embedding(grid, 192).unwrap())).unwrap();
    let offsets = Offsets::Ordered.draw(heads, 3, grid, &mut rng(0)).unwrap();
    let targets: Vec<_> = offsets.into_iter().map(|o| Target::impulse(grid, o).unwrap()).collect();
    let start = Gradient::start(192, heads, &mut rng(0)).unwrap();
    let losses = Mutex::new(vec![0.0; steps]);
    let add = |p: Progress| losses.lock().unwrap()[p.step] += p.loss / heads as f64;
    let settings = Gradient { steps, ..Gradient::default() };
    let weights = settings.solve(&basis, &targets, &start, &add).unwrap();
    let quality = Quality::measure(&weights, basis.input(), &targets).unwrap();
    (losses.into_inner().unwrap(), quality)
}

#[test]
fn the_gradient_solve_reaches_a_soft_impulse_on_8x8_patches() {
    let (losses, quality) = descend(8, 3, 10_000);
    // three seeds: 0.00561 to 0.00584; at the end 0.619 to 0.621 and 0.00307 to 0.00309, a little nearer than the reference
    assert_near("MSE before step 1000", losses[1000], 0.00586, 0.0003);
    assert_near("mass", quality.mass(), 0.609, 0.03);
    assert_near("hits", quality.hits(), 1.0, 0.01);
    assert_near("MSE", quality.mse(), 0.00336, 0.0003);
    assert_near("uniform MSE", quality.uniform_mse(), 0.01412, 0.00001);
}

#[test]
fn a_tenth_of_the_steps_reaches_nearly_the_same_on_16x16_patches() {
    let (losses, quality) = descend(16, 3, 1_100);
    assert_near("MSE before step 500", losses[500], 0.00295, 0.00005);
    assert_near("MSE before step 1000", losses[1000], 0.00268, 0.00005);
    // the reference after 10,000 steps; ours has 0.269 and 0.00228 there
    assert_near("mass", quality.mass(), 0.263, 0.02);
    assert_near("hits", quality.hits(), 0.97, 0.03);
    assert_near("MSE", quality.mse(), 0.00232, 0.0001);
    assert_near("uniform MSE", quality.uniform_mse(), 0.00373, 0.00001);
}

/// The published solve of arXiv 2401.12511 with another number of steps: 512 channels, 8 heads, 16 x 16 patches.
fn mixed(steps: usize) -> Quality {
    let dims = Dims { width: 512, heads: 8, grid: Grid::square(16), class_token: false };
    let position = SinCos::SimpleVit.embedding(dims.grid, dims.width).unwrap().to_f32();
    let mut strategy = Strategy::impulse_mixed(5);
    if let Solver::Gradient(gradient) = &mut strategy.impulse_mut().unwrap().solver {
        gradient.steps = steps;
    }
    let initializer = StrategyInitializer::new(strategy, dims, &position, 0).unwrap();
    initializer.layer(0).unwrap().quality.unwrap()
}

// The published code's notebook prints 0.0018 to 0.0019 for each of six layers; ours has 0.00189 after either number of steps.
#[test]
fn a_ninth_of_the_steps_on_the_raw_embedding_reaches_the_loss_that_the_published_code_prints() {
    let quality = mixed(1_100);
    assert_near("MSE", quality.mse(), 0.00185, 0.0001);
    assert_near("uniform MSE", quality.uniform_mse(), 0.0033, 0.0002);
}

#[test]
#[ignore = "about a minute; 1,100 steps reach the same"]
fn all_steps_on_the_raw_embedding_reach_the_loss_that_the_published_code_prints() {
    assert_near("MSE", mixed(10_000).mse(), 0.00185, 0.0001);
}

#[test]
fn mimetic_heads_look_at_the_patch_itself() {
    let own = |position: &Matrix, side| {
        let dims = Dims { width: 192, heads: 3, grid: Grid::square(side), class_token: false };
        let initializer =
            StrategyInitializer::new(Strategy::named("mimetic").unwrap(), dims, &position.to_f32(), 0)
                .unwrap();
        initializer.layer(0).unwrap().quality.unwrap().mass()
    };
    assert_near("learned, 14x14", own(&learned(196, 192, &mut rng(1)), 14), 0.92, 0.02);
    let sines = |side| SinCos::Timm.embedding(Grid::square(side), 192).unwrap();
    // six seeds: 0.042 to 0.048 and 0.076 to 0.093
    assert_near("sines, 16x16", own(&sines(16), 16), 0.05, 0.01);
    assert_near("sines, 8x8", own(&sines(8), 8), 0.09, 0.02);
}

#[test]
fn scrambled_impulses_are_as_sharp_as_near_ones_on_a_learned_embedding_and_not_on_sines() {
    let dims = Dims { width: 192, heads: 3, grid: Grid::square(8), class_token: false };
    let position = learned(64, 192, &mut rng(1)).to_f32();
    for name in ["impulse", "impulse-scrambled", "impulse-anywhere"] {
        let initializer =
            StrategyInitializer::new(Strategy::named(name).unwrap(), dims, &position, 0).unwrap();
        let quality = initializer.layer(3).unwrap().quality.unwrap();
        assert!(quality.mass() > 0.99, "{name}: {quality}");
    }
    let sines = SinCos::Timm.embedding(dims.grid, 192).unwrap().to_f32();
    let mut strategy = Strategy::impulse_gradient(3);
    strategy.impulse_mut().unwrap().solver = Solver::Gradient(Gradient { steps: 500, ..Default::default() });
    let quality = |strategy: Strategy| {
        let layer = StrategyInitializer::new(strategy, dims, &sines, 0).unwrap().layer(0).unwrap();
        layer.quality.unwrap()
    };
    // no position embedding of few directions can express a random order
    let (near, scrambled) = (quality(strategy.clone()), quality(strategy.scrambled()));
    assert!(near.mass() > 3.0 * scrambled.mass(), "{near}; scrambled {scrambled}");
}
