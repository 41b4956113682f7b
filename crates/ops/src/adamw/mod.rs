//! AdamW with decoupled weight decay, in the order of operations of `torch.optim.AdamW`; also what the trainer needs
//! around it: the square sum of a gradient (for clipping by norm) and the exponential average of the weights.

mod cpu;

use dfdx::prelude::*;

pub(crate) use cpu::{average as average_kernel, square_sum as square_sum_kernel, update};

use crate::{Backend, Error, Result};

/// Hyper-parameters of one update of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    pub beta1: f64,
    /// Decay of the average of the squared gradient.
    pub beta2: f64,
    /// Added to the root of the second average.
    pub eps: f64,
    /// Decoupled weight decay: the parameter shrinks by `lr * weight_decay`.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: u64,
    /// Factor of the gradient before anything else, for clipping.
    pub gradient_scale: f64,
}

impl AdamWStep {
    /// `(lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step))`
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let power = |beta: f64| 1.0 - beta.powf(self.step as f64);
        (self.lr / power(self.beta1), power(self.beta2).sqrt().recip())
    }
}

/// Updates of several parameters that a device does together: see [`Backend::adamw_later`].
///
/// By default a parameter gets new memory, so that copies of the tensor keep the values they had.
#[derive(Debug, Default)]
#[must_use = "parameters may have their new values only after `Backend::finish`"]
pub struct Updates {
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: Vec<crate::cuda::Update>,
    #[cfg(feature = "cuda")]
    pub(crate) in_place: bool,
    #[cfg(feature = "cuda")]
    pub(crate) averages: Vec<crate::cuda::Average>,
    /// A number on the device: while it is not 0, nothing is changed.
    #[cfg(feature = "cuda")]
    pub(crate) guard: Option<crate::replay::Place>,
    /// The largest norm of all gradients together; and where the norm is written to, if it is not to be waited for.
    #[cfg(feature = "cuda")]
    pub(crate) clip: Option<f64>,
    #[cfg(feature = "cuda")]
    pub(crate) norm: Option<crate::replay::Place>,
}

impl Updates {
    /// Updates that may write into the memory that parameters have. For parameters of which nobody holds a copy of the tensor.
    pub fn in_place() -> Self {
        #[cfg(feature = "cuda")]
        let updates = Self { in_place: true, ..Self::default() };
        #[cfg(not(feature = "cuda"))]
        let updates = Self::default();
        updates
    }
}

/// AdamW's running averages of one parameter's gradient, both `[numel]`.
#[derive(Debug, Clone)]
pub struct Moments<E: Dtype, D: Backend<E>> {
    /// Average of the gradient (`exp_avg`).
    pub first: Tensor<(usize,), E, D>,
    /// Average of the squared gradient (`exp_avg_sq`).
    pub second: Tensor<(usize,), E, D>,
}

impl<E: Dtype, D: Backend<E>> Moments<E, D> {
    /// Both averages zero, for a parameter of `numel` elements.
    pub fn zeros(device: &D, numel: usize) -> Result<Self> {
        let zeros = || device.try_zeros_like(&(numel,)).map_err(|e| Error::device("adamw", e));
        Ok(Self { first: zeros()?, second: zeros()? })
    }
}

pub(crate) fn check<S: Shape, E: Dtype, D: crate::Backend<E>>(
    parameter: &S,
    moments: &Moments<E, D>,
    step: &AdamWStep,
) -> Result<()> {
    let (numel, lens) = (parameter.num_elements(), [moments.first.shape().0, moments.second.shape().0]);
    if lens != [numel; 2] {
        return Err(Error::shape("adamw", format!("moments of {numel} elements"), lens));
    }
    if step.step == 0 {
        return Err(Error::Argument { op: "adamw", what: "step is 0; updates count from 1".into() });
    }
    Ok(())
}

pub(crate) fn check_average<S: Shape, E: Dtype, D: Device<E>>(
    parameter: &S,
    average: &Tensor<(usize,), E, D>,
) -> Result<()> {
    let (numel, len) = (parameter.num_elements(), average.shape().0);
    if len != numel {
        return Err(Error::shape("average_into", format!("an average of {numel} elements"), len));
    }
    Ok(())
}

fn number<E: Dtype>(value: f64) -> E {
    E::from_f64(value).unwrap_or_default()
}

pub(crate) fn composition<S: Shape, E: Dtype, D: Device<E> + crate::Backend<E>>(
    parameter: &mut Tensor<S, E, D>,
    gradients: &mut Gradients<E, D>,
    moments: &mut Moments<E, D>,
    step: &AdamWStep,
) -> Result<(), D::Err> {
    let shape = *parameter.shape();
    let flat = (shape.num_elements(),);
    gradients.get_or_alloc_mut(&*parameter)?;
    let gradient = gradients.get(&*parameter).try_reshape_like(&flat)?;
    let gradient = gradient.try_mul(number::<E>(step.gradient_scale))?;
    let blend = |old: &Tensor<(usize,), E, D>, new: Tensor<(usize,), E, D>, beta: f64| {
        old.clone().try_mul(number::<E>(beta))?.try_add(new.try_mul(number::<E>(1.0 - beta))?)
    };
    moments.first = blend(&moments.first, gradient.clone(), step.beta1)?;
    moments.second = blend(&moments.second, gradient.try_square()?, step.beta2)?;
    let (rate, correction) = step.corrections();
    let root = moments.second.clone().try_sqrt()?.try_mul(number::<E>(correction))?;
    let change = moments.first.clone().try_div(root.try_add(number::<E>(step.eps))?)?;
    let decayed =
        parameter.clone().try_reshape_like(&flat)?.try_mul(number::<E>(1.0 - step.lr * step.weight_decay))?;
    *parameter = decayed.try_sub(change.try_mul(number::<E>(rate))?)?.try_reshape_like(&shape)?;
    Ok(())
}

pub(crate) fn square_sum<S: Shape, E: Dtype, D: Device<E>>(
    parameter: &Tensor<S, E, D>,
    gradients: &mut Gradients<E, D>,
) -> Result<f64, D::Err> {
    gradients.get_or_alloc_mut(parameter)?;
    let flat = (parameter.shape().num_elements(),);
    let gradient = gradients.get(parameter).try_reshape_like(&flat)?;
    let sum = gradient.try_square()?.try_sum::<Rank0, Axis<0>>()?;
    Ok(sum.as_vec()[0].to_f64().unwrap_or(f64::NAN))
}

pub(crate) fn average<S: Shape, E: Dtype, D: Device<E>>(
    parameter: &Tensor<S, E, D>,
    average: &mut Tensor<(usize,), E, D>,
    decay: f64,
) -> Result<(), D::Err> {
    let flat = *average.shape();
    let fresh = parameter.clone().try_reshape_like(&flat)?.try_mul(number::<E>(1.0 - decay))?;
    *average = average.clone().try_mul(number::<E>(decay))?.try_add(fresh)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, testing::*};

    const STEP: AdamWStep = AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.05,
        step: 1,
        gradient_scale: 0.5,
    };

    /// Three updates of `len` numbers with the gradient of `sum r p^2 / 2`.
    fn train<E: Dtype, D: Backend<E>>(dev: &D, len: usize) -> (Vec<f64>, f64, Vec<f64>) {
        let r = leaf::<_, E, D>(dev, (len,), &random(len, 2));
        let mut p = leaf::<_, E, D>(dev, (len,), &random(len, 1));
        let mut average = leaf::<_, E, D>(dev, (len,), &random(len, 3));
        let mut moments = Moments::zeros(dev, len).unwrap();
        let mut squares = 0.0;
        for step in 1..=3 {
            let loss = (p.leaky_trace().square() * r.clone()).sum::<Rank0, _>() * E::from_f64(0.5).unwrap();
            let mut gradients = loss.backward();
            squares = dev.square_sum(&p, &mut gradients).unwrap();
            dev.adamw(&mut p, &mut gradients, &mut moments, &AdamWStep { step, ..STEP }).unwrap();
            dev.average_into(&p, &mut average, 0.9).unwrap();
        }
        (to_f64(p.as_vec()), squares, to_f64(average.as_vec()))
    }

    #[test]
    fn kernel_and_composition_agree() {
        let dev = Cpu::default();
        // The second length is more than one task's share.
        for len in [40, 40_000] {
            let want = train::<f64, _>(&dev, len);
            let check = |got: (Vec<f64>, f64, Vec<f64>)| {
                assert!((want.1 - got.1).abs() < 1e-5 * want.1);
                for (w, g) in want.0.iter().chain(&want.2).zip(got.0.iter().chain(&got.2)) {
                    assert!((w - g).abs() < 1e-6, "{w} {g}");
                }
            };
            check(train::<f32, _>(&dev, len));
            on_cuda!(|device| check(train::<f32, _>(device, len)));
        }
    }

    /// Updates two parameters together, of which one is shared. Returns both and what shares it.
    fn together<D: Backend<f32>>(dev: &D) -> [Vec<f64>; 3] {
        let mut a = leaf::<_, f32, D>(dev, (5000,), &random(5000, 1));
        let mut b = leaf::<_, f32, D>(dev, (3, Const::<2>), &random(6, 2));
        let shares = a.clone();
        let loss = a.leaky_trace().square().sum::<Rank0, _>() + b.leaky_trace().sum::<Rank0, _>();
        let mut gradients = loss.backward();
        let [mut of_a, mut of_b] = [5000, 6].map(|len| Moments::zeros(dev, len).unwrap());
        let mut updates = Updates::default();
        dev.adamw_later(&mut a, &mut gradients, &mut of_a, &STEP, &mut updates).unwrap();
        let later = AdamWStep { step: 7, weight_decay: 0.0, ..STEP };
        dev.adamw_later(&mut b, &mut gradients, &mut of_b, &later, &mut updates).unwrap();
        D::finish(updates, &mut gradients).unwrap();
        [to_f64(a.as_vec()), to_f64(b.as_vec()), to_f64(shares.as_vec())]
    }

    #[test]
    fn several_parameters_are_updated_together_and_what_shares_one_stays_as_it_was() {
        let dev = Cpu::default();
        let want = together(&dev);
        assert_eq!(want[2], to_f64(leaf::<_, f32, _>(&dev, (5000,), &random(5000, 1)).as_vec()));
        assert_ne!(want[0], want[2]);
        on_cuda!(|device| {
            for (want, got) in want.iter().zip(together(device)) {
                let off = want.iter().zip(&got).map(|(w, g)| (w - g).abs()).fold(0.0, f64::max);
                assert!(off < 1e-6, "{off}");
            }
        });
    }

    /// The averages of two parameters, taken together three times, and a copy of one from before.
    fn averages<D: Backend<f32>>(dev: &D) -> Vec<Vec<f64>> {
        let parameters = [5000, 7].map(|len| leaf::<_, f32, _>(dev, (len,), &random(len, 5)));
        let mut averages = [5000, 7].map(|len| leaf::<_, f32, _>(dev, (len,), &random(len, 6)));
        let before = averages[0].clone();
        for _ in 0..3 {
            let mut updates = Updates::default();
            for (parameter, average) in parameters.iter().zip(&mut averages) {
                dev.average_later(parameter, average, 0.9, &mut updates).unwrap();
            }
            D::finish_averages(updates).unwrap();
        }
        averages.into_iter().chain([before]).map(|it| to_f64(it.as_vec())).collect()
    }

    #[test]
    fn averages_of_several_parameters_are_taken_together() {
        let dev = Cpu::default();
        let want = averages(&dev);
        let after = |parameter: f64, average: f64| parameter + 0.9f64.powi(3) * (average - parameter);
        let exact: Vec<f64> = random(7, 5).iter().zip(random(7, 6)).map(|(p, a)| after(*p, a)).collect();
        let close = |want: &[f64], got: &[f64]| {
            let off = want.iter().zip(got).map(|(w, g)| (w - g).abs()).fold(0.0, f64::max);
            assert!(want.len() == got.len() && off < 1e-6, "{off}");
        };
        close(&exact, &want[1]);
        close(&random(5000, 6), &want[2]);
        on_cuda!(|device| want.iter().zip(averages(device)).for_each(|(want, got)| close(want, &got)));
    }

    #[test]
    fn the_gradient_stays_after_an_update() {
        let dev = Cpu::default();
        let mut p = dev.tensor([1.0f32, -2.0]);
        let mut gradients = (p.leaky_trace() * dev.tensor([3.0, -0.1])).sum::<Rank0, _>().backward();
        let mut moments = Moments::zeros(&dev, 2).unwrap();
        dev.adamw(&mut p, &mut gradients, &mut moments, &STEP).unwrap();
        assert_eq!(gradient(&mut gradients, &p), to_f64(vec![3.0f32, -0.1]));
    }

    #[test]
    fn a_broadcast_parameter_is_refused_and_stays_as_it_is() {
        let dev = Cpu::default();
        let mut p: Tensor<Rank1<3>, f32, _> = dev.tensor(1.0f32).broadcast();
        let mut average = dev.zeros_like(&(3,));
        let mut gradients = Gradients::leaky();
        let mut moments = Moments::zeros(&dev, 3).unwrap();
        let refusals = [
            dev.average_into(&p, &mut average, 0.5),
            dev.square_sum(&p, &mut gradients).map(drop),
            dev.adamw(&mut p, &mut gradients, &mut moments, &STEP),
        ];
        for error in refusals.map(Result::unwrap_err) {
            assert!(error.to_string().contains("`contiguous()`"), "{error}");
        }
        assert_eq!((p.array(), average.as_vec()), ([1.0; 3], vec![0.0; 3]));
    }

    #[test]
    fn lengths_that_differ_and_step_zero_are_errors() {
        let dev = Cpu::default();
        let mut p = dev.tensor([1.0f32, -2.0]);
        let mut gradients = Gradients::leaky();
        let mut short = Moments::zeros(&dev, 1).unwrap();
        let error = dev.adamw(&mut p, &mut gradients, &mut short, &STEP).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let error = dev.average_into(&p, &mut short.first, 0.9).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let mut moments = Moments::zeros(&dev, 2).unwrap();
        let error =
            dev.adamw(&mut p, &mut gradients, &mut moments, &AdamWStep { step: 0, ..STEP }).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_sign() {
        let dev = Cpu::default();
        let mut p = dev.tensor([1.0f32, -2.0]);
        let mut gradients = (p.leaky_trace() * dev.tensor([3.0, -0.1])).sum::<Rank0, _>().backward();
        let mut moments = Moments::zeros(&dev, 2).unwrap();
        dev.adamw(&mut p, &mut gradients, &mut moments, &AdamWStep { weight_decay: 0.0, ..STEP }).unwrap();
        let [a, b] = p.array();
        assert!((a - 0.99).abs() < 1e-6 && (b + 1.99).abs() < 1e-6, "{a} {b}");
    }
}
