use super::*;
use crate::{Backend, testing::*};

/// The share of the positional maps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gate {
    /// Positions alone.
    Held,
    Linear,
    Sigmoid,
}

/// Batch, grid, stride and the rest of a call.
#[derive(Clone, Copy, Debug)]
struct Call<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize> {
    batch: usize,
    grid: Grid,
    stride: usize,
    border: Border,
    gate: Gate,
    bias: bool,
}

impl<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize> Call<O, C, K, H, QK> {
    fn new(batch: usize, (rows, cols): (usize, usize), stride: usize, border: Border, gate: Gate) -> Self {
        Self { batch, grid: Grid { rows, cols }, stride, border, gate, bias: true }
    }

    /// x, weight, bias, position, gate, qk.
    fn inputs(&self) -> Vec<Vec<f64>> {
        let x = self.batch * self.grid.tokens() * C;
        [x, O * C * H, O, 3 * H, H, 2 * QK * C]
            .iter()
            .zip(1..)
            .map(|(len, seed)| random(*len, seed))
            .collect()
    }

    /// [`Self::inputs`] with heads at the places of the kernel.
    fn kernel_inputs(&self, alpha: f64) -> Vec<Vec<f64>> {
        let mut inputs = self.inputs();
        inputs[3] = centred(K, alpha);
        inputs
    }
}

/// Heads at the places of the kernel: `[heads, 3]`.
fn centred(kernel: usize, alpha: f64) -> Vec<f64> {
    let offset = |place: usize| place as f64 - (kernel / 2) as f64;
    let head = |h: usize| [2.0 * offset(h / kernel), 2.0 * offset(h % kernel), -1.0];
    (0..kernel * kernel).flat_map(head).map(|v| v * alpha).collect()
}

impl<const O: usize, const C: usize, const K: usize, const H: usize, const QK: usize> Case
    for Call<O, C, K, H, QK>
{
    fn run<E: Dtype, D: Backend<E>>(&self, dev: &D, inputs: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let x = leaf(dev, (self.batch, self.grid.tokens(), Const::<C>), &inputs[0]);
        let weight = leaf(dev, Default::default(), &inputs[1]);
        let bias = leaf(dev, (Const::<O>,), &inputs[2]);
        let position = leaf(dev, Default::default(), &inputs[3]);
        let gate = leaf(dev, (Const::<H>,), &inputs[4]);
        let qk = leaf(dev, Default::default(), &inputs[5]);
        let content = ContentWeights { gate: &gate, sigmoid: self.gate == Gate::Sigmoid, qk: &qk };
        let weights: ConvAsAttentionWeights<'_, O, C, K, H, QK, E, D> = ConvAsAttentionWeights {
            weight: &weight,
            bias: self.bias.then_some(&bias),
            position: &position,
            content: (self.gate != Gate::Held).then_some(content),
        };
        let (y, out) =
            dev.conv_as_attention(x.leaky_trace(), self.grid, self.stride, self.border, weights).unwrap();
        assert_eq!(y.shape().1, out.tokens());
        let (y, mut g) = differentiate(dev, y);
        let mut gradients = vec![gradient(&mut g, &x), gradient(&mut g, &weight), gradient(&mut g, &bias)];
        gradients.extend([gradient(&mut g, &position), gradient(&mut g, &gate), gradient(&mut g, &qk)]);
        (y, gradients)
    }
}

const BORDERS: [Border; 2] = [Border::Replicate, Border::Zero];
const GATES: [Gate; 3] = [Gate::Held, Gate::Linear, Gate::Sigmoid];

#[test]
fn kernel_and_composition_agree() {
    for border in BORDERS {
        for gate in GATES {
            for (grid, stride) in [((3, 4), 1), ((5, 3), 2)] {
                let call = Call::<4, 3, 3, 9, 18>::new(2, grid, stride, border, gate);
                check_case(&call, &call.inputs());
                check_case(&call, &call.kernel_inputs(0.5));
            }
            let call = Call::<2, 3, 1, 1, 3>::new(3, (2, 3), 1, border, gate);
            check_case(&call, &call.inputs());
            let call = Call { bias: false, ..Call::<2, 2, 5, 25, 50>::new(1, (3, 2), 3, border, gate) };
            check_case(&call, &call.kernel_inputs(0.3));
        }
    }
}

#[test]
fn kernel_and_composition_agree_in_larger_sizes() {
    for border in BORDERS {
        for gate in GATES {
            // Chunks that end inside an image, channels in whole blocks and not, more than one head dimension.
            for alpha in [20.0, 6.0, 0.5] {
                let call = Call::<33, 70, 3, 9, 36>::new(5, (6, 7), 1, border, gate);
                check_kernel(&call, &call.kernel_inputs(alpha));
                let call = Call::<64, 16, 3, 9, 9>::new(19, (8, 8), 2, border, gate);
                check_kernel(&call, &call.kernel_inputs(alpha));
            }
            // Several blocks of queries.
            let call = Call::<3, 4, 1, 1, 2>::new(2, (24, 25), 1, border, gate);
            check_kernel(&call, &call.kernel_inputs(2.0));
            // Random positions give scores of a thousand, whose rounding in `f32` is in the fifth digit of the probabilities.
            check_cpu_kernel(&call, &call.inputs());
            let call = Call::<3, 4, 5, 25, 50>::new(2, (9, 8), 2, border, gate);
            check_kernel(&call, &call.kernel_inputs(2.0));
            check_kernel(&call, &call.inputs());
        }
    }
}

#[test]
fn gates_at_their_ends_agree() {
    for border in BORDERS {
        for share in [0.0, 1.0] {
            let call = Call::<6, 5, 3, 9, 18>::new(3, (4, 5), 1, border, Gate::Linear);
            let mut inputs = call.kernel_inputs(1.5);
            inputs[4] = vec![share; 9];
            check_case(&call, &inputs);
        }
    }
}

/// The gradient of the position of a narrow map comes from probabilities of `exp(-alpha)`, to which it is proportional; at 40
/// the composition itself has lost it between 1 and its neighbours.
#[test]
fn the_gradient_of_a_narrow_map_is_small_but_not_lost() {
    for border in BORDERS {
        let call = Call::<5, 6, 3, 9, 18>::new(2, (4, 5), 1, border, Gate::Held);
        let want = &call.run::<f64, _>(&Cpu::default(), &call.kernel_inputs(20.0)).1[3];
        let largest = want.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        assert!(largest > 0.0 && largest < 1e-6, "{largest}");
        for alpha in [20.0, 40.0] {
            let got = &call.run::<f32, _>(&Cpu::default(), &call.kernel_inputs(alpha)).1[3];
            let got: Vec<f64> = got.iter().map(|v| v * (alpha - 20.0f64).exp()).collect();
            let off = distance(&got, want) / largest;
            assert!(off < 1e-5, "{border:?}, alpha {alpha}: {off} of {largest}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_threads() {
    let on = |threads: usize, call: Call<5, 6, 3, 9, 18>, alpha: f64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| call.run::<f32, _>(&Cpu::default(), &call.kernel_inputs(alpha)))
    };
    for (gate, alpha) in [(Gate::Held, 20.0), (Gate::Held, 0.5), (Gate::Linear, 1.5)] {
        let call = Call::new(21, (7, 6), 1, Border::Zero, gate);
        assert_eq!(on(1, call, alpha), on(2, call, alpha), "{gate:?}, alpha {alpha}");
        assert_eq!(on(1, call, alpha), on(5, call, alpha), "{gate:?}, alpha {alpha}");
    }
}

#[test]
fn without_a_tape_a_gate_of_one_takes_the_way_of_positions() {
    let dev = Cpu::default();
    let call = Call::<4, 3, 3, 9, 18>::new(2, (4, 4), 1, Border::Zero, Gate::Held);
    let mut inputs = call.kernel_inputs(0.7);
    inputs[4] = vec![1.0; 9];
    let x: Tensor<_, f32, Cpu> = leaf(&dev, (2, 16, Const::<3>), &inputs[0]);
    let (weight, position) =
        (leaf(&dev, Default::default(), &inputs[1]), leaf(&dev, Default::default(), &inputs[3]));
    // Whoever looked at these would return numbers that are none.
    let (gate, qk) =
        (leaf(&dev, (Const::<9>,), &inputs[4]), leaf(&dev, Default::default(), &[f64::NAN; 108]));
    let run = |content| {
        let weights: ConvAsAttentionWeights<'_, 4, 3, 3, 9, 18, f32, Cpu> =
            ConvAsAttentionWeights { weight: &weight, bias: None, position: &position, content };
        let (y, _) = dev.conv_as_attention(x.clone(), call.grid, 1, call.border, weights).unwrap();
        y.as_vec()
    };
    assert_eq!(run(Some(ContentWeights { gate: &gate, sigmoid: false, qk: &qk })), run(None));
}

/// The largest difference.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // Not `f64::max`, which passes over what is no number.
    apart.fold(0.0, |most, it| if it > most || it.is_nan() { it } else { most })
}

/// A narrow map of positions is the convolution with the padding that `border` names.
fn check_convolution<E: Dtype, D: Backend<E>>(dev: &D, border: Border, stride: usize) {
    let call = Call::<5, 4, 3, 9, 9>::new(3, (6, 5), stride, border, Gate::Held);
    let inputs = call.kernel_inputs(40.0);
    let (got, gradients) = call.run::<E, D>(dev, &inputs);
    let x = leaf(dev, (call.batch, call.grid.tokens(), Const::<4>), &inputs[0]);
    let weight: Tensor<Rank4<5, 4, 3, 3>, E, D> = leaf(dev, Default::default(), &inputs[1]);
    let bias = leaf(dev, (Const::<5>,), &inputs[2]);
    let (padded, grid, padding) = match border {
        Border::Zero => (x.leaky_trace(), call.grid, 1),
        Border::Replicate => {
            let (padded, grid) = dev.replicate_pad(x.leaky_trace(), call.grid, 1).unwrap();
            (padded, grid, 0)
        }
    };
    let window = crate::Window::square(3, stride, padding);
    let (y, _) = dev.conv2d(padded, grid, &weight, Some(&bias), window).unwrap();
    let (want, mut g) = differentiate(dev, y);
    assert!(distance(&got, &want) < 1e-5, "{border:?}: {}", distance(&got, &want));
    let wants = [gradient(&mut g, &x), gradient(&mut g, &weight), gradient(&mut g, &bias)];
    for (i, (got, want)) in gradients.iter().zip(&wants).enumerate() {
        assert!(distance(got, want) < 2e-5, "{border:?} gradient {i}: {}", distance(got, want));
    }
}

#[test]
fn a_narrow_map_of_positions_is_the_convolution() {
    for border in BORDERS {
        for stride in [1, 2] {
            check_convolution::<f64, _>(&Cpu::default(), border, stride);
            check_convolution::<f32, _>(&Cpu::default(), border, stride);
        }
    }
}

/// The maps of 9 heads at `alpha` on a 3x4 grid, rows of 12.
fn maps(border: Border, alpha: f64, share: Option<f64>) -> Vec<f64> {
    let dev = Cpu::default();
    let x: Tensor<_, f64, _> = leaf(&dev, (2, 12, Const::<4>), &random(96, 1));
    let position = leaf(&dev, Default::default(), &centred(3, alpha));
    let gate = leaf(&dev, (Const::<9>,), &[share.unwrap_or(0.0); 9]);
    let qk = leaf(&dev, Default::default(), &random(18 * 2 * 4, 2));
    let content: Option<ContentWeights<'_, 4, 9, 18, f64, Cpu>> =
        share.map(|_| ContentWeights { gate: &gate, sigmoid: false, qk: &qk });
    let grid = Grid { rows: 3, cols: 4 };
    let maps = dev.conv_as_attention_map(&x, grid, 1, border, &position, content).unwrap();
    assert_eq!(*maps.shape(), (2, 9, 12, 12));
    maps.as_vec()
}

#[test]
fn heads_stand_for_the_places_of_the_kernel_column_by_column() {
    let maps = maps(Border::Replicate, 30.0, None);
    for (head, (dx, dy)) in (0..9usize).map(|h| (h, (h / 3, h % 3))) {
        for query in 0..12usize {
            let x = (query % 4 + dx).saturating_sub(1).min(3);
            let y = (query / 4 + dy).saturating_sub(1).min(2);
            for image in 0..2 {
                let row = &maps[((image * 9 + head) * 12 + query) * 12..][..12];
                assert!((row[y * 4 + x] - 1.0).abs() < 1e-9, "head {head}, query {query}: {row:?}");
            }
        }
    }
}

#[test]
fn only_what_is_seen_of_the_ring_is_missing_in_a_row() {
    let sums = |border, alpha, share| -> Vec<f64> {
        maps(border, alpha, share).chunks_exact(12).map(|row| row.iter().sum()).collect()
    };
    assert!(sums(Border::Replicate, 1.0, Some(0.5)).iter().all(|s| (s - 1.0).abs() < 1e-12));
    assert!(sums(Border::Zero, 1.0, Some(0.0)).iter().all(|s| (s - 1.0).abs() < 1e-12));
    let narrow = sums(Border::Zero, 30.0, None);
    // Head 0 looks up and left: at the ring from the first row and column.
    for (query, sum) in narrow[..12].iter().enumerate() {
        let want = if query < 4 || query % 4 == 0 { 0.0 } else { 1.0 };
        assert!((sum - want).abs() < 1e-9, "query {query}: {sum}");
    }
}

#[test]
fn a_gate_of_one_is_positions_alone() {
    for border in BORDERS {
        let held = Call::<4, 3, 3, 9, 18>::new(2, (4, 4), 1, border, Gate::Held);
        let mut inputs = held.kernel_inputs(0.7);
        inputs[4] = vec![1.0; 9];
        let (want, wants) = held.run::<f64, _>(&Cpu::default(), &inputs);
        let (got, gradients) = Call { gate: Gate::Linear, ..held }.run::<f64, _>(&Cpu::default(), &inputs);
        assert!(distance(&got, &want) < 1e-12);
        for (got, want) in gradients[..4].iter().zip(&wants) {
            assert!(distance(got, want) < 1e-11);
        }
        assert!(gradients[4].iter().any(|v| v.abs() > 1e-3), "the gate can leave 1");
    }
}

#[test]
fn shapes_that_do_not_fit_are_an_error() {
    fn run<const K: usize, const H: usize, const QK: usize>(grid: Grid, stride: usize) -> Result<Grid> {
        let dev = Cpu::default();
        let (weight, position, gate, qk) = (dev.zeros(), dev.zeros(), dev.zeros(), dev.zeros());
        let content = Some(ContentWeights { gate: &gate, sigmoid: false, qk: &qk });
        let weights: ConvAsAttentionWeights<'_, 2, 3, K, H, QK, f32, Cpu> =
            ConvAsAttentionWeights { weight: &weight, bias: None, position: &position, content };
        let x = dev.zeros_like(&(2, 6, Const::<3>));
        dev.conv_as_attention(x, grid, stride, Border::Zero, weights).map(|(_, grid)| grid)
    }
    let grid = Grid { rows: 2, cols: 3 };
    assert_eq!(run::<3, 9, 18>(grid, 2).unwrap(), Grid { rows: 1, cols: 2 });
    for error in [
        run::<3, 9, 18>(Grid::square(2), 1),
        run::<3, 9, 18>(grid, 0),
        run::<3, 9, 19>(grid, 1),
        run::<3, 9, 0>(grid, 1),
        run::<3, 4, 8>(grid, 1),
        run::<2, 4, 8>(grid, 1),
        run::<5, 9, 9>(grid, 1),
        run::<3, 8, 8>(grid, 1),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("conv_as_attention: "), "{error}");
    }
}
