//! The layer against reference numbers, and against the convolution that it was.

use dfdx::prelude::*;
use inductive_ops::Grid;

use super::*;
use crate::{Result, Tokens};

/// `[batch, tokens, C]` with all sorts of numbers.
fn tokens<const C: usize, E: Dtype>(dev: &Cpu, batch: usize, count: usize) -> Tokens<C, E, Cpu>
where
    Cpu: Device<E>,
{
    let value = |n: usize| E::from_f64((0.7 * n as f64).sin() + (0.13 * n as f64).cos()).unwrap();
    dev.tensor_from_vec((0..batch * count * C).map(value).collect(), (batch, count, Const))
}

fn fill<S: Shape, E: Dtype>(tensor: &mut Tensor<S, E, Cpu>, scale: f64)
where
    Cpu: Device<E>,
{
    let count = tensor.shape().num_elements();
    let value = |n: usize| E::from_f64(scale * (1.3 * n as f64 + 0.5).sin()).unwrap();
    tensor.copy_from(&(0..count).map(value).collect::<Vec<_>>());
}

#[track_caller]
fn assert_close<E: Dtype>(got: &[E], want: &[E], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        let (g, w) = (g.to_f64().unwrap(), w.to_f64().unwrap());
        assert!((g - w).abs() <= tolerance, "got {g}, expected {w}");
    }
}

/// Convolution and attention of one layer on one input.
fn both<
    const I: usize,
    const O: usize,
    const IG: usize,
    const K: usize,
    const H: usize,
    const QK: usize,
    const S: usize,
    const ZERO: bool,
>(
    how: &Reparameterization,
    grid: Grid,
) -> Result<[Vec<f64>; 2]> {
    let dev = Cpu::seed_from_u64(3);
    let mut layer = ConvAsAttention::<I, O, IG, K, H, QK, S, ZERO, true, f64, Cpu>::build(&dev);
    fill(&mut layer.weight, 0.4);
    layer.bias.iter_mut().for_each(|bias| fill(bias, 0.3));
    let x = tokens::<I, f64>(&dev, 2, grid.tokens());
    let (convolved, out) = layer.apply(x.clone(), grid)?;
    assert_eq!((out.rows, out.cols), (grid.rows.div_ceil(S), grid.cols.div_ceil(S)));
    layer.reparameterize(how, 0)?;
    let (attended, same) = layer.apply(x, grid)?;
    assert_eq!(out, same);
    Ok([convolved.as_vec(), attended.as_vec()])
}

/// Every kernel, both borders, strides and groups.
#[test]
fn a_layer_that_becomes_attention_computes_what_it_computed() {
    let grid = Grid { rows: 6, cols: 5 };
    for gate in [Gate::Linear(1.0), Gate::Held, Gate::Sigmoid(60.0)] {
        let how = Reparameterization { gate, positions: Positions::Kernel { alpha: 30.0 } };
        for [convolved, attended] in [
            both::<3, 4, 3, 3, 9, 18, 1, false>(&how, grid),
            both::<3, 4, 3, 3, 9, 18, 1, true>(&how, grid),
            both::<3, 4, 3, 3, 9, 18, 2, false>(&how, grid),
            both::<3, 4, 3, 3, 9, 18, 2, true>(&how, grid),
            both::<4, 6, 2, 3, 9, 9, 1, false>(&how, grid),
            both::<4, 6, 2, 3, 9, 9, 2, true>(&how, grid),
            both::<4, 4, 1, 3, 9, 9, 1, true>(&how, grid),
            both::<2, 3, 2, 5, 25, 50, 1, false>(&how, grid),
            both::<2, 3, 2, 5, 25, 50, 1, true>(&how, grid),
            both::<2, 3, 2, 1, 1, 4, 1, true>(&how, grid),
        ]
        .map(Result::unwrap)
        {
            assert!(convolved.iter().any(|v| v.abs() > 0.5), "nothing to compare");
            assert_close(&attended, &convolved, 1e-11);
        }
    }
}

/// A grouped convolution against one per group.
#[test]
fn groups_see_their_own_channels_only() {
    let (dev, grid) = (Cpu::seed_from_u64(3), Grid { rows: 4, cols: 3 });
    let mut grouped = ConvAsAttention::<4, 6, 2, 3, 9, 9, 1, true, false, f64, Cpu>::build(&dev);
    fill(&mut grouped.weight, 0.4);
    let x = tokens::<4, f64>(&dev, 2, grid.tokens());
    let whole = grouped.apply(x.clone(), grid).unwrap().0.as_vec();
    for group in 0..2 {
        let mut single = ConvAsAttention::<2, 3, 2, 3, 9, 9, 1, true, false, f64, Cpu>::build(&dev);
        let numbers = 3 * 2 * 9;
        single.weight.copy_from(&grouped.weight.as_vec()[group * numbers..][..numbers]);
        let part: Vec<f64> =
            x.as_vec().chunks_exact(4).flat_map(|token| token[2 * group..][..2].to_vec()).collect();
        let part = dev.tensor_from_vec(part, (2, grid.tokens(), Const::<2>));
        let got: Vec<f64> =
            whole.chunks_exact(6).flat_map(|token| token[3 * group..][..3].to_vec()).collect();
        assert_close(&got, &single.apply(part, grid).unwrap().0.as_vec(), 1e-12);
    }
}

/// The gradient of the weight, which a group's full weight passes on, does not change at the switch either.
#[test]
fn gradients_of_weight_and_input_do_not_change_at_the_switch() {
    let (dev, grid) = (Cpu::seed_from_u64(3), Grid { rows: 4, cols: 4 });
    let mut layer = ConvAsAttention::<4, 6, 2, 3, 9, 9, 2, false, true, f64, Cpu>::build(&dev);
    fill(&mut layer.weight, 0.4);
    let x = tokens::<4, f64>(&dev, 2, grid.tokens());
    let gradients = |layer: &ConvAsAttention<4, 6, 2, 3, 9, 9, 2, false, true, f64, Cpu>| {
        let y = layer.apply(x.leaky_trace(), grid).unwrap().0;
        let gradients = y.square().sum().backward();
        [gradients.get(&x).as_vec(), gradients.get(&layer.weight).as_vec()]
    };
    let before = gradients(&layer);
    layer.reparameterize(&Reparameterization::default(), 0).unwrap();
    for (got, want) in gradients(&layer).iter().zip(&before) {
        assert!(want.iter().any(|v| v.abs() > 0.5));
        assert_close(got, want, 1e-6);
    }
}

#[test]
fn what_is_idle_and_what_is_recorded_follows_the_operator() {
    let (dev, grid) = (Cpu::seed_from_u64(3), Grid { rows: 3, cols: 3 });
    let mut layer = SwitchMixer::<4, f32, Cpu>::build(&dev);
    let x = tokens::<4, f32>(&dev, 1, 9);
    assert_eq!((layer.operator().unwrap(), layer.idle().unwrap().len()), (Operator::Convolution, 3));
    assert_eq!((layer.gates().unwrap(), layer.heads().unwrap()), (vec![1.0; 9], vec![]));
    // A convolution is recorded as the attention that it equals: head 0 looks up and to the left, or at the border.
    let map = layer.map(&x, grid).unwrap();
    assert!((map[4 * 9] - 1.0).abs() < 1e-6 && (map[8 * 9 + 4] - 1.0).abs() < 1e-6);
    layer.reparameterize(&Reparameterization { gate: Gate::Sigmoid(1.0), ..Default::default() }, 0).unwrap();
    assert!(layer.idle().unwrap().is_empty());
    assert!((layer.gates().unwrap()[8] - 0.7310586).abs() < 1e-6);
    assert_eq!(layer.heads().unwrap()[1], HeadPosition { dx: -1.0, dy: 0.0, alpha: 20.0 });
    let held = Reparameterization { gate: Gate::Held, ..Default::default() };
    layer.reparameterize(&held, 0).unwrap();
    assert_eq!((layer.operator().unwrap(), layer.idle().unwrap().len()), (Operator::Positional, 2));
    let before = layer.clone();
    let bad = Reparameterization { gate: Gate::Linear(2.0), ..Default::default() };
    assert!(layer.reparameterize(&bad, 0).is_err());
    assert_eq!(layer.gate.as_vec(), before.gate.as_vec());
    for gate in [1.7, -0.1] {
        layer.reparameterize(&Reparameterization::default(), 0).unwrap();
        layer.gate.copy_from(&[gate; 9]);
        assert!(layer.apply(x.clone(), grid).unwrap_err().to_string().contains("0 to 1"));
        assert!(layer.gates().is_err());
    }
    layer.gate.copy_from(&[f32::NAN; 9]);
    assert!(layer.apply(x.clone(), grid).unwrap().0.as_vec()[0].is_nan());
    layer.operator.0.copy_from(&[7.0]);
    assert!(layer.apply(x, grid).unwrap_err().to_string().contains("operator"));
}
