//! Something beside the updates whose state survives a stop, and a number for `metrics.jsonl`.

use inductive_models::Zoo;
use inductive_nn::ModuleExt;
use inductive_train::{Gauge, Hook, HookState, Learner, Metrics, Now, Result, StepReport};

/// Averages the training loss over all updates since the start.
#[derive(Default)]
pub struct MeanLoss {
    losses: Vec<f32>,
}

impl<D: Zoo> Hook<D> for MeanLoss {
    fn name(&self) -> &str {
        "mean-loss"
    }

    fn after_step(&mut self, _: &mut Learner<D>, report: &StepReport, _: &mut Now<'_>) -> Result<()> {
        self.losses.push(report.loss as f32);
        Ok(())
    }

    fn after_evaluation(&mut self, _: &mut Learner<D>, metrics: &mut Metrics, _: &mut Now<'_>) -> Result<()> {
        let mean = self.losses.iter().sum::<f32>() / self.losses.len() as f32;
        metrics.measures.insert("mean-loss".to_owned(), mean.into());
        Ok(())
    }

    fn state(&self) -> Result<HookState> {
        let tensors = [("losses".to_owned(), self.losses.clone())].into();
        Ok(HookState { tensors, ..HookState::default() })
    }

    fn restore(&mut self, mut state: HookState, _: &mut Learner<D>) -> Result<()> {
        self.losses = state.tensors.remove("losses").unwrap_or_default();
        Ok(())
    }
}

/// The largest weight of the model.
pub struct LargestWeight;

impl<D: Zoo> Gauge<D> for LargestWeight {
    fn name(&self) -> &str {
        "largest-weight"
    }

    fn measure(&mut self, learner: &Learner<D>, _: &mut Now<'_>) -> Result<f64> {
        let mut largest = 0.0;
        learner.model().for_each_parameter(&mut |p| {
            largest = p.to_vec().iter().fold(largest, |most, weight| weight.abs().max(most));
            Ok(())
        })?;
        Ok(largest.into())
    }
}
