//! Reading tensors as slices and moving gradients: what a CPU kernel needs of dfdx.

use dfdx::{
    prelude::{
        Cpu, Gradients, HasShape, NoneTape, PutTape, ReshapeTo, Shape, SplitTape, Tape, Tensor, TensorFromVec,
    },
    tensor::CpuError,
};

pub(crate) use crate::erase::held;
use crate::{Error, Result};

/// Tensors whose extents are numbers, by rank.
pub(crate) type Rank1 = CpuTensor<(usize,)>;
pub(crate) type Rank2 = CpuTensor<(usize, usize)>;
pub(crate) type Rank3 = CpuTensor<(usize, usize, usize)>;
pub(crate) type Rank4 = CpuTensor<(usize, usize, usize, usize)>;
/// `[batch, tokens, channels]` on a tape.
pub(crate) type Tokens<T> = Tensor<(usize, usize, usize), f32, Cpu, T>;

/// A tensor on the CPU in `f32`, without tape.
pub(crate) type CpuTensor<S> = Tensor<S, f32, Cpu, NoneTape>;

/// Whether the elements of `tensor` lie in memory in row-major order.
///
/// dfdx keeps strides to itself; the distance of neighbouring elements along each axis tells them.
pub(crate) fn is_contiguous<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> bool {
    let shape = tensor.shape();
    if shape.num_elements() == 0 {
        return true;
    }
    let dims = shape.concrete();
    let origin = S::Concrete::default();
    let first = &raw const tensor[origin] as usize;
    let mut stride = 1;
    (0..S::NUM_DIMS).rev().all(|axis| {
        let expected = stride * size_of::<f32>();
        stride *= dims[axis];
        let mut index = origin;
        index[axis] = 1;
        dims[axis] == 1 || &raw const tensor[index] as usize - first == expected
    })
}

/// `x` with its elements in row-major order: itself, or a copy that passes its gradient on.
pub(crate) fn contiguous<S: Shape, T: Tape<f32, Cpu>>(
    op: &'static str,
    x: Tensor<S, f32, Cpu, T>,
) -> Result<Tensor<S, f32, Cpu, T>> {
    x.try_contiguous().map_err(|e| Error::device(op, e))
}

/// [`contiguous`] of `x` and of an intermediate result without a tape, whose copy gives its gradient by the tape of x.
pub(crate) fn contiguous_pair<S: Shape, R: Shape, T: Tape<f32, Cpu>>(
    op: &'static str,
    x: Tensor<S, f32, Cpu, T>,
    other: &CpuTensor<R>,
) -> Result<(Tensor<S, f32, Cpu, T>, CpuTensor<R>)> {
    let (x, tape) = contiguous(op, x)?.split_tape();
    let (other, copied) = contiguous(op, other.retaped::<T>())?.split_tape();
    Ok((x.put_tape(tape.merge(copied)), other))
}

/// Refuses parameters that are views of others, permuted or broadcast. A copy could not give them their gradient, and a
/// composition for every shape of a parameter that no module has would make up most of a program.
pub(crate) fn check_parameters(op: &'static str, contiguous: &[bool]) -> Result<()> {
    if contiguous.iter().all(|it| *it) {
        return Ok(());
    }
    let what =
        "a parameter is a permuted or broadcast view; give a copy, made with `contiguous()`".to_owned();
    Err(Error::Argument { op, what })
}

/// The elements of a contiguous tensor in row-major order.
///
/// dfdx has no public view of a tensor as a slice; its `Index` gives the address of the first element.
pub(crate) fn values<S: Shape>(tensor: &CpuTensor<S>) -> &[f32] {
    let len = tensor.shape().num_elements();
    if len == 0 {
        return &[];
    }
    assert!(is_contiguous(tensor), "kernels are given contiguous tensors");
    let first = &raw const tensor[S::Concrete::default()];
    // SAFETY: a contiguous tensor of this shape owns `len` consecutive elements from `first` on, and the borrow of
    // `tensor` keeps its buffer alive and unchanged.
    unsafe { std::slice::from_raw_parts(first, len) }
}

/// As [`values`], to be written. Copies the buffer first if another tensor shares it.
pub(crate) fn values_mut<S: Shape>(tensor: &mut CpuTensor<S>) -> &mut [f32] {
    let len = tensor.shape().num_elements();
    if len == 0 {
        return &mut [];
    }
    assert!(is_contiguous(tensor), "kernels are given contiguous tensors");
    let first = &raw mut tensor[S::Concrete::default()];
    // SAFETY: as in `values`; `IndexMut` has made the buffer this tensor's own.
    unsafe { std::slice::from_raw_parts_mut(first, len) }
}

/// Wraps `values`, which have as many elements as `shape`, in a new tensor without copying them.
pub(crate) fn tensor<S: Shape>(
    op: &'static str,
    device: &Cpu,
    values: Vec<f32>,
    shape: S,
) -> Result<CpuTensor<S>> {
    device.try_tensor_from_vec(values, shape).map_err(|e| Error::device(op, e))
}

/// Takes the gradient of an operation's output out of `gradients`, which frees it as soon as it has been used.
///
/// A gradient of an intermediate result is therefore gone after the backward pass. Those of leaves stay.
pub(crate) fn take_gradient<S: Shape>(
    gradients: &mut Gradients<f32, Cpu>,
    output: &CpuTensor<S>,
) -> Result<Vec<f32>, CpuError> {
    Ok(std::mem::take(&mut **gradients.get_or_alloc_mut(output)?))
}

/// The gradient buffer of a leaf, to be added to. Zeros take the place of one that [`Borrowed`] holds.
pub(crate) fn gradient_of<'g, S: Shape>(
    gradients: &'g mut Gradients<f32, Cpu>,
    of: &CpuTensor<S>,
) -> Result<&'g mut [f32], CpuError> {
    let slot = &mut **gradients.get_or_alloc_mut(of)?;
    if slot.is_empty() {
        slot.resize(of.shape().num_elements(), 0.0);
    }
    Ok(slot)
}

/// The buffer of a gradient, taken out to be added to and given back later: for several gradients at a time.
///
/// Where two arguments are one tensor (tied weights), the second gets zeros, and giving back adds up.
pub(crate) struct Borrowed(pub(crate) Vec<f32>);

impl Borrowed {
    pub(crate) fn take<S: Shape>(
        gradients: &mut Gradients<f32, Cpu>,
        of: &CpuTensor<S>,
    ) -> Result<Self, CpuError> {
        let mut values = take_gradient(gradients, of)?;
        if values.is_empty() {
            values.resize(of.shape().num_elements(), 0.0);
        }
        Ok(Self(values))
    }

    pub(crate) fn give<S: Shape>(
        self,
        gradients: &mut Gradients<f32, Cpu>,
        of: &CpuTensor<S>,
    ) -> Result<(), CpuError> {
        let slot = &mut **gradients.get_or_alloc_mut(of)?;
        if slot.is_empty() {
            *slot = self.0;
        } else {
            crate::residual::accumulate(&self.0, slot);
        }
        Ok(())
    }
}

/// A buffer for `len` results, each to be written before it is read. In a debug build it holds NaN, which shows in any
/// test that reads too early.
pub(crate) fn buffer(len: usize) -> Vec<f32> {
    if cfg!(debug_assertions) {
        return vec![f32::NAN; len];
    }
    let mut values = Vec::with_capacity(len);
    // SAFETY: every kernel writes each element of this buffer before it reads it; some are neither written nor read
    // (the queries of tokens that are not asked for).
    #[allow(clippy::uninit_vec)]
    unsafe {
        values.set_len(len);
    }
    values
}
