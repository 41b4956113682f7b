//! Patch embedding on the CPU: patches are gathered into rows, then it is a linear layer.

use rayon::prelude::*;

use super::Dims;
use crate::linear;

/// The patches as rows, `[batch * tokens, channels * patch * patch]`.
fn gather(dims: Dims, images: &[f32]) -> Vec<f32> {
    let mut patches = vec![0.0; dims.batch * dims.tokens() * dims.inner()];
    patches
        .par_chunks_mut(dims.tokens() * dims.inner())
        .zip(images.par_chunks(dims.tokens() * dims.inner()))
        .for_each(|(patches, image)| {
            each_run(dims, |at_patch, at_image, len| {
                patches[at_patch..][..len].copy_from_slice(&image[at_image..][..len]);
            })
        });
    patches
}

/// Calls `copy(offset in the rows of patches, offset in the image, length)` for each run of contiguous pixels.
fn each_run(dims: Dims, mut copy: impl FnMut(usize, usize, usize)) {
    let Dims { channels, rows, cols, patch, .. } = dims;
    let (height, width) = (rows * patch, cols * patch);
    for row in 0..rows {
        for col in 0..cols {
            let base = (row * cols + col) * dims.inner();
            for channel in 0..channels {
                for y in 0..patch {
                    let at_image = (channel * height + row * patch + y) * width + col * patch;
                    copy(base + (channel * patch + y) * patch, at_image, patch);
                }
            }
        }
    }
}

fn linear_dims(dims: Dims) -> linear::Dims {
    linear::Dims { rows: dims.batch * dims.tokens(), inner: dims.inner(), outer: dims.width }
}

/// `y` (overwritten) `= patches W^T + b`; returns the patches for the backward pass.
pub(crate) fn forward(dims: Dims, images: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) -> Vec<f32> {
    let patches = gather(dims, images);
    linear::forward(linear_dims(dims), &patches, weight, Some(bias), y);
    patches
}

/// Adds the gradients of the weights, and that of the images if it is asked for.
pub(crate) fn backward(
    dims: Dims,
    dy: &[f32],
    patches: &[f32],
    weight: (&[f32], &mut [f32]),
    dbias: &mut [f32],
    dimages: Option<&mut [f32]>,
) {
    let mut dpatches = dimages.is_some().then(|| vec![0.0; patches.len()]);
    linear::backward(
        linear_dims(dims),
        dy,
        (patches, dpatches.as_deref_mut()),
        (weight.0, Some(weight.1)),
        Some(dbias),
    );
    if let (Some(dpatches), Some(dimages)) = (dpatches, dimages) {
        let size = dims.tokens() * dims.inner();
        dimages.par_chunks_mut(size).zip(dpatches.par_chunks(size)).for_each(|(image, patches)| {
            each_run(dims, |at_patch, at_image, len| {
                let run = image[at_image..][..len].iter_mut().zip(&patches[at_patch..][..len]);
                run.for_each(|(i, p)| *i += p);
            });
        });
    }
}
