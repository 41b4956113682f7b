//! Memory of the host that a device copies from while the host goes on.

use cudarc::driver::sys;
use dfdx::tensor::CudaError;

use super::gpu::{Gpu, Scratch};

/// Takes numbers to one buffer of the device, again and again, without waiting for what the device does.
///
/// Each copy begins in page-locked memory of its own, one of a few in turn; that is written again when the device has read it, which is
/// waited for only if the host is as many copies ahead.
pub(super) struct Staging {
    gpu: &'static Gpu,
    places: Vec<Place>,
    next: usize,
    bytes: usize,
}

struct Place {
    /// Page-locked.
    memory: *mut u8,
    /// That the copy from it is done.
    read: sys::CUevent,
}

// SAFETY: memory and events are used by whoever has the staging, under `&mut`.
unsafe impl Send for Staging {}

impl Staging {
    /// For so many numbers at a time, and so many copies on their way, one at least.
    pub(super) fn new(gpu: &'static Gpu, len: usize, places: usize) -> Result<Self, CudaError> {
        let bytes = len.max(1) * size_of::<f32>();
        let places = (0..places.max(1)).map(|_| Place::NONE).collect();
        let mut staging = Self { gpu, places, next: 0, bytes };
        gpu.bind()?;
        for place in &mut staging.places {
            // SAFETY: both are written by the calls; what is left after an error is freed with the rest.
            unsafe {
                sys::cuMemAllocHost_v2((&raw mut place.memory).cast(), bytes).result()?;
                sys::cuEventCreate(&raw mut place.read, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32)
                    .result()?;
            }
        }
        Ok(staging)
    }

    /// Copies `parts`, one after the other, to the beginning of `to`. They are read before this returns.
    pub(super) fn send(&mut self, to: &Scratch, parts: &[&[u32]]) -> Result<(), CudaError> {
        let bytes: usize = parts.iter().map(|it| size_of_val(*it)).sum();
        assert!(bytes <= self.bytes && bytes <= to.bytes(), "more than fits");
        self.gpu.bind()?;
        let place = &self.places[self.next];
        self.next = (self.next + 1) % self.places.len();
        // SAFETY: the device has read what was here before; lengths were checked; the copy is made from memory that lives as long as this,
        // which waits for it before it is dropped.
        unsafe {
            if sys::cuEventQuery(place.read) != sys::CUresult::CUDA_SUCCESS {
                sys::cuEventSynchronize(place.read).result()?;
            }
            let mut at = place.memory;
            for part in parts {
                std::ptr::copy_nonoverlapping(part.as_ptr().cast(), at, size_of_val(*part));
                at = at.add(size_of_val(*part));
            }
            sys::cuMemcpyHtoDAsync_v2(to.address, place.memory.cast(), bytes, self.gpu.stream()).result()?;
            sys::cuEventRecord(place.read, self.gpu.stream()).result()?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Staging({} bytes)", self.bytes)
    }
}

impl Place {
    const NONE: Self = Self { memory: std::ptr::null_mut(), read: std::ptr::null_mut() };
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.gpu.bind();
        for Place { memory, read } in &self.places {
            // SAFETY: made by `new`, and not used any more.
            unsafe {
                if !read.is_null() {
                    let _ = sys::cuEventSynchronize(*read);
                    let _ = sys::cuEventDestroy_v2(*read);
                }
                if !memory.is_null() {
                    let _ = sys::cuMemFreeHost(memory.cast());
                }
            }
        }
    }
}

/// Numbers as they are in memory.
pub(super) fn words(numbers: &[f32]) -> &[u32] {
    // SAFETY: of the same size and alignment; every pattern of bits is a number of the other type.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
}
