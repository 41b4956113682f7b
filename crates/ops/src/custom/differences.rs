//! The gradients of an operation of one's own, against differences of its values.

use super::{Input, Operation};
use crate::{Error, Result};

/// Half the distance over which a value is seen to change.
const STEP: f32 = 1e-2;

/// How far the gradients that [`Operation::backward`] gives are from central differences of [`Operation::forward`], for a sum of the
/// result's elements with weights between -1 and 1: the largest difference, over the largest gradient or 1, whichever is more.
///
/// It is in `f32`, as the operation is: where inputs are of order 1 and the operation is smooth, below 1e-3 if both agree. It takes
/// two evaluations for each element of the inputs. `inputs`: x, then the parameters; `out`: extents of the result.
///
/// # Errors
/// What [`Operation::check`] refuses; a result that is not as long as `out` says; a result or gradients that are not finite.
pub fn gradient_error(operation: &dyn Operation, inputs: &[Input<'_>], out: &[usize]) -> Result<f64> {
    let (name, size) = (operation.name(), out.iter().product());
    let shapes: Vec<_> = inputs.iter().map(|input| input.shape).collect();
    operation.check(&shapes, out).map_err(|what| Error::Argument { op: name, what })?;
    let result = operation.forward(inputs);
    if result.len() != size {
        return Err(Error::shape(name, format!("a result of {size} numbers"), result.len()));
    }
    let weights: Vec<f32> = (0..size).map(weight).collect();
    let mut gradients: Vec<Vec<f32>> = inputs.iter().map(|input| vec![0.0; input.values.len()]).collect();
    let mut slices: Vec<_> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
    operation.backward(inputs, &result, &weights, &mut slices);

    let mut values: Vec<Vec<f32>> = inputs.iter().map(|input| input.values.to_vec()).collect();
    let (mut farthest, mut largest) = (0.0f64, 1.0f64);
    for (which, gradient) in gradients.iter().enumerate() {
        for (at, gradient) in gradient.iter().enumerate() {
            let here = values[which][at];
            let mut loss_at = |value: f32| {
                values[which][at] = value;
                let inputs: Vec<_> =
                    shapes.iter().zip(&values).map(|(shape, values)| Input { shape, values }).collect();
                let products = operation.forward(&inputs).into_iter().zip(&weights);
                products.map(|(y, weight)| f64::from(y) * f64::from(*weight)).sum::<f64>()
            };
            let (above, below) = (here + STEP, here - STEP);
            let slope = (loss_at(above) - loss_at(below)) / f64::from(above - below);
            values[which][at] = here;
            let distance = (slope - f64::from(*gradient)).abs();
            if !distance.is_finite() {
                let what =
                    format!("input {which}, element {at}: a difference of {slope}, a gradient of {gradient}");
                return Err(Error::Argument { op: name, what });
            }
            farthest = farthest.max(distance);
            largest = largest.max(f64::from(gradient.abs()));
        }
    }
    Ok(farthest / largest)
}

/// The same for each place, without a pattern that an operation could have.
fn weight(index: usize) -> f32 {
    let mixed = (index as u32).wrapping_add(1).wrapping_mul(0x9E37_79B9);
    ((mixed ^ (mixed >> 15)) % 2001) as f32 / 1000.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y_i = x_i^2 w`, whose gradient of x is wrong by a factor.
    struct Square {
        factor: f32,
    }

    impl Operation for Square {
        fn name(&self) -> &'static str {
            "square"
        }

        fn check(&self, inputs: &[&[usize]], out: &[usize]) -> Result<(), String> {
            if inputs[0] == out { Ok(()) } else { Err("y is as long as x".into()) }
        }

        fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
            inputs[0].values.iter().map(|x| x * x * inputs[1].values[0]).collect()
        }

        fn backward(&self, inputs: &[Input<'_>], _: &[f32], dy: &[f32], gradients: &mut [&mut [f32]]) {
            let w = inputs[1].values[0];
            for (i, (x, dy)) in inputs[0].values.iter().zip(dy).enumerate() {
                gradients[0][i] += self.factor * x * w * dy;
                gradients[1][0] += x * x * dy;
            }
        }
    }

    fn error(factor: f32, x: &[f32], out: usize) -> Result<f64> {
        let inputs = [Input { shape: &[x.len()], values: x }, Input { shape: &[1], values: &[1.5] }];
        gradient_error(&Square { factor }, &inputs, &[out])
    }

    #[test]
    fn a_right_gradient_has_no_error_and_a_wrong_one_has() {
        assert!(error(2.0, &[0.3, -1.0, 0.8], 3).unwrap() < 1e-4);
        assert!(error(1.9, &[0.3, -1.0, 0.8], 3).unwrap() > 1e-2);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(error(2.0, &[0.3, f32::NAN], 2).unwrap_err().to_string().contains("input 0, element 0"));
        assert!(error(2.0, &[0.3, 0.1], 3).unwrap_err().to_string().contains("as long as x"));
    }
}
