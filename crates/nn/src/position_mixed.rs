//! Self-attention whose queries and keys come from a mixture of tokens and positions (arXiv 2401.12511).

use dfdx::prelude::*;
use inductive_ops::{AttentionDims, Backend};

use crate::{
    Buffer, Build, Error, Fill, Layer, OperatorKind, Result,
    linear::{Linear, Packed},
    mixer::{AttentionRecord, Layout, Projections, QkvLayers, TokenMixer, Tokens},
    module,
};

/// Multi-head self-attention with `q, k = W_qk (alpha x + (1 - alpha) P)` and `v = W_v x`: the position embedding P stands
/// in every layer and is never added to the tokens. No biases.
///
/// `C` channels, `H` heads. `alpha = 1` is [`Mhsa`](crate::Mhsa) without biases, `alpha = 0` the paper's
/// "Model II", whose attention does not depend on the image. Equivalent in the authors' code: `Attention` of their SimpleViT
/// (which also has another scale of the scores; here it is `(C / H)^-0.5` as everywhere). timm has none.
///
/// `position` and `alpha` are buffers: saved with the weights, not trained.
///
/// ```
/// # use dfdx::prelude::*;
/// use inductive_nn::{Layout, PositionMixed, TokenMixer};
/// use inductive_ops::Grid;
/// let dev = Cpu::seed_from_u64(0);
/// let positions = dev.sample_normal::<Rank2<6, 64>>().realize::<(usize, Const<64>)>();
/// let layer = PositionMixed::<64, 4, f32, Cpu>::new(&dev, positions, 0.5)?;
/// let tokens = dev.sample_normal::<Rank3<2, 6, 64>>().realize::<(usize, usize, Const<64>)>();
/// let mixed = layer.mix(tokens, &Layout::patches(Grid { rows: 2, cols: 3 }))?;
/// assert_eq!(mixed.shape().concrete(), [2, 6, 64]);
/// # Ok::<(), inductive_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PositionMixed<const C: usize, const H: usize, E: Dtype, D: Device<E>> {
    /// Rows in the order q, k, v.
    pub qkv: Packed<3, C, false, E, D>,
    /// Output projection.
    pub proj: Linear<C, C, false, E, D>,
    /// P, `[tokens, C]`, not trainable.
    pub position: Buffer<(usize, Const<C>), E, D>,
    /// `[1]`, not trainable: the share of content in queries and keys, 0 to 1.
    pub alpha: Buffer<Rank1<1>, E, D>,
}

module!([const C: usize, const H: usize] as Layer PositionMixed<C, H, E, D> { qkv, proj, position, alpha });

/// `[batch, tokens, 3, C]`
type Qkv<const C: usize, E, D, T> = Tensor<(usize, usize, Const<3>, Const<C>), E, D, T>;

impl<const C: usize, const H: usize, E: Dtype, D: Backend<E>> PositionMixed<C, H, E, D> {
    /// New, with timm's initial weights. positions: `[tokens, C]`; alpha: the share of content in queries and keys.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn new(device: &D, positions: Tensor<(usize, Const<C>), E, D>, alpha: f64) -> Result<Self> {
        const { assert!(C.is_multiple_of(H), "the channels must be divisible by the heads") };
        Ok(Self {
            qkv: Build::new(device)?,
            proj: Build::new(device)?,
            position: Buffer(positions),
            alpha: Buffer(Fill::Constant(alpha).tensor(device, (Const,))?),
        })
    }

    /// `W (alpha x + (1 - alpha) P) = (alpha W) x + (1 - alpha) W P`: the weight is scaled, which is the smaller one, and
    /// positions are projected once for the whole batch. Values have factor 1 for the tokens and 0 for the positions.
    fn project<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Qkv<C, E, D, T>> {
        let (batch, count, _) = *tokens.shape();
        let positions = self.position.0.shape().0;
        if count != layout.tokens() || count != positions {
            let expected = format!("{} tokens as in {layout:?}, and {positions} positions", layout.tokens());
            return Err(Error::shape("PositionMixed", expected, count));
        }
        let device = tokens.device().clone();
        let alpha = self.alpha.0.as_vec()[0];
        let no_bias: Option<&Tensor<Rank1<C>, E, D>> = None;
        let (of_positions, tape) = self.weight_times::<T>([E::ONE - alpha, E::ONE - alpha, E::default()])?;
        let positions = self.position.0.clone().put_tape(tape);
        let out = (count, Const::<3>, Const::<C>);
        let (positions, positions_tape) = device.linear(positions, &of_positions, no_bias, out)?.split_tape();
        let (of_tokens, tape) = self.weight_times::<T>([alpha, alpha, E::ONE])?;
        // The scaled weights and the projected positions get their gradients by identity: their tapes belong to this one.
        let (tokens, tokens_tape) = tokens.split_tape();
        let tokens = tokens.put_tape(tokens_tape.merge(tape).merge(positions_tape));
        let qkv = device.linear(tokens, &of_tokens, no_bias, (batch, count, Const, Const))?;
        Ok(device.add_position(qkv, &positions)?)
    }

    /// The packed weight, its parts times `factors`, and the tape of that.
    #[allow(clippy::type_complexity)]
    fn weight_times<T: Tape<E, D>>(&self, factors: [E; 3]) -> Result<(Tensor<Rank3<3, C, C>, E, D>, T)> {
        let weight = &self.qkv.weight;
        let scaled = || {
            let factors: Tensor<Rank1<3>, E, D> =
                weight.device().try_tensor_from_vec(factors.to_vec(), (Const,))?;
            weight.retaped::<T>().try_mul(factors.try_broadcast::<_, Axes2<1, 2>>()?)
        };
        Ok(scaled().map_err(|e| Error::device("PositionMixed", e))?.split_tape())
    }
}

impl<const C: usize, const H: usize, E: Dtype, D: Backend<E>> Layer<E> for PositionMixed<C, H, E, D> {
    fn projections(&self) -> Option<Projections> {
        Some(Projections { width: C, heads: H, layers: QkvLayers::Together("qkv"), proj: "proj" })
    }

    fn position(&self) -> Option<&'static str> {
        Some("position")
    }
}

impl<const C: usize, const H: usize, E: Dtype, D: Backend<E>> TokenMixer<C, E, D>
    for PositionMixed<C, H, E, D>
{
    fn operator_kind(&self) -> OperatorKind {
        OperatorKind::Attention
    }

    fn mix<T: Tape<E, D>>(&self, tokens: Tokens<C, E, D, T>, layout: &Layout) -> Result<Tokens<C, E, D, T>> {
        let device = tokens.device().clone();
        let qkv = self.project(tokens, layout)?;
        self.proj.apply(device.attention_heads(H, qkv)?)
    }

    fn attention(&self, tokens: &Tokens<C, E, D>, layout: &Layout) -> Result<Option<AttentionRecord<E>>> {
        let (batch, count, _) = *tokens.shape();
        let qkv = self.project(tokens.clone(), layout)?;
        let map = tokens.device().attention_map(AttentionDims::new(batch, count, H, C), &qkv)?.as_vec();
        Ok(Some(AttentionRecord { map, batch, heads: H, layout: *layout, gates: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mhsa, ModuleExt};
    use crate::{Parameter, ParameterMut};
    use inductive_ops::Grid;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const GRID: Grid = Grid { rows: 2, cols: 3 };
    const LAYOUT: Layout = Layout { grid: GRID, prefix: 0 };
    type Layer<E> = PositionMixed<8, 2, E, Cpu>;

    /// All parameters and buffers uniform on +-1, but for alpha.
    fn layer<E: Dtype>(alpha: f64, seed: u64) -> Layer<E>
    where
        Cpu: Backend<E>,
    {
        let dev = Cpu::default();
        let mut layer: Layer<E> = PositionMixed::new(&dev, dev.zeros_like(&(6, Const)), 0.5).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let visit = &mut |p: &mut dyn ParameterMut<E, Cpu>| {
            let mut draw = || if p.name() == "alpha" { alpha } else { rng.gen_range(-1.0..1.0) };
            let values: Vec<E> = (0..p.numel()).map(|_| E::from_f64(draw()).unwrap()).collect();
            p.copy_from(&values)
        };
        layer.for_each_parameter_mut(visit).unwrap();
        layer
    }

    fn tokens<E: Dtype>(batch: usize, seed: u64) -> Tokens<8, E, Cpu>
    where
        Cpu: Backend<E>,
    {
        let mut rng = StdRng::seed_from_u64(seed);
        let values = (0..batch * 48).map(|_| E::from_f64(rng.gen_range(-1.0..1.0)).unwrap()).collect();
        Cpu::default().tensor_from_vec(values, (batch, 6, Const))
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance)
    }

    #[test]
    fn one_is_plain_self_attention_without_biases() {
        let (dev, layer) = (Cpu::default(), layer::<f32>(1.0, 1));
        let mut plain = Mhsa::<8, 2, false, f32, Cpu>::build(&dev);
        plain.qkv.weight = layer.qkv.weight.clone();
        plain.proj.weight = layer.proj.weight.clone();
        plain.proj.bias = Some(dev.zeros());
        let want = plain.mix_recorded(tokens(3, 2), &LAYOUT).unwrap();
        let got = layer.mix_recorded(tokens(3, 2), &LAYOUT).unwrap();
        for (got, want) in got
            .0
            .as_vec()
            .iter()
            .chain(&got.1.unwrap().map)
            .zip(want.0.as_vec().iter().chain(&want.1.unwrap().map))
        {
            assert!((got - want).abs() < 1e-5, "{got}, want {want}");
        }
    }

    #[test]
    fn zero_makes_attention_of_positions_alone_and_values_still_come_from_the_tokens() {
        let layer = layer::<f64>(0.0, 1);
        let [(a, map), (b, other)] = [2, 3].map(|seed| layer.mix_recorded(tokens(1, seed), &LAYOUT).unwrap());
        assert!(close(&map.unwrap().map, &other.unwrap().map, 1e-12));
        // The result is linear in the tokens then.
        let sum = layer.mix(tokens::<f64>(1, 2) + tokens(1, 3), &LAYOUT).unwrap();
        assert!(close(&sum.as_vec(), &(a.clone() + b.clone()).as_vec(), 1e-12));
        assert!(!close(&a.as_vec(), &b.as_vec(), 0.1));
    }

    #[test]
    fn queries_and_keys_see_the_mixture_and_values_the_tokens() {
        let (alpha, layer, x) = (0.3, layer::<f64>(0.3, 1), tokens::<f64>(1, 2).as_vec());
        let (position, weight, proj) =
            (layer.position.0.as_vec(), layer.qkv.weight.as_vec(), layer.proj.weight.as_vec());
        let mixture: Vec<f64> = x.iter().zip(&position).map(|(x, p)| alpha * x + (1.0 - alpha) * p).collect();
        // The formula, one number at a time.
        let times = |input: &[f64], weight: &[f64], token: usize, out: usize| -> f64 {
            (0..8).map(|i| input[token * 8 + i] * weight[out * 8 + i]).sum()
        };
        let mut mixed = vec![0.0; 48];
        for (query, head) in (0..6).flat_map(|query| [0, 1].map(|head| (query, head))) {
            let channels = head * 4..head * 4 + 4;
            let score = |key: usize| {
                let product = |c| times(&mixture, &weight, query, c) * times(&mixture, &weight[64..], key, c);
                (channels.clone().map(product).sum::<f64>() / 2.0).exp()
            };
            let sum: f64 = (0..6).map(score).sum();
            for c in channels.clone() {
                mixed[query * 8 + c] =
                    (0..6).map(|key| score(key) / sum * times(&x, &weight[128..], key, c)).sum();
            }
        }
        let want: Vec<f64> = (0..48).map(|i| times(&mixed, &proj, i / 8, i % 8)).collect();
        assert!(close(&layer.mix(tokens(1, 2), &LAYOUT).unwrap().as_vec(), &want, 1e-12));
    }

    /// `sum_i y_i r_i` with fixed r, and its gradients by the input and each parameter.
    fn loss_and_gradients<E: Dtype>(layer: &Layer<E>, x: &Tokens<8, E, Cpu>) -> (f64, Vec<Vec<f64>>)
    where
        Cpu: Backend<E>,
    {
        let y = layer.mix(x.leaky_trace(), &LAYOUT).unwrap();
        let loss = (y * tokens::<E>(x.shape().0, 9)).sum::<Rank0, _>();
        let (value, g) = (loss.array().to_f64().unwrap(), loss.backward());
        let f64s = |values: Vec<E>| values.iter().map(|v| v.to_f64().unwrap()).collect();
        let gradients = vec![
            f64s(g.get(x).as_vec()),
            f64s(g.get(&layer.qkv.weight).as_vec()),
            f64s(g.get(&layer.proj.weight).as_vec()),
        ];
        (value, gradients)
    }

    #[test]
    fn gradients_are_those_of_finite_differences_through_content_and_position() {
        for alpha in [0.0, 0.4, 1.0] {
            let (layer, x) = (layer::<f64>(alpha, 1), tokens::<f64>(2, 2));
            let (_, gradients) = loss_and_gradients(&layer, &x);
            for (which, gradient) in gradients.iter().enumerate() {
                for index in 0..gradient.len() {
                    let moved = |by: f64| {
                        let (mut layer, mut x) = (layer.clone(), x.clone());
                        let nudge = |mut values: Vec<f64>| {
                            values[index] += by;
                            values
                        };
                        match which {
                            0 => x.copy_from(&nudge(x.as_vec())),
                            1 => layer.qkv.weight.copy_from(&nudge(layer.qkv.weight.as_vec())),
                            _ => layer.proj.weight.copy_from(&nudge(layer.proj.weight.as_vec())),
                        }
                        loss_and_gradients(&layer, &x).0
                    };
                    let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    let got = gradient[index];
                    assert!(
                        (got - want).abs() < 1e-6,
                        "alpha {alpha}, input {which}[{index}]: {got}, {want}"
                    );
                }
            }
            let single: Layer<f32> = self::layer(alpha, 1);
            let (_, kernels) = loss_and_gradients(&single, &tokens::<f32>(2, 2));
            for (kernel, composition) in kernels.iter().zip(&gradients) {
                assert!(close(kernel, composition, 1e-4), "alpha {alpha}");
            }
        }
    }

    #[test]
    fn position_and_share_are_saved_but_not_trained() {
        let dev = Cpu::default();
        let layer = Layer::<f32>::new(&dev, dev.zeros_like(&(6, Const)), 0.5).unwrap();
        let mut seen = Vec::new();
        let visit = &mut |p: &dyn Parameter<f32, Cpu>| {
            seen.push((p.name().to_owned(), p.shape().to_vec(), p.trainable()));
            Ok(())
        };
        layer.for_each_parameter(visit).unwrap();
        let want = [
            ("qkv.weight", vec![24, 8], true),
            ("proj.weight", vec![8, 8], true),
            ("position", vec![6, 8], false),
            ("alpha", vec![1], false),
        ];
        assert_eq!(seen, want.map(|(name, shape, trainable)| (name.to_owned(), shape, trainable)));
        assert_eq!((layer.alpha.0.as_vec(), layer.position.0.as_vec()), (vec![0.5], vec![0.0; 48]));
    }

    #[test]
    fn tokens_that_have_no_position_are_refused() {
        let layer = layer::<f32>(0.5, 1);
        assert!(layer.mix(tokens(1, 0), &Layout::patches(Grid { rows: 1, cols: 5 })).is_err());
        let five = Cpu::default().zeros_like(&(1, 5, Const::<8>));
        assert!(layer.mix(five, &Layout::patches(Grid { rows: 1, cols: 5 })).is_err());
        assert!(layer.mix(tokens(1, 0), &Layout::with_class_token(Grid { rows: 1, cols: 5 })).is_ok());
    }
}
