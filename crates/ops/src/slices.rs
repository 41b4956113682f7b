//! Kernels on plain row-major slices, for solvers that have no tensors and no tape.

use crate::{AdamWStep, adamw, softmax};

/// Softmax of each row of `width` elements in place, in this thread.
///
/// # Panics
/// If `values` is not a whole number of rows.
pub fn softmax_rows(width: usize, values: &mut [f32]) {
    assert!(width > 0 && values.len().is_multiple_of(width), "whole rows of {width} elements");
    softmax::rows(width, values);
}

/// From the gradient of softmax's result to that of its input, row by row in place, in this thread:
/// `gradient = softmax (gradient - sum_j softmax_j gradient_j)`.
///
/// # Panics
/// If the slices are not equally many whole rows.
pub fn softmax_rows_backward(width: usize, softmax: &[f32], gradient: &mut [f32]) {
    assert!(width > 0 && softmax.len().is_multiple_of(width), "whole rows of {width} elements");
    assert_eq!(softmax.len(), gradient.len(), "one gradient per result");
    softmax::rows_backward(width, softmax, gradient);
}

/// One update of `parameter` and both averages in place.
///
/// # Panics
/// If the lengths differ.
pub fn adamw(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    step: &AdamWStep,
) {
    let lengths = [gradient.len(), first.len(), second.len()];
    assert_eq!(lengths, [parameter.len(); 3], "one gradient and two averages per parameter");
    adamw::update(parameter, gradient, first, second, step);
}
