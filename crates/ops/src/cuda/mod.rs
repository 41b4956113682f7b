//! CUDA: own kernels on dfdx's tensors, for `f32`.
//!
//! dfdx's tensors stay what they are; where a kernel is there, an operation reads their buffers ([`pointer`]), launches it
//! ([`Gpu`]), and puts its gradient on the tape ([`operation`]). The kernels are compiled where the program runs, by NVRTC, without a
//! header. Sums are made in an order that only sizes decide, without atomics: the same seed gives the same bits on the same card.
//! Where buffers cannot be read (another dfdx) or kernels not be compiled, all operations are compositions.

#![allow(unsafe_code)]

mod attention;
mod backend;
mod convolution;
mod gpu;
mod linear;
mod norm;
mod operation;
mod optimizer;
mod pointer;
mod replay;
mod rows;
mod staging;
mod tokens;

pub(crate) use optimizer::{Average, Update};

use std::fmt::Display;

use crate::{Error, Result};

/// How many GPUs CUDA can use here.
///
/// # Errors
/// [`Error::Device`] in the driver's words: no GPU, a driver that is too old or does not answer.
pub fn devices() -> Result<usize> {
    let error = |error: &dyn Display| Error::device("cuda", error);
    cudarc::driver::result::init().map_err(|it| error(&it))?;
    let count = cudarc::driver::result::device::get_count().map_err(|it| error(&it))?;
    Ok(usize::try_from(count).unwrap_or(0))
}
