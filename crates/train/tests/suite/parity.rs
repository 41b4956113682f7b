//! Optimizer, average and loss against torch and timm (tests/fixtures; values after each of five steps).

use dfdx::prelude::*;
use inductive_checkpoint::TensorFile;
use inductive_nn::{Module, ModuleExt, module};
use inductive_ops::Backend;
use inductive_schedule::EmaDecay;
use inductive_train::{AdamW, AdamWConfig, Ema, clip_coefficient, decays, global_norm, smooth_targets};

/// The three parameters of the fixture.
struct Three<E: Dtype, D: Device<E>> {
    w: Tensor<Rank2<4, 5>, E, D>,
    b: Tensor<Rank1<7>, E, D>,
    k: Tensor<Rank3<2, 3, 3>, E, D>,
}

module!([] Three<E, D> { w, b, k });

fn fixture(name: &str) -> TensorFile {
    TensorFile::open(format!("{}/tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

struct Reference {
    file: TensorFile,
}

const NAMES: [&str; 3] = ["w", "b", "k"];

impl Reference {
    fn new() -> Self {
        Self { file: fixture("optim_adamw") }
    }

    /// Row `step` of a stacked tensor.
    fn row(&self, name: &str, step: usize) -> Vec<f32> {
        let values = self.file.values::<f32>(name).unwrap();
        let size = values.len() / 5;
        values[step * size..][..size].to_vec()
    }

    fn start(&self, device: &Cpu) -> Three<f32, Cpu> {
        let mut start = Three { w: device.zeros(), b: device.zeros(), k: device.zeros() };
        start.w.copy_from(&self.file.values::<f32>("param0.w").unwrap());
        start.b.copy_from(&self.file.values::<f32>("param0.b").unwrap());
        start.k.copy_from(&self.file.values::<f32>("param0.k").unwrap());
        start
    }

    /// The gradients of step `step`, as a backward pass leaves them.
    fn gradients(&self, model: &Three<f32, Cpu>, step: usize) -> Gradients<f32, Cpu> {
        self.gradients_of_steps(model, [step; 3])
    }

    /// The gradients of a step for each parameter.
    fn gradients_of_steps(&self, model: &Three<f32, Cpu>, steps: [usize; 3]) -> Gradients<f32, Cpu> {
        fn term<S>(
            p: &Tensor<S, f32, Cpu>,
            gradient: Vec<f32>,
        ) -> Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>
        where
            S: ConstShape + ReduceShape<S::AllAxes, Reduced = Rank0>,
        {
            let gradient = p.device().tensor_from_vec(gradient, *p.shape());
            (p.leaky_trace() * gradient).sum::<Rank0, _>()
        }
        let of = |which: usize| self.row(&format!("grads.{}", NAMES[which]), steps[which]);
        (term(&model.w, of(0)) + term(&model.b, of(1)) + term(&model.k, of(2))).backward()
    }

    fn check(&self, model: &dyn Module<f32, Cpu>, run: &str, step: usize) {
        model
            .for_each_parameter(&mut |p| {
                let want = self.row(&format!("{run}.{}", p.name()), step);
                assert_close(&p.to_vec(), &want, 1e-6, &format!("{run}.{} step {step}", p.name()));
                Ok(())
            })
            .unwrap();
    }
}

fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: {g}, expected {w}");
    }
}

fn run(run: &str, config: AdamWConfig, groups: fn(&str, &[usize]) -> bool) {
    let (reference, device) = (Reference::new(), Cpu::default());
    let mut model = reference.start(&device);
    let mut optimizer = AdamW::new(&device, &model, config, groups, |_| false).unwrap();
    for step in 0..5 {
        let mut gradients = reference.gradients(&model, step);
        assert_eq!(optimizer.update(&mut model, &mut gradients, 1e-3).unwrap(), None);
        reference.check(&model, run, step);
    }
}

#[test]
fn adamw_is_torch_s() {
    run("adamw", AdamWConfig::default(), |_, _| true);
    run("adamw_eps1e3", AdamWConfig { eps: 1e-3, weight_decay: 0.01, ..Default::default() }, |_, _| true);
}

#[test]
fn a_parameter_that_wakes_after_two_updates_learns_as_in_a_new_optimizer() {
    const LATE: usize = 2;
    let (reference, device) = (Reference::new(), Cpu::default());
    let mut model = reference.start(&device);
    let config = AdamWConfig { clip_grad: Some(1e9), ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(&device, &model, config, |_, _| true, |_| false).unwrap();
    optimizer.set_idle(&device, &["w".to_owned()].into()).unwrap();
    for step in 0..5 {
        if step == LATE {
            optimizer.set_idle(&device, &Default::default()).unwrap();
        }
        let mut gradients = reference.gradients_of_steps(&model, [step.saturating_sub(LATE), step, step]);
        let all = global_norm(&mut model, &mut gradients, |_| true).unwrap();
        let norm = optimizer.update(&mut model, &mut gradients, 1e-3).unwrap().unwrap();
        assert_eq!(norm == all, step >= LATE, "what is idle does not count in clipping");
        for name in ["b", "k"] {
            let got = if name == "b" { model.b.as_vec() } else { model.k.as_vec() };
            assert_close(&got, &reference.row(&format!("adamw.{name}"), step), 1e-6, name);
        }
        match step.checked_sub(LATE) {
            // no update, and no weight decay
            None => assert_eq!(model.w.as_vec(), reference.file.values::<f32>("param0.w").unwrap()),
            Some(step) => assert_close(&model.w.as_vec(), &reference.row("adamw.w", step), 1e-6, "w"),
        }
    }
}

#[test]
fn parameters_of_one_dimension_are_not_decayed() {
    run("adamw_nodecay_1d", AdamWConfig::default(), decays);
}

#[test]
fn the_average_is_timm_s() {
    let (reference, device) = (Reference::new(), Cpu::default());
    let mut model = reference.start(&device);
    let mut optimizer = AdamW::new(&device, &model, AdamWConfig::default(), |_, _| true, |_| false).unwrap();
    let mut ema = Ema::new(&device, &model, EmaDecay::constant(0.99)).unwrap();
    for step in 0..5 {
        let mut gradients = reference.gradients(&model, step);
        optimizer.update(&mut model, &mut gradients, 1e-3).unwrap();
        ema.update(&mut model, step as u64).unwrap();
        let own = model.w.as_vec();
        ema.with(&mut model, |model| {
            reference.check(model, "ema_v2", step);
            reference.check(model, "ema_v3", step);
            Ok(())
        })
        .unwrap();
        assert_eq!(model.w.as_vec(), own, "the model has its own weights back");
    }
}

#[test]
fn clipping_is_by_torch_s_global_norm() {
    let (reference, device) = (Reference::new(), Cpu::default());
    let totals = reference.file.values::<f32>("clip1.total_norm").unwrap();
    let coefficients = reference.file.values::<f32>("clip1.coefficient").unwrap();
    for step in 0..5 {
        let mut model = reference.start(&device);
        let mut gradients = reference.gradients(&model, step);
        let norm = global_norm(&mut model, &mut gradients, |_| true).unwrap();
        let coefficient = clip_coefficient(1.0, norm);
        assert_close(&[norm as f32, coefficient as f32], &[totals[step], coefficients[step]], 1e-6, "norm");
        for name in NAMES {
            let clipped = reference
                .row(&format!("grads.{name}"), step)
                .iter()
                .map(|g| g * coefficient as f32)
                .collect::<Vec<_>>();
            assert_close(&clipped, &reference.row(&format!("clip1.{name}"), step), 1e-6, name);
        }

        // What the optimizer does with `clip_grad` is what it does with gradients that were clipped before.
        let config = AdamWConfig { clip_grad: Some(1.0), weight_decay: 0.0, eps: 1e-2, ..Default::default() };
        let mut optimizer = AdamW::new(&device, &model, config, decays, |_| false).unwrap();
        let start = model.w.as_vec();
        assert_eq!(optimizer.update(&mut model, &mut gradients, 1e-3).unwrap(), Some(norm));
        // The first update is lr g / (|g| + eps).
        let want: Vec<f32> = reference
            .row("clip1.w", step)
            .iter()
            .zip(&start)
            .map(|(g, p)| p - 1e-3 * g / (g.abs() + 1e-2))
            .collect();
        assert_close(&model.w.as_vec(), &want, 1e-6, "clipped update");
    }
}

/// The loss and its gradient with respect to the logits of the fixture.
fn loss(targets: Vec<f32>) -> (f32, Vec<f32>) {
    let device = Cpu::default();
    let logits = device.tensor_from_vec(fixture("loss").values::<f32>("logits").unwrap(), (6, 10));
    let targets = device.tensor_from_vec(targets, (6, 10));
    let loss = device.cross_entropy(logits.leaky_trace(), &targets).unwrap();
    let value = loss.as_vec()[0];
    (value, loss.backward().get(&logits).as_vec())
}

fn labels() -> Vec<u32> {
    let file = fixture("loss");
    let labels = file.entry("labels").unwrap().bytes.as_chunks().0;
    labels.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect()
}

#[test]
fn smoothed_cross_entropy_is_timm_s() {
    let file = fixture("loss");
    for (name, smoothing) in [("smooth_ce_0.0", 0.0), ("smooth_ce_0.1", 0.1), ("smooth_ce_0.3", 0.3)] {
        let (value, gradient) = loss(smooth_targets(&labels(), 10, smoothing));
        assert_close(&[value], &file.values::<f32>(name).unwrap(), 1e-5, name);
        assert_close(&gradient, &file.values::<f32>(&format!("{name}.grad")).unwrap(), 1e-5, name);
    }
}

#[test]
fn soft_cross_entropy_is_timm_s() {
    let file = fixture("loss");
    let (value, gradient) = loss(file.values("soft_targets_lam0.3_smooth0.1").unwrap());
    assert_close(&[value], &file.values::<f32>("soft_ce").unwrap(), 1e-5, "soft_ce");
    assert_close(&gradient, &file.values::<f32>("soft_ce.grad").unwrap(), 1e-5, "soft_ce.grad");
    assert_eq!(smooth_targets(&labels(), 10, 0.0), file.values::<f32>("soft_targets_lam1_smooth0").unwrap());
}
