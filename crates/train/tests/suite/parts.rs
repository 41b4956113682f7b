//! A run from parts of one's own, through the public API alone: model, data, transforms, schedule, hook, measure.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::common::{assert_same_run, tensors, tiny_recipe, values};
use dfdx::prelude::Cpu;
use inductive_data::{DatasetInfo, Image, ImageSet, SampleRng, Split, Transform, rand::Rng};
use inductive_models::{Attention, Classifier, Family, Model, ModelSpec, families};
use inductive_nn::ModuleExt;
use inductive_schedule::{Clock, Schedule};
use inductive_train::{
    Error, Gauge, Hook, HookState, Learner, Metrics, Now, Outcome, Progress, Recipe, Result, Run, SaveEvery,
    Silent, StepInfo, StepReport, TrainOptions,
};

/// Half of it in the second half of the run.
#[derive(Debug)]
struct Halves(f64);

impl Schedule for Halves {
    fn value(&self, fraction: f64) -> f64 {
        if fraction < 0.5 { self.0 } else { self.0 / 2.0 }
    }
}

/// Remembers the losses since the start and the head's bias before each update, and holds the bias where it was for four updates.
#[derive(Default)]
struct Memory {
    losses: Vec<f32>,
    bias: Vec<f32>,
}

impl Hook<Cpu> for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn before_step(&mut self, learner: &mut Learner<Cpu>, at: &mut Now<'_>) -> Result<()> {
        if at.step.is_multiple_of(4) {
            self.bias = values(learner.model())["head.bias"].clone();
        }
        let bias = self.bias.clone();
        learner.model_mut().for_each_parameter_mut(&mut |p| {
            if p.name() == "head.bias" { p.copy_from(&bias) } else { Ok(()) }
        })?;
        Ok(())
    }

    fn after_step(&mut self, _: &mut Learner<Cpu>, report: &StepReport, at: &mut Now<'_>) -> Result<()> {
        self.losses.push(report.loss as f32);
        assert_eq!(self.losses.len() as u64, at.step, "every update is seen once");
        Ok(())
    }

    fn after_evaluation(
        &mut self,
        _: &mut Learner<Cpu>,
        metrics: &mut Metrics,
        at: &mut Now<'_>,
    ) -> Result<()> {
        assert!(metrics.measures.contains_key("norm"), "measures come first");
        assert_eq!(metrics.step, at.step);
        metrics.measures.insert("losses".to_owned(), self.losses.iter().map(|loss| f64::from(*loss)).sum());
        metrics.measures.insert("undefined".to_owned(), f64::NAN);
        Ok(())
    }

    fn state(&self) -> Result<HookState> {
        let tensors = [("losses", &self.losses), ("bias", &self.bias)];
        let tensors = tensors.map(|(name, values)| (name.to_owned(), values.clone())).into();
        Ok(HookState { text: format!("{} losses", self.losses.len()), tensors })
    }

    fn restore(&mut self, mut state: HookState, _: &mut Learner<Cpu>) -> Result<()> {
        let mut take = |name: &str| {
            state.tensors.remove(name).ok_or_else(|| Error::part("memory", format!("no {name}")))
        };
        (self.losses, self.bias) = (take("losses")?, take("bias")?);
        assert_eq!(state.text, format!("{} losses", self.losses.len()));
        Ok(())
    }
}

/// The norm of a parameter.
struct Norm(&'static str);

impl Gauge<Cpu> for Norm {
    fn name(&self) -> &str {
        "norm"
    }

    fn measure(&mut self, learner: &Learner<Cpu>, _: &mut Now<'_>) -> Result<f64> {
        Ok(norm(&values(learner.model())[self.0]))
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Asks to stop after so many updates.
struct StopAfter(u64, Arc<AtomicBool>);

impl Progress for StopAfter {
    fn step(&mut self, step: &StepInfo) {
        if step.step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

fn go(run: Run<Cpu>, folder: &Path) -> Result<Outcome> {
    run.train(&Cpu::default(), folder, &TrainOptions::default(), &mut Silent)
}

fn until(run: Run<Cpu>, folder: &Path, step: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let options = TrainOptions { stop: Some(stop.clone()), save_every: SaveEvery::Never };
    let outcome = run.train(&Cpu::default(), folder, &options, &mut StopAfter(step, stop)).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
}

fn lines(outcome: Outcome) -> Vec<Metrics> {
    match outcome {
        Outcome::Finished(result) => result.metrics.iter().map(Metrics::without_timing).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_with_own_parts_goes_on_bit_by_bit() {
    let run = || {
        let run = Run::new(tiny_recipe()).schedule(Clock::Fraction, Halves(2e-3));
        run.hook(Memory::default()).measure(Norm("head.bias"))
    };
    let dir = tempfile::tempdir().unwrap();
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    let metrics = lines(go(run(), &whole).unwrap());
    assert_eq!(metrics.iter().map(|line| line.lr).collect::<Vec<_>>(), [2e-3, 1e-3], "the own schedule's");
    // Between evaluations, and in the middle of what the hook holds; and again.
    until(run(), &stopped, 5);
    until(run(), &stopped, 10);
    assert_eq!(lines(go(run(), &stopped).unwrap()), metrics);
    assert_same_run(&whole, &stopped);

    let last = tensors(whole.join("last.safetensors"));
    let (_, bytes) = last.iter().find(|(name, _)| name == "head.bias").unwrap();
    let bias: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(metrics[1].measures["norm"], norm(&bias));
    assert!(metrics[1].measures["losses"] > metrics[0].measures["losses"]);
    let text = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    assert!(text.lines().all(|line| line.contains("\"measures\":{\"losses\":")), "{text}");
    let state = tensors(whole.join("state.safetensors"));
    assert!(state.iter().any(|(name, bytes)| name == "hook/memory/losses" && bytes.len() == 4 * 12));

    // Without a hook, or with another schedule, it is another run.
    let error = go(Run::new(tiny_recipe()), &stopped).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("`own hooks` is memory there and not set here") && text.contains("Halves(0.002)"),
        "{text}"
    );
    assert!(inductive_train::finished(&tiny_recipe(), &stopped).is_err());
}

/// Grey images of three classes, 8 x 12 pixels, which have no name that could be loaded.
fn grey() -> Split {
    let class_names = ["dark", "grey", "light"].map(str::to_owned).into();
    let info = DatasetInfo {
        spec: "greys".to_owned(),
        height: 8,
        width: 12,
        class_names,
        mean: [0.5; 3],
        std: [0.25; 3],
    };
    let labels: Vec<u32> = (0..24).map(|index| index % 3).collect();
    let pixels = labels.iter().flat_map(|label| vec![40 + 80 * *label as u8; 3 * 8 * 12]).collect();
    let set = Arc::new(ImageSet::new(info, pixels, labels).unwrap());
    Split { train: set.clone(), test: set, notices: Vec::new() }
}

/// Adds a random grey.
#[derive(Debug)]
struct Brighten(u8);

impl Transform for Brighten {
    fn apply(&self, image: &mut Image<'_>, rng: &mut SampleRng) {
        let by = rng.gen_range(0..=self.0);
        image.pixels_mut().iter_mut().for_each(|pixel| *pixel = pixel.saturating_add(by));
    }
}

fn narrow(classes: usize) -> Box<dyn Model<f32, Cpu>> {
    let attention = Attention { heads: 2, mlp_ratio: 2.0, qkv_bias: true, ..Attention::default() };
    let spec = ModelSpec {
        name: "narrow".to_owned(),
        image: (8, 12),
        patch: 4,
        embed_dim: 16,
        depth: 2,
        classes,
        family: Family::Vit(attention),
    };
    let device = Cpu::seed_from_u64(3);
    let trunk = families::vit::<16, 2, 32, 4, f32, Cpu>(&device, &spec).unwrap();
    Box::new(Classifier::new(&device, trunk, classes, spec).unwrap())
}

#[test]
fn a_model_and_data_without_names_are_trained_and_gone_on_with() {
    let run = |by: u8| {
        let recipe = Recipe { batch_size: 4, lr: Some(1e-2), label_smoothing: 0.0, ..tiny_recipe() };
        let brighten: Arc<dyn Transform> = Arc::new(Brighten(by));
        Run::new(recipe).model(narrow(3)).data(grey()).transforms([brighten])
    };
    let dir = tempfile::tempdir().unwrap();
    let [whole, stopped, other] = ["whole", "stopped", "other"].map(|name| dir.path().join(name));
    let metrics = lines(go(run(20), &whole).unwrap());
    assert!(metrics[1].train_loss < metrics[0].train_loss, "{metrics:?}");
    until(run(20), &stopped, 7);
    assert_eq!(lines(go(run(20), &stopped).unwrap()), metrics);
    assert_same_run(&whole, &stopped);
    assert_ne!(lines(go(run(0), &other).unwrap()), metrics, "the transform makes a difference");
    let error = go(run(21), &other).unwrap_err().to_string();
    assert!(error.contains("`own transforms` is [Brighten(0)] there and [Brighten(21)] here"), "{error}");
    let recipe = std::fs::read_to_string(whole.join("recipe.toml")).unwrap();
    assert!(recipe.contains("model = \"narrow\"") && recipe.contains("data = \"greys\""), "{recipe}");
}

#[test]
fn parts_that_cannot_be_are_refused_and_leave_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let refused = |run: Run<Cpu>, says: &str| {
        let error = go(run, &folder).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!folder.exists(), "{says}");
    };
    let new = || Run::new(tiny_recipe());
    struct Named(&'static str);
    impl Hook<Cpu> for Named {
        fn name(&self) -> &str {
            self.0
        }
    }
    refused(new().hook(Named("a")).hook(Named("a")), "`a` is there twice");
    refused(new().hook(Named("switching")), "`switching` is there twice");
    refused(new().hook(Named("a/b")), "`a/b`: a name has letters");
    refused(new().measure(Norm("x")).measure(Norm("y")), "`norm` is there twice");
    refused(new().model(narrow(3)), "narrow takes images of 8x12");
    refused(new().model(narrow(4)).data(grey()), "narrow has 4 classes, the data have 3");
    #[derive(Debug)]
    struct Broken;
    impl Schedule for Broken {
        fn value(&self, _: f64) -> f64 {
            f64::NAN
        }
    }
    let error = go(new().schedule(Clock::Epoch, Broken), &folder).unwrap_err().to_string();
    assert!(error.contains("the learning rate of update 0 is NaN"), "{error}");
}
