//! Batch normalisation as a layer, and the statistics that its running averages take in.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use dfdx::prelude::*;
use inductive_ops::{Activation, Affine, Backend, ChannelStatistics};

use crate::{Buffer, Build, Error, Fill, Layer, Module, Path, Result, Tokens, module};

/// Mean and variance of what each batch normalisation of a model saw in a training step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics<E> {
    /// One entry per layer, in the order of the forward pass.
    layers: Vec<LayerStatistics<E>>,
}

/// Of one layer.
#[derive(Clone, Debug, PartialEq)]
struct LayerStatistics<E> {
    layer: LayerId,
    batch: ChannelStatistics<E>,
}

/// By which a layer of batch normalisation is known among all of this process. A clone is the same layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerId(u64);

impl LayerId {
    /// One that no other layer has.
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A layer that keeps running averages of its batches.
pub trait RunningAverages<E> {
    /// Which layer it is.
    fn id(&self) -> LayerId;

    /// Its channels.
    fn channels(&self) -> usize;

    /// `running = (1 - share) running + share batch`.
    fn take_in(&mut self, batch: &ChannelStatistics<E>, share: f64);
}

impl<E: Dtype> BatchStatistics<E> {
    /// Share of the batch in the running averages, PyTorch's default `momentum`.
    pub const MOMENTUM: f64 = 0.1;

    /// Of each layer, in the order of the forward pass.
    pub fn layers(&self) -> impl Iterator<Item = &ChannelStatistics<E>> {
        self.layers.iter().map(|layer| &layer.batch)
    }

    /// `running = 0.9 running + 0.1 batch` for the running averages of each layer of `model`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `model` has other layers than those that the statistics are of; it then stays as it is.
    pub fn fold_into<D: Backend<E>, M: Module<E, D> + ?Sized>(&self, model: &mut M) -> Result<()> {
        let mut fold = Fold::new(self);
        model.layers(&mut Path::default(), &mut |_, layer| fold.look(layer));
        fold.check()?;
        model.layers_mut(&mut Path::default(), &mut |_, layer| fold.take_in(layer));
        Ok(())
    }
}

/// Statistics on their way into the layers that they are of.
struct Fold<'a, E> {
    batch: HashMap<LayerId, &'a ChannelStatistics<E>>,
    /// Statistics, layers of the model, and layers whose statistics are there.
    statistics: usize,
    layers: usize,
    found: usize,
}

impl<'a, E: Dtype> Fold<'a, E> {
    fn new(of: &'a BatchStatistics<E>) -> Self {
        let batch = of.layers.iter().map(|it| (it.layer, &it.batch)).collect();
        Self { batch, statistics: of.layers.len(), layers: 0, found: 0 }
    }

    fn look(&mut self, layer: &dyn Layer<E>) {
        let Some(running) = layer.running_averages() else { return };
        let fits = |batch: &&&ChannelStatistics<E>| {
            [&batch.mean, &batch.variance].map(Vec::len) == [running.channels(); 2]
        };
        self.layers += 1;
        self.found += usize::from(self.batch.get(&running.id()).filter(fits).is_some());
    }

    fn check(&self) -> Result<()> {
        let Self { batch, statistics, layers, found } = self;
        // Clones of one layer share its identity: whose statistics are whose cannot be told.
        if [*layers, *found, batch.len()] == [*statistics; 3] {
            return Ok(());
        }
        let expected = format!("statistics of the model's {layers} layers");
        Err(Error::shape(
            "batch_norm",
            expected,
            format!("those of {statistics}, {found} of which are the model's"),
        ))
    }

    fn take_in(&self, layer: &mut dyn Layer<E>) {
        if let Some(running) = layer.running_averages_mut()
            && let Some(batch) = self.batch.get(&running.id())
        {
            running.take_in(batch, BatchStatistics::<E>::MOMENTUM);
        }
    }
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
    /// `[C]`
    pub running_mean: Buffer<Rank1<C>, E, D>,
    /// `[C]`, of the unbiased variance.
    pub running_var: Buffer<Rank1<C>, E, D>,
    id: LayerId,
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
                Self::tensor("running_mean", |s| &s.running_mean.0, |s| &mut s.running_mean.0, mean),
                Self::tensor("running_var", |s| &s.running_var.0, |s| &mut s.running_var.0, var),
            ),
            |(weight, bias, mean, variance)| BatchNorm {
                weight,
                bias,
                running_mean: Buffer(mean),
                running_var: Buffer(variance),
                id: LayerId::next(),
            },
        )
    }
}

module!([const C: usize, const ZERO: bool] as Layer BatchNorm<C, E, D, ZERO> { weight, bias, running_mean, running_var });

impl<const C: usize, E: Dtype, D: Backend<E>, const ZERO: bool> Build<E, D> for BatchNorm<C, E, D, ZERO> {
    fn new(device: &D) -> Result<Self> {
        let fill = |fill: Fill| fill.tensor(device, (Const,));
        Ok(Self {
            weight: fill(if ZERO { Fill::ZEROS } else { Fill::ONES })?,
            bias: fill(Fill::ZEROS)?,
            running_mean: Buffer(fill(Fill::ZEROS)?),
            running_var: Buffer(fill(Fill::ONES)?),
            id: LayerId::next(),
        })
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>, const ZERO: bool> Layer<E> for BatchNorm<C, E, D, ZERO> {
    fn running_averages(&self) -> Option<&dyn RunningAverages<E>> {
        Some(self)
    }

    fn running_averages_mut(&mut self) -> Option<&mut dyn RunningAverages<E>> {
        Some(self)
    }
}

impl<const C: usize, E: Dtype, D: Backend<E>, const ZERO: bool> RunningAverages<E>
    for BatchNorm<C, E, D, ZERO>
{
    fn id(&self) -> LayerId {
        self.id
    }

    fn channels(&self) -> usize {
        C
    }

    fn take_in(&mut self, batch: &ChannelStatistics<E>, share: f64) {
        let [keep, share] = [1.0 - share, share].map(|v| E::from_f64(v).unwrap_or_default());
        let averages = [(&mut self.running_mean.0, &batch.mean), (&mut self.running_var.0, &batch.variance)];
        for (running, batch) in averages {
            let moved = running
                .as_vec()
                .iter()
                .zip(batch)
                .map(|(running, batch)| *running * keep + *batch * share)
                .collect::<Vec<_>>();
            running.copy_from(&moved);
        }
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
            return Ok(device.batch_norm(x, &self.running_mean.0, &self.running_var.0, Self::EPS, affine)?);
        };
        let (y, batch) = device.batch_norm_train(x, Self::EPS, affine)?;
        statistics.layers.push(LayerStatistics { layer: self.id, batch });
        Ok(y)
    }

    /// `norm(x)` for a record, which changes nothing: `[batch, tokens, C]`, by the statistics of the batch if `of_batch`.
    pub fn values<T: Tape<E, D>>(&self, x: &Tokens<C, E, D, T>, of_batch: bool) -> Result<Vec<E>> {
        let mut scratch = of_batch.then(BatchStatistics::default);
        let x = x.retaped::<NoneTape>();
        Ok(self.apply(x, None, Activation::None, scratch.as_mut())?.as_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModuleExt;

    type Layer = BatchNorm<2, f32, Cpu>;

    fn layer() -> Layer {
        Layer::new(&Cpu::default()).unwrap()
    }

    /// Statistics of these layers, each of another mean.
    fn statistics(layers: &[&Layer]) -> BatchStatistics<f32> {
        let of = |(index, layer): (usize, &&Layer)| LayerStatistics {
            layer: layer.id,
            batch: ChannelStatistics {
                mean: vec![10.0 * (index + 1) as f32, 20.0],
                variance: vec![3.0, 5.0],
            },
        };
        BatchStatistics { layers: layers.iter().enumerate().map(of).collect() }
    }

    #[test]
    fn running_averages_move_a_tenth_of_the_way_and_are_not_trainable() {
        let mut layers = vec![layer(), layer()];
        // In another order than that of the list: they are told apart by themselves.
        statistics(&[&layers[1], &layers[0]]).fold_into(&mut layers).unwrap();
        let close = |got: &Buffer<Rank1<2>, f32, Cpu>, want: [f32; 2]| {
            got.0.as_vec().iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6)
        };
        assert!(close(&layers[0].running_mean, [2.0, 2.0]) && close(&layers[1].running_mean, [1.0, 2.0]));
        assert!(close(&layers[0].running_var, [1.2, 1.4]) && close(&layers[1].running_var, [1.2, 1.4]));
        assert_eq!(layers.num_params(), 8, "weights and biases");
    }

    #[test]
    fn statistics_of_another_model_are_refused_and_change_nothing() {
        let mut layers = vec![layer(), layer()];
        let stranger = layer();
        let mut wide = statistics(&[&layers[0], &layers[1]]);
        wide.layers[1].batch.variance.push(1.0);
        let twice = statistics(&[&layers[0], &layers[0]]);
        for other in [statistics(&[&layers[0], &stranger]), wide, twice] {
            let error = other.fold_into(&mut layers).unwrap_err().to_string();
            assert!(error.contains("the model's 2 layers"), "{error}");
        }
        assert_eq!(layers[0].running_mean.0.as_vec(), [0.0; 2]);
        let mut clones = vec![layers[0].clone(), layers[0].clone()];
        let both = statistics(&[&clones[0], &clones[1]]);
        assert!(both.fold_into(&mut clones).is_err(), "one layer twice");
    }

    #[test]
    fn a_batch_is_normalised_by_itself_in_training_and_by_running_averages_in_inference() {
        let layer = layer();
        let x = || Cpu::default().tensor_from_vec(vec![1.0, 2.0, 3.0, 6.0], (2, 1, Const::<2>));
        let mut statistics = BatchStatistics::default();
        let train = layer.apply(x(), None, Activation::None, Some(&mut statistics)).unwrap().as_vec();
        assert!(train.iter().zip([-1.0, -1.0, 1.0, 1.0]).all(|(y, want)| (y - want).abs() < 1e-5));
        let want = ChannelStatistics { mean: vec![2.0, 4.0], variance: vec![2.0, 8.0] };
        assert_eq!(statistics.layers().collect::<Vec<_>>(), [&want]);
        let eval = layer.apply(x(), None, Activation::None, None).unwrap().as_vec();
        assert!(eval.iter().zip([1.0, 2.0, 3.0, 6.0]).all(|(y, want)| (y - want).abs() < 1e-4));
    }
}
