//! Batch normalisation as a layer, and the statistics that its running averages take in.

use dfdx::prelude::*;
use inductive_attention::Tokens;
use inductive_ops::{Activation, Affine, Backend, ChannelStatistics, Error, Parameters, Result};

/// Mean and variance of what each batch normalisation of a model saw in a training step, in the order of the forward
/// pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics<E> {
    /// One entry per layer.
    pub layers: Vec<ChannelStatistics<E>>,
}

impl<E: Dtype> BatchStatistics<E> {
    /// Share of the batch in the running averages, PyTorch's default `momentum`.
    pub const MOMENTUM: f64 = 0.1;

    /// `running = 0.9 running + 0.1 batch` for each `running_mean` and `running_var` of `model`.
    ///
    /// The layers are told apart by their order alone: a model visits its batch normalisations in the order in which its
    /// forward pass uses them.
    ///
    /// # Errors
    /// [`Error::Shape`] if number or widths of the layers are not the model's, which then stays as it is.
    pub fn fold_into<D: Backend<E>, M: Parameters<E, D> + ?Sized>(&self, model: &mut M) -> Result<()> {
        let mut lengths = Vec::new();
        model.for_each_parameter(&mut |p| {
            lengths.extend(is_running(p.name()).then(|| p.numel()));
            Ok(())
        })?;
        let batch: Vec<&[E]> =
            self.layers.iter().flat_map(|layer| [&layer.mean[..], &layer.variance]).collect();
        if !batch.iter().map(|values| values.len()).eq(lengths.iter().copied()) {
            let got: Vec<usize> = batch.iter().map(|values| values.len()).collect();
            return Err(Error::shape("batch_norm", format!("statistics of widths {lengths:?}"), got));
        }
        let [keep, share] =
            [1.0 - Self::MOMENTUM, Self::MOMENTUM].map(|v| E::from_f64(v).unwrap_or_default());
        let mut batch = batch.into_iter();
        model.for_each_parameter_mut(&mut |p| {
            let Some(batch) = is_running(p.name()).then(|| batch.next()).flatten() else { return Ok(()) };
            let running: Vec<E> = p
                .to_vec()
                .iter()
                .zip(batch)
                .map(|(running, batch)| *running * keep + *batch * share)
                .collect();
            p.copy_from(&running)
        })
    }
}

fn is_running(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("running_mean" | "running_var"))
}

/// Each channel scaled to mean 0 and variance 1 over all tokens of the batch in training, by running averages of these
/// statistics in inference; then weight and bias.
///
/// `ZERO`: the weight begins at 0 instead of 1, so that a residual branch ending here begins as nothing.
/// timm equivalent: `torch.nn.BatchNorm2d(C)` with its eps 1e-5 and momentum 0.1; `num_batches_tracked`, which only a
/// momentum of `None` uses, is not kept.
#[derive(Clone, Debug)]
pub struct BatchNorm<const C: usize, E: Dtype, D: Device<E>, const ZERO: bool = false> {
    /// `[C]`
    pub weight: Tensor<Rank1<C>, E, D>,
    /// `[C]`
    pub bias: Tensor<Rank1<C>, E, D>,
    /// `[C]`, not trainable.
    pub running_mean: Tensor<Rank1<C>, E, D>,
    /// `[C]`, not trainable: of the unbiased variance.
    pub running_var: Tensor<Rank1<C>, E, D>,
}

impl<const C: usize, E: Dtype, D: Device<E>, const ZERO: bool> BatchNorm<C, E, D, ZERO> {
    /// Added to the variance.
    pub const EPS: f64 = 1e-5;
}

impl<const C: usize, E: Dtype, D: Device<E>, const ZERO: bool> TensorCollection<E, D>
    for BatchNorm<C, E, D, ZERO>
{
    type To<E2: Dtype, D2: Device<E2>> = BatchNorm<C, E2, D2, ZERO>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> std::result::Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let weight = if ZERO { TensorOptions::reset_to_zeros() } else { TensorOptions::reset_to_ones() };
        let mean = TensorOptions::detached(|t| t.try_fill_with_zeros());
        let var = TensorOptions::detached(|t| t.try_fill_with_ones());
        visitor.visit_fields(
            (
                Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, weight),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_to_zeros()),
                Self::tensor("running_mean", |s| &s.running_mean, |s| &mut s.running_mean, mean),
                Self::tensor("running_var", |s| &s.running_var, |s| &mut s.running_var, var),
            ),
            |(weight, bias, running_mean, running_var)| BatchNorm { weight, bias, running_mean, running_var },
        )
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>, const ZERO: bool> BatchNorm<C, E, D, ZERO> {
    /// `then(norm(x) + residual)`; x and residual: `[batch, tokens, C]`.
    ///
    /// With `statistics` it normalises by those of the batch and adds them there, else by the running ones. The residual
    /// receives its gradient by identity: its tape has to be part of that of x.
    pub fn apply<T: Tape<E, D>>(
        &self,
        x: Tokens<C, E, D, T>,
        residual: Option<&Tokens<C, E, D>>,
        then: Activation,
        statistics: Option<&mut BatchStatistics<E>>,
    ) -> Result<Tokens<C, E, D, T>> {
        let device = x.device().clone();
        let affine = Affine { weight: &self.weight, bias: &self.bias, residual, then };
        let Some(statistics) = statistics else {
            return device.batch_norm(x, &self.running_mean, &self.running_var, Self::EPS, affine);
        };
        let (y, layer) = device.batch_norm_train(x, Self::EPS, affine)?;
        statistics.layers.push(layer);
        Ok(y)
    }

    /// `norm(x)` for a record, which changes nothing: `[batch, tokens, C]`, by the statistics of the batch if `of_batch`.
    pub(crate) fn values<T: Tape<E, D>>(&self, x: &Tokens<C, E, D, T>, of_batch: bool) -> Result<Vec<E>> {
        let mut scratch = of_batch.then(BatchStatistics::default);
        let x = x.retaped::<NoneTape>();
        Ok(self.apply(x, None, Activation::None, scratch.as_mut())?.as_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Layer = BatchNorm<2, f32, Cpu>;

    fn statistics(layers: &[[f32; 2]]) -> BatchStatistics<f32> {
        let layer = |mean: &[f32; 2]| ChannelStatistics { mean: mean.to_vec(), variance: vec![3.0, 5.0] };
        BatchStatistics { layers: layers.iter().map(layer).collect() }
    }

    #[test]
    fn running_averages_move_a_tenth_of_the_way_and_are_not_trainable() {
        let mut layers: (Layer, Layer) = BuildModule::build(&Cpu::default());
        statistics(&[[10.0, 20.0], [30.0, 40.0]]).fold_into(&mut layers).unwrap();
        let close = |got: &Tensor<Rank1<2>, f32, Cpu>, want: [f32; 2]| {
            got.as_vec().iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6)
        };
        assert!(close(&layers.0.running_mean, [1.0, 2.0]) && close(&layers.1.running_mean, [3.0, 4.0]));
        assert!(close(&layers.0.running_var, [1.2, 1.4]) && close(&layers.1.running_var, [1.2, 1.4]));
        assert_eq!(layers.num_params(), 8, "weights and biases");
    }

    #[test]
    fn statistics_of_another_model_are_refused_and_change_nothing() {
        let mut layers: (Layer, Layer) = BuildModule::build(&Cpu::default());
        let mut wide = statistics(&[[1.0; 2]; 2]);
        wide.layers[1].variance.push(1.0);
        for other in [statistics(&[[1.0; 2]]), statistics(&[[1.0; 2]; 3]), wide] {
            let error = other.fold_into(&mut layers).unwrap_err().to_string();
            assert!(error.contains("widths [2, 2, 2, 2]"), "{error}");
        }
        assert_eq!(layers.0.running_mean.as_vec(), [0.0; 2]);
    }

    #[test]
    fn a_batch_is_normalised_by_itself_in_training_and_by_running_averages_in_inference() {
        let layer: Layer = BuildModule::build(&Cpu::default());
        let x = || Cpu::default().tensor_from_vec(vec![1.0, 2.0, 3.0, 6.0], (2, 1, Const::<2>));
        let mut statistics = BatchStatistics::default();
        let train = layer.apply(x(), None, Activation::None, Some(&mut statistics)).unwrap().as_vec();
        assert!(train.iter().zip([-1.0, -1.0, 1.0, 1.0]).all(|(y, want)| (y - want).abs() < 1e-5));
        let want = ChannelStatistics { mean: vec![2.0, 4.0], variance: vec![2.0, 8.0] };
        assert_eq!(statistics.layers, [want]);
        let eval = layer.apply(x(), None, Activation::None, None).unwrap().as_vec();
        assert!(eval.iter().zip([1.0, 2.0, 3.0, 6.0]).all(|(y, want)| (y - want).abs() < 1e-4));
    }
}
