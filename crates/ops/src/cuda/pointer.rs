//! Where a tensor's numbers are on the device.
//!
//! dfdx 0.13.0 keeps a tensor's buffer to itself. What is public is `Debug`, derived by tensor and buffers: it begins with
//! `Tensor { id: UniqueId(7), data: CachableCudaSlice { data: CudaSlice { cu_device_ptr: 139.., len: 24, device: CudaDevice {
//! cu_device: 0,`. Both crates are pinned and see no more releases; [`tells_the_truth`] holds it against numbers that are known,
//! before an address is used.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use cudarc::driver::CudaDevice;
use dfdx::{
    dtypes::Unit,
    prelude::{Cuda, HasShape, ReshapeTo, Shape, Storage, Tensor, TensorFromVec},
    tensor::CudaError,
};

use crate::{Error, Result};

/// A place in the device's memory.
pub(super) type Address = u64;

/// A tensor's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) address: Address,
    /// Numbers in it: fewer than in a broadcast tensor.
    pub(super) len: usize,
    /// The driver's number of the device.
    pub(super) device: usize,
}

/// Keeps the first that is written to it, and then fails, so that formatting ends there: what comes next locks the device's tables.
struct Head {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..][..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits < text.len() || text == "cu_primary_ctx" { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The number after `field`, and what comes after it.
fn number<'a>(text: &'a str, field: &str) -> Option<(u64, &'a str)> {
    let digits = text.split_once(field)?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    Some((digits[..end].parse().ok()?, &digits[end..]))
}

fn parse(text: &str) -> Option<Buffer> {
    let (address, text) = number(text, "data: CachableCudaSlice { data: CudaSlice { cu_device_ptr: ")?;
    let (len, text) = number(text, ", len: ")?;
    let (device, _) = number(text, ", device: CudaDevice { cu_device: ")?;
    Some(Buffer { address, len: usize::try_from(len).ok()?, device: usize::try_from(device).ok()? })
}

/// The buffer of `tensor`; `None` if `Debug` writes something else.
pub(super) fn buffer<S: Shape, E: Unit, T: fmt::Debug>(tensor: &Tensor<S, E, Cuda, T>) -> Option<Buffer> {
    let mut head = Head { bytes: [0; 256], len: 0 };
    let _ = write!(head, "{tensor:?}");
    parse(std::str::from_utf8(&head.bytes[..head.len]).ok()?)
}

/// Where the numbers of a parameter are, which must lie in row-major order.
///
/// # Errors
/// A view, permuted or broadcast: a copy could not give it its gradient.
pub(super) fn address_of<S: Shape>(op: &'static str, parameter: &Tensor<S, f32, Cuda>) -> Result<Address> {
    let unreadable = || Error::device(op, "the buffer of a tensor cannot be read");
    let buffer_of = |tensor| buffer(tensor).ok_or_else(unreadable);
    let own = buffer_of(parameter)?;
    // Of a contiguous tensor, the tensor itself.
    let contiguous = parameter.clone().try_contiguous().map_err(|error| Error::device(op, error))?;
    if buffer_of(&contiguous)? == own && own.len == parameter.shape().num_elements() {
        return Ok(own.address);
    }
    crate::tape::check_parameters(op, &[false])?;
    Err(unreadable())
}

/// dfdx's own handle of the device: a buffer knows it.
pub(super) fn device(cuda: &Cuda) -> Result<Arc<CudaDevice>, CudaError> {
    Ok(<Cuda as Storage<f32>>::try_alloc_len(cuda, 1)?.device())
}

/// Whether numbers that are read through the address of [`buffer`] are those of the tensor.
pub(super) fn tells_the_truth(cuda: &Cuda) -> Result<bool, CudaError> {
    let device = device(cuda)?;
    for len in [1usize, 7, 1000] {
        let numbers: Vec<f32> = (0..len).map(|i| (i * i + len) as f32).collect();
        let tensor: Tensor<(usize,), f32, Cuda> = cuda.try_tensor_from_vec(numbers.clone(), (len,))?;
        let Some(found) = buffer(&tensor).filter(|it| it.len == len && buffer(&tensor.clone()) == Some(*it))
        else {
            return Ok(false);
        };
        // SAFETY: only read from, and given up before it could free what is not its own. A wrong address is refused by the driver.
        let slice = unsafe { device.upgrade_device_ptr::<f32>(found.address, found.len) };
        let read = device.dtoh_sync_copy(&slice);
        slice.leak();
        if read.ok() != Some(numbers) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dfdx_writes_is_read_and_all_else_refused() {
        let text = "Tensor { id: UniqueId(7), data: CachableCudaSlice { data: CudaSlice { cu_device_ptr: 139642, len: 24, \
                    device: CudaDevice { cu_device: 1, cu_primary_ctx";
        assert_eq!(parse(text), Some(Buffer { address: 139_642, len: 24, device: 1 }));
        for (from, to) in
            [("cu_device_ptr: 1", "ptr: 1"), ("len: 24", "len: many"), ("CudaDevice {", "Device {")]
        {
            assert_eq!(parse(&text.replace(from, to)), None, "{to}");
        }
    }
}
