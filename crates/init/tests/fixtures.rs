//! Both solvers, mimetic weights and position embeddings against reference values (`fixtures/`).

mod common;

use std::sync::Mutex;

use common::{Fixture, assert_close, relative_error};
use inductive_init::{
    Basis, ClosedForm, Gradient, Matrix, Mixture, Offset, Offsets, Progress, Quality, QueryKey, SinCos,
    Storage, Target, layer_norm, mimetic_query_key, mimetic_value_proj,
};
use inductive_ops::Grid;

fn offsets(fixture: &Fixture, key: &str) -> Vec<Offset> {
    let numbers: Vec<i32> = fixture.integers(key).into_iter().map(|v| v.try_into().unwrap()).collect();
    numbers.as_chunks().0.iter().map(|[down, right]| Offset { down: *down, right: *right }).collect()
}

fn targets(fixture: &Fixture, key: &str, grid: Grid) -> Vec<Target> {
    offsets(fixture, key).into_iter().map(|offset| Target::impulse(grid, offset).unwrap()).collect()
}

struct ClosedFormCase {
    basis: Basis,
    targets: Vec<Target>,
    weights: QueryKey,
    quality: Quality,
}

fn closed_form(fixture: &Fixture, case: &str, grid: Grid) -> ClosedFormCase {
    let mut position = fixture.matrix(&format!("{case}.pos_embed"));
    position.values_mut().iter_mut().for_each(|v| *v *= 18.0);
    let basis = Basis::new(layer_norm(&position)).unwrap();
    let targets = targets(fixture, &format!("{case}.offsets"), grid);
    let n = grid.tokens();
    let bytes = fixture.bytes(&format!("{case}.noise_u8"));
    let noise: Vec<_> = bytes
        .chunks_exact(n * n)
        .map(|z| Matrix::from_fn(n, n, |i, j| (f64::from(z[i * n + j]) - 128.0) / 64.0))
        .collect();
    let weights = ClosedForm::default().solve(&basis, &targets, &noise).unwrap();
    let quality = Quality::measure(&weights, basis.input(), &targets).unwrap();
    ClosedFormCase { basis, targets, weights, quality }
}

#[test]
fn targets_are_the_references_and_ordered_offsets_theirs() {
    let fixture = Fixture::open("init_impulse_closed_form");
    for (case, grid, heads) in [("a", Grid::square(8), 4), ("b", Grid::square(14), 3)] {
        let want = fixture.integers(&format!("{case}.target_index"));
        let targets = targets(&fixture, &format!("{case}.offsets"), grid);
        let got: Vec<i64> =
            targets.iter().flat_map(|t| t.keys().iter().map(|k| k.map_or(-1, |k| k as i64))).collect();
        assert_eq!(got, want);
        let mut rng = rand::rngs::mock::StepRng::new(0, 1);
        let ordered = Offsets::Ordered.draw(heads, 3, grid, &mut rng).unwrap();
        assert_eq!(ordered, offsets(&fixture, &format!("{case}.offsets")));
    }
    let dense: Vec<f64> = targets(&fixture, "a.offsets", Grid::square(8))
        .iter()
        .flat_map(|target| target.dense().values().to_vec())
        .collect();
    let want: Vec<f64> = fixture.bytes("a.target").into_iter().map(f64::from).collect();
    assert_eq!(dense, want);
}

#[test]
fn the_closed_form_gives_the_references_products() {
    let fixture = Fixture::open("init_impulse_closed_form");
    let case = closed_form(&fixture, "a", Grid::square(8));
    for (head, want) in fixture.matrices("a.qk").iter().enumerate() {
        let error = relative_error(case.weights.product(head).values(), want.values());
        assert!(error < 1e-6, "head {head}: {error:e}");
    }
    let case = closed_form(&fixture, "b", Grid::square(14));
    let (traces, norms) = (fixture.values("b.qk_trace"), fixture.values("b.qk_frobenius"));
    for (head, want) in fixture.matrices("b.qk_block").iter().enumerate() {
        let product = case.weights.product(head);
        let block = Matrix::from_fn(32, 32, |i, j| product.at(i, j));
        let error = relative_error(block.values(), want.values());
        assert!(error < 1e-6, "head {head}: {error:e}");
        let trace: f64 = (0..192).map(|i| product.at(i, i)).sum();
        let norm = product.values().iter().map(|v| v * v).sum::<f64>().sqrt();
        assert!((trace - traces[head]).abs() < 1e-5 && (norm - norms[head]).abs() < 1e-5);
    }
}

#[test]
fn the_closed_form_gives_the_references_attention_and_quality() {
    let fixture = Fixture::open("init_impulse_closed_form");
    for (case, grid) in [("a", Grid::square(8)), ("b", Grid::square(14))] {
        let got = closed_form(&fixture, case, grid);
        let maps = got.weights.attention(got.basis.input()).unwrap();
        for (head, map) in maps.iter().enumerate() {
            let mass: Vec<f64> = got.targets[head]
                .keys()
                .iter()
                .enumerate()
                .map(|(query, key)| key.map_or(0.0, |key| map.at(query, key)))
                .collect();
            let want = fixture.matrix(&format!("{case}.attention_target_mass_rows"));
            assert_close("mass", &mass, want.row(head), 1e-5);
            if case == "a" {
                assert_close("attention", map.values(), fixture.matrices("a.attention")[head].values(), 1e-5);
            } else {
                let rows = fixture.integers("b.attention_rows_index");
                let rows: Vec<f64> = rows.iter().flat_map(|row| map.row(*row as usize).to_vec()).collect();
                assert_close("attention", &rows, fixture.matrices("b.attention_rows")[head].values(), 1e-5);
            }
        }
        let column = |value: fn(&inductive_init::HeadQuality) -> f64| {
            got.quality.heads.iter().map(value).collect::<Vec<f64>>()
        };
        let wanted = |key: &str| fixture.values(&format!("{case}.{key}"));
        assert_close("mass", &column(|h| h.mass), &wanted("mass_on_target"), 1e-6);
        assert_close("hits", &column(|h| h.hits), &wanted("argmax_hit"), 1e-6);
        assert_close("mse", &column(|h| h.mse), &wanted("mse"), 1e-8);
        assert_close("uniform mse", &column(|h| h.uniform_mse), &wanted("mse_uniform"), 1e-8);
        assert_close("entropy", &column(|h| h.entropy), &wanted("entropy"), 1e-5);
    }
}

/// `[heads, D, r]` and `[heads, r, D]` as layers store them.
fn stored(heads: usize, query: &[Matrix], key: &[Matrix]) -> QueryKey {
    let stack = |parts: Vec<Matrix>| {
        let width = parts[0].cols();
        let values = parts.iter().flat_map(|part| part.values().to_vec()).collect();
        Matrix::new(width, width, values).unwrap()
    };
    let query = stack(query.iter().map(Matrix::transposed).collect());
    QueryKey::new(heads, query, stack(key.to_vec())).unwrap()
}

struct Descent {
    weights: QueryKey,
    /// Mean of the heads before each step.
    losses: Vec<f64>,
    quality: Quality,
}

fn descend(fixture: &Fixture, lr: f64, steps: usize) -> Descent {
    let grid = Grid::square(8);
    let basis = Basis::new(layer_norm(&fixture.matrix("pos_embed"))).unwrap();
    assert_close("input", basis.input().values(), fixture.matrix("pseudo_input").values(), 1e-6);
    let start = stored(3, &fixture.matrices("Q0"), &fixture.matrices("K0"));
    let targets = targets(fixture, "offsets", grid);
    let losses = Mutex::new(vec![0.0; steps]);
    let add = |p: Progress| losses.lock().unwrap()[p.step] += p.loss / 3.0;
    let settings = Gradient { steps, lr, renormalize_every: 100, scale: None };
    let weights = settings.solve(&basis, &targets, &start, &add).unwrap();
    let quality = Quality::measure(&weights, basis.input(), &targets).unwrap();
    Descent { weights, losses: losses.into_inner().unwrap(), quality }
}

#[test]
fn the_gradient_solve_follows_the_reference_step_by_step() {
    let fixture = Fixture::open("init_impulse_gradient");
    for (run, lr, steps, tolerance) in [
        ("ref", 1e-4, 1, 1e-5),
        ("ref", 1e-4, 10, 1e-5),
        ("ref", 1e-4, 300, 1e-5),
        ("fast", 1e-2, 1, 1e-5),
        ("fast", 1e-2, 10, 2e-5),
    ] {
        let got = descend(&fixture, lr, steps);
        let matrices = |name: &str| fixture.matrices(&format!("{run}.{name}_{steps}"));
        let want = stored(3, &matrices("Q"), &matrices("K"));
        assert_close(run, got.weights.query().values(), want.query().values(), tolerance);
        assert_close(run, got.weights.key().values(), want.key().values(), tolerance);
    }
}

#[test]
fn the_gradient_solve_reaches_the_references_loss_and_mass() {
    let fixture = Fixture::open("init_impulse_gradient");
    for (run, lr, tolerance) in [("ref", 1e-4, 1e-5), ("fast", 1e-2, 0.02)] {
        let got = descend(&fixture, lr, 300);
        for (got, want) in got.losses.iter().zip(fixture.values(&format!("{run}.loss_curve"))) {
            assert!((got - want).abs() < tolerance * want, "{run}: {got}, want {want}");
        }
        let mass: Vec<f64> = got.quality.heads.iter().map(|head| head.mass).collect();
        assert_close(run, &mass, &fixture.values(&format!("{run}.mass_on_target_300")), 0.02 * mass[0]);
        if run == "fast" {
            assert_eq!(got.quality.hits(), 1.0);
        }
    }
}

#[test]
fn mimetic_weights_have_the_references_products() {
    let fixture = Fixture::open("init_mimetic");
    let weights = mimetic_query_key(Mixture::QUERY_KEY, &fixture.matrices("z_qk")).unwrap();
    for (head, want) in fixture.matrices("qk_product").iter().enumerate() {
        assert_close("product", weights.product(head).values(), want.values(), 1e-6);
    }
    let noise = fixture.matrix("z_v");
    let map = |storage| {
        let (value, proj) = mimetic_value_proj(Mixture::VALUE_PROJ, storage, &noise).unwrap();
        value.transposed_times(&proj.transposed())
    };
    let wanted = fixture.matrix("v_proj_map_transposed");
    assert_close("as meant", map(Storage::Transposed).values(), wanted.values(), 1e-6);
    let published = map(Storage::AsPublished);
    let sizes: Vec<f64> = published.values().iter().map(|v| v.abs()).collect();
    assert_close("as published", &sizes, &fixture.values("v_proj_map_untransposed_abs"), 1e-5);
    let diagonal: Vec<f64> = (0..48).map(|i| published.at(i, i)).collect();
    assert_close("its diagonal", &diagonal, &fixture.values("v_proj_map_untransposed_diag"), 1e-6);
}

#[test]
fn sines_and_cosines_are_timms_and_simplevits() {
    let fixture = Fixture::open("init_sincos_pe");
    for (case, grid, width) in [("a", Grid::square(8), 48), ("b", Grid { rows: 4, cols: 6 }, 32)] {
        for (kind, name) in [(SinCos::Timm, "timm"), (SinCos::SimpleVit, "simplevit")] {
            let got = kind.embedding(grid, width).unwrap();
            assert_close(name, got.values(), fixture.matrix(&format!("{case}.{name}")).values(), 1e-6);
        }
    }
}
