//! A device with the kernels on it: launches, products, and memory that is used again.

use std::{
    collections::HashMap,
    ffi::{CString, c_void},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use cudarc::{
    cublas::{
        CudaBlas,
        sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T},
    },
    driver::{CudaDevice, DevicePtr, result, sys},
    nvrtc::{CompileOptions, compile_ptx_with_opts},
};
use dfdx::{
    prelude::{Cuda, Shape, Tensor},
    tensor::CudaError,
};

use super::{
    pointer::{self, Address},
    staging::Staging,
};

/// What all begin with, and the kernels.
const COMMON: &str = include_str!("kernels/common.cuh");
const KERNELS: [&str; 7] = [
    include_str!("kernels/adamw.cu"),
    include_str!("kernels/attention.cu"),
    include_str!("kernels/cross_entropy.cu"),
    include_str!("kernels/elementwise.cu"),
    include_str!("kernels/layer_norm.cu"),
    include_str!("kernels/outcome.cu"),
    include_str!("kernels/windows.cu"),
];

/// Most numbers of a copy that the host does not wait for.
const STAGED: usize = 1 << 16;

/// The names of all kernels of a source: `extern "C" __global__ void NAME(`.
fn names(source: &str) -> impl Iterator<Item = &str> {
    source.split("extern \"C\" __global__ void ").skip(1).filter_map(|it| it.split('(').next())
}

/// A function of the driver.
#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: a handle, which the driver lets any thread use.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A device with everything that kernels need. Lives as long as the program.
pub(super) struct Gpu {
    device: Arc<CudaDevice>,
    blas: CudaBlas,
    functions: HashMap<&'static str, Function>,
    /// Addresses of memory that nobody uses, by numbers in it. One stream does everything, in order, so that what is given back can
    /// be written by whoever comes next.
    unused: Mutex<HashMap<usize, Vec<Address>>>,
    /// What small copies go through.
    staging: Mutex<Option<Staging>>,
    /// Blocks that the device runs well at a time.
    pub(super) blocks: usize,
    /// Bytes of shared memory that a block may have.
    pub(super) shared_bytes: usize,
}

// SAFETY: cuBLAS's handle is used under the device's stream alone; calls from several threads are allowed.
unsafe impl Sync for Gpu {}
// SAFETY: as above.
unsafe impl Send for Gpu {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.device.ordinal())
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    Address(Address),
    U32(u32),
    U64(u64),
    F32(f32),
}

impl Argument {
    fn place(&mut self) -> *mut c_void {
        match self {
            Self::Address(it) | Self::U64(it) => (it as *mut u64).cast(),
            Self::U32(it) => (it as *mut u32).cast(),
            Self::F32(it) => (it as *mut f32).cast(),
        }
    }
}

/// Sizes are checked to be far below this before a kernel is launched.
pub(super) fn small(size: usize) -> Argument {
    Argument::U32(u32::try_from(size).unwrap_or(u32::MAX))
}

pub(super) fn large(size: usize) -> Argument {
    Argument::U64(size as u64)
}

/// No buffer.
pub(super) const NONE: Argument = Argument::Address(0);

/// How many threads launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    pub(super) grid: (usize, usize),
    pub(super) threads: usize,
    pub(super) shared_bytes: usize,
}

/// A product of matrices as cuBLAS has them, stored by columns: `c = op(a) op(b) + beta c`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) turned: (bool, bool),
    pub(super) sizes: (usize, usize, usize),
    pub(super) a: (Address, usize),
    pub(super) b: (Address, usize),
    pub(super) c: (Address, usize),
    pub(super) beta: f32,
}

/// Memory of the device for the time of an operation. What is in it is anything.
#[derive(Debug)]
pub(super) struct Scratch {
    gpu: &'static Gpu,
    pub(super) address: Address,
    len: usize,
}

impl Scratch {
    pub(super) fn bytes(&self) -> usize {
        self.len * size_of::<f32>()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut unused = self.gpu.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.entry(self.len).or_default().push(self.address);
    }
}

/// The devices that were used, by the driver's number; `None`: kernels cannot be had there.
static GPUS: RwLock<Vec<(usize, Option<&'static Gpu>)>> = RwLock::new(Vec::new());

impl Gpu {
    /// The device of a tensor; `None` where operations are compositions.
    pub(super) fn of<S: Shape, T: fmt::Debug>(tensor: &Tensor<S, f32, Cuda, T>) -> Option<&'static Self> {
        let number = pointer::buffer(tensor)?.device;
        let known =
            |all: &[(usize, Option<&'static Self>)]| all.iter().find(|it| it.0 == number).map(|it| it.1);
        let found = known(&GPUS.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(gpu) = found {
            return gpu;
        }
        let mut all = GPUS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = known(&all) {
            return gpu;
        }
        let gpu = match Self::new(tensor.device()) {
            Ok(gpu) => Some(&*Box::leak(Box::new(gpu))),
            Err(why) => {
                eprintln!("note: CUDA runs without own kernels, slowly: {why}");
                None
            }
        };
        all.push((number, gpu));
        gpu
    }

    /// Whether all devices that were used, and one at least, have the kernels.
    pub(super) fn is_everywhere() -> bool {
        let all = GPUS.read().unwrap_or_else(PoisonError::into_inner);
        !all.is_empty() && all.iter().all(|it| it.1.is_some())
    }

    fn new(cuda: &Cuda) -> Result<Self, String> {
        let words = |error: &dyn fmt::Debug| format!("{error:?}");
        if !pointer::tells_the_truth(cuda).map_err(|it| words(&it))? {
            return Err("buffers of this dfdx cannot be read".to_owned());
        }
        let device = pointer::device(cuda).map_err(|it| words(&it))?;
        let blas = CudaBlas::new(device.clone()).map_err(|it| words(&it))?;
        let attribute = |it| device.attribute(it).map(|it| it.max(0) as usize).map_err(|it| words(&it));
        use sys::CUdevice_attribute_enum::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN as SHARED,
            CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS,
        };
        let arch = format!("compute_{}{}", attribute(MAJOR)?, attribute(MINOR)?);
        // Once for each device, for as long as the program lives.
        let options = CompileOptions { arch: Some(Box::leak(arch.into_boxed_str())), ..Default::default() };
        let shared_bytes = attribute(SHARED)?;
        let mut functions = HashMap::new();
        for source in KERNELS {
            let compiled = compile_ptx_with_opts(format!("{COMMON}{source}"), options.clone());
            let image = CString::new(compiled.map_err(|it| words(&it))?.to_src()).map_err(|it| words(&it))?;
            // SAFETY: text that ends with a zero, which the driver copies.
            let module =
                unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(|it| words(&it))?;
            for name in names(source) {
                let c_name = CString::new(name).map_err(|it| words(&it))?;
                // SAFETY: a module that was just loaded and is never unloaded.
                let function =
                    unsafe { result::module::get_function(module, c_name) }.map_err(|it| words(&it))?;
                let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: of a function of this module.
                unsafe { sys::cuFuncSetAttribute(function, most, shared_bytes as i32) }
                    .result()
                    .map_err(|it| words(&it))?;
                functions.insert(name, Function(function));
            }
        }
        let blocks = 16 * attribute(MULTIPROCESSORS)?.max(1);
        Ok(Self {
            device,
            blas,
            functions,
            unused: Mutex::default(),
            staging: Mutex::default(),
            blocks,
            shared_bytes,
        })
    }

    /// Makes calls of this thread go to this device.
    pub(super) fn bind(&self) -> Result<(), CudaError> {
        Ok(self.device.bind_to_thread()?)
    }

    /// dfdx's own stream, on which everything happens in the order of calls.
    pub(super) fn stream(&self) -> sys::CUstream {
        *self.device.cu_stream()
    }

    /// Starts a kernel.
    ///
    /// # Safety of callers
    /// Arguments are those of the kernel, in its order, and buffers as long as it assumes: seen to by whoever writes an operation, as
    /// for any kernel.
    pub(super) fn launch(
        &self,
        name: &'static str,
        launch: Launch,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        let Launch { grid: (x, y), threads, shared_bytes } = launch;
        if x == 0 || y == 0 {
            return Ok(());
        }
        let Some(function) = self.functions.get(name) else { unreachable!("no kernel `{name}`") };
        let mut arguments = arguments.to_vec();
        let mut places: Vec<_> = arguments.iter_mut().map(Argument::place).collect();
        self.bind()?;
        // SAFETY: see above; the stream is dfdx's own, so that everything happens in the order of calls.
        unsafe {
            result::launch_kernel(
                function.0,
                (x as u32, y as u32, 1),
                (threads as u32, 1, 1),
                shared_bytes as u32,
                self.stream(),
                &mut places,
            )
        }?;
        Ok(())
    }

    /// Starts a kernel that works on each of `count` numbers by itself.
    pub(super) fn each(
        &self,
        name: &'static str,
        count: usize,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        const THREADS: usize = 256;
        let blocks = count.div_ceil(THREADS).clamp(1, self.blocks);
        let arguments: Vec<_> = arguments.iter().copied().chain([large(count)]).collect();
        self.launch(name, Launch { grid: (blocks, 1), threads: THREADS, shared_bytes: 0 }, &arguments)
    }

    /// Starts a kernel that has one warp for each of `rows`.
    pub(super) fn warps(
        &self,
        name: &'static str,
        rows: usize,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        const WARPS: usize = 4;
        let launch = Launch { grid: (rows.div_ceil(WARPS), 1), threads: 32 * WARPS, shared_bytes: 0 };
        self.launch(name, launch, arguments)
    }

    /// A product in `f32`.
    pub(super) fn multiply(&self, product: Product) -> Result<(), CudaError> {
        let Product { turned, sizes: (m, n, k), a, b, c, beta } = product;
        let turn = |turned| if turned { CUBLAS_OP_T } else { CUBLAS_OP_N };
        let int = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
        self.bind()?;
        // SAFETY: addresses of buffers of these sizes; factors are read before the call returns.
        unsafe {
            cudarc::cublas::result::sgemm(
                *self.blas.handle(),
                turn(turned.0),
                turn(turned.1),
                int(m),
                int(n),
                int(k),
                &1.0,
                a.0 as *const f32,
                int(a.1),
                b.0 as *const f32,
                int(b.1),
                &beta,
                c.0 as *mut f32,
                int(c.1),
            )
        }?;
        Ok(())
    }

    /// Memory for `len` numbers.
    pub(super) fn scratch(&'static self, len: usize) -> Result<Scratch, CudaError> {
        let len = len.max(1);
        let found = {
            let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
            unused.get_mut(&len).and_then(Vec::pop)
        };
        let address = match found {
            Some(address) => address,
            // SAFETY: whoever asks writes it before it is read.
            None => unsafe { self.device.alloc::<f32>(len) }?.leak(),
        };
        Ok(Scratch { gpu: self, address, len })
    }

    /// A copy of what the host has, numbers or structs of numbers without gaps. Waits for the device only if it is large.
    pub(super) fn upload<R: Copy>(&'static self, rows: &[R]) -> Result<Scratch, CudaError> {
        const { assert!(size_of::<R>().is_multiple_of(4) && align_of::<R>() >= 4) };
        let words = size_of_val(rows) / size_of::<u32>();
        let scratch = self.scratch(words)?;
        if words <= STAGED {
            let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
            let staging = match &mut *staging {
                Some(there) => there,
                none => none.insert(Staging::new(self, STAGED, 32)?),
            };
            // SAFETY: as long as the rows, and aligned as they are at least.
            let words = unsafe { std::slice::from_raw_parts(rows.as_ptr().cast::<u32>(), words) };
            staging.send(&scratch, &[words])?;
            return Ok(scratch);
        }
        self.bind()?;
        // SAFETY: as long as the rows; the driver has read them when the call returns.
        unsafe { result::memcpy_htod_sync(scratch.address, rows) }?;
        Ok(scratch)
    }

    /// Waits for the device and copies the beginning of a buffer, which is long enough.
    pub(super) fn copy_from(&self, from: &Scratch, to: &mut [u32]) -> Result<(), CudaError> {
        assert!(to.len() <= from.len, "more than there is");
        self.bind()?;
        // SAFETY: no longer than the buffer.
        unsafe { result::memcpy_dtoh_sync(to, from.address) }?;
        Ok(())
    }
}

/// Where a buffer of dfdx is.
pub(super) fn address<B: DevicePtr<f32>>(buffer: &B) -> Address {
    *buffer.device_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_found_by_its_name() {
        let all: Vec<&str> = KERNELS.iter().flat_map(|it| names(it)).collect();
        for name in ["gelu_forward", "attention_backward", "windows_backward", "adamw"] {
            assert!(all.contains(&name), "{name}");
        }
        let written = KERNELS.iter().map(|it| it.matches("__global__").count()).sum::<usize>();
        assert_eq!(all.len(), written, "{all:?}");
    }
}
