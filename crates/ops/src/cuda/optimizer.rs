//! AdamW for all parameters in one launch, clipping and moving averages likewise.

use dfdx::{
    prelude::{Cuda, Gradients, HasShape, ReshapeTo, Tensor, ZerosTensor},
    tensor::CudaError,
};

use super::{
    gpu::{Argument, Gpu, Launch, NONE, Scratch, address, small},
    operation::OnGpu,
    pointer::{Address, address_of},
};
use crate::{AdamWStep, Erase, Error, Moments, Result, Updates, erase::with_erased};
use Argument::{Address as At, F32};

/// Numbers that a block works on, and its threads.
const PER_BLOCK: usize = 4096;
const THREADS: usize = 256;

/// Numbers before and after an update. They are two buffers: others may share the one before, and have to find it as it was.
#[derive(Debug)]
struct Change {
    before: OnGpu<(usize,)>,
    at_before: Address,
    /// Held until the update is done: who has the parameter may drop it before.
    _after: OnGpu<(usize,)>,
    at_after: Address,
}

impl Change {
    /// Gives `tensor` a new buffer, which nothing is written to yet; or leaves it the one that it has.
    fn of<S: Erase>(tensor: &mut Tensor<S, f32, Cuda>, in_place: bool) -> Result<Self> {
        let failed = |error: CudaError| Error::device("adamw", error);
        let numel = (tensor.shape().num_elements(),);
        // A parameter that is a view is refused, as everywhere.
        let at_before = address_of("adamw", tensor)?;
        let before = tensor.clone().try_reshape_like(&numel).map_err(failed)?;
        if in_place {
            return Ok(Self { _after: before.clone(), before, at_before, at_after: at_before });
        }
        let after = before.device().try_zeros_like(&numel).map_err(failed)?;
        with_erased(tensor, |tensor| {
            let shape = *tensor.shape();
            after.clone().try_reshape_like(&shape).map(|new| *tensor = new)
        })
        .map_err(failed)?;
        let at_after = address_of("adamw", &after)?;
        Ok(Self { before, at_before, _after: after, at_after })
    }
}

/// What is left to [`finish`]: one parameter's update.
#[derive(Debug)]
pub(crate) struct Update {
    gpu: &'static Gpu,
    parameter: Change,
    first: Change,
    second: Change,
    step: AdamWStep,
}

impl Update {
    pub(super) fn new<S: Erase>(
        gpu: &'static Gpu,
        parameter: &mut Tensor<S, f32, Cuda>,
        moments: &mut Moments<f32, Cuda>,
        step: &AdamWStep,
        in_place: bool,
    ) -> Result<Self> {
        let first = Change::of(&mut moments.first, in_place)?;
        let second = Change::of(&mut moments.second, in_place)?;
        Ok(Self { gpu, parameter: Change::of(parameter, in_place)?, first, second, step: *step })
    }

    /// A row of the table that the kernel reads: `Update` there.
    fn row(&self, gradient: Address, first_block: u32) -> Row {
        let (rate, correction) = self.step.corrections();
        Row {
            parameter: self.parameter.at_before,
            new_parameter: self.parameter.at_after,
            gradient,
            first: self.first.at_before,
            new_first: self.first.at_after,
            second: self.second.at_before,
            new_second: self.second.at_after,
            count: self.parameter.before.shape().0 as u64,
            keep: (1.0 - self.step.lr * self.step.weight_decay) as f32,
            rate: rate as f32,
            correction: correction as f32,
            first_block,
        }
    }
}

/// As the kernel has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Row {
    parameter: Address,
    new_parameter: Address,
    gradient: Address,
    first: Address,
    new_first: Address,
    second: Address,
    new_second: Address,
    count: u64,
    keep: f32,
    rate: f32,
    correction: f32,
    first_block: u32,
}

/// Does all of `updates`, which have the same decays of averages, `eps` and factor of gradients. Returns the norm of their gradients if it
/// clips and nobody has said where the norm goes.
pub(super) fn finish(updates: Updates, gradients: &mut Gradients<f32, Cuda>) -> Result<Option<f64>> {
    let Updates { on_gpu: updates, guard, clip, norm, .. } = updates;
    let Some(Update { gpu, step, .. }) = updates.first() else { return Ok(clip.map(|_| 0.0)) };
    let failed = |error: CudaError| Error::device("adamw", error);
    let (mut rows, mut blocks) = (Vec::with_capacity(updates.len()), 0);
    for update in &updates {
        let same = |a: &AdamWStep, b: &AdamWStep| {
            (a.beta1, a.beta2, a.eps, a.gradient_scale) == (b.beta1, b.beta2, b.eps, b.gradient_scale)
        };
        if !same(&update.step, step) {
            let what = "updates of one step have the same decays, eps and factor of gradients".to_owned();
            return Err(Error::Argument { op: "adamw", what });
        }
        let before = &update.parameter.before;
        let gradient = address(gradients.get_or_alloc_mut(before).map_err(failed)?);
        rows.push(update.row(gradient, blocks as u32));
        blocks += before.shape().0.div_ceil(PER_BLOCK);
    }
    let table = gpu.upload(&rows).map_err(failed)?;
    let of_table = [At(table.address), small(rows.len()), small(PER_BLOCK)];
    let clipped = clip.map(|max| clip_to(gpu, max, &of_table, blocks)).transpose().map_err(failed)?;
    let factor = clipped.as_ref().map_or(NONE, |it| At(it.address));
    let guard = guard.map_or(NONE, |it| At(it.address));
    let launch = Launch { grid: (blocks, 1), threads: THREADS, shared_bytes: 0 };
    let decays = [step.beta1, step.beta2, step.eps, step.gradient_scale].map(|it| F32(it as f32));
    let arguments = [&of_table[..], &[guard, factor], &decays].concat();
    gpu.launch("adamw", launch, &arguments).map_err(failed)?;
    match (clipped, norm) {
        (None, _) => Ok(None),
        (Some(clipped), Some(to)) => {
            let of_norm = [At(clipped.address + 4), At(to.address), Argument::U32(1)];
            gpu.each("accumulate", 1, &of_norm).map_err(failed)?;
            Ok(None)
        }
        (Some(clipped), None) => {
            let mut words = [0; 2];
            gpu.copy_from(&clipped, &mut words).map_err(failed)?;
            Ok(Some(f64::from(f32::from_bits(words[1]))))
        }
    }
}

/// The factor that clips all gradients of a table to a norm of `max`, and their norm.
fn clip_to(
    gpu: &'static Gpu,
    max: f64,
    of_table: &[Argument; 3],
    blocks: usize,
) -> Result<Scratch, CudaError> {
    const SHARED: usize = 8 * THREADS;
    // Numbers of 8 bytes.
    let sums = gpu.scratch(2 * blocks)?;
    let launch = Launch { grid: (blocks, 1), threads: THREADS, shared_bytes: SHARED };
    gpu.launch("square_sums", launch, &[&of_table[..], &[At(sums.address)]].concat())?;
    let result = gpu.scratch(2)?;
    let launch = Launch { grid: (1, 1), threads: THREADS, shared_bytes: SHARED };
    let arguments = [At(sums.address), small(blocks), F32(max as f32), At(result.address)];
    gpu.launch("clip_factor", launch, &arguments)?;
    Ok(result)
}

/// What is left to [`finish_averages`]: the average of one parameter.
#[derive(Debug)]
pub(crate) struct Average {
    gpu: &'static Gpu,
    parameter: OnGpu<(usize,)>,
    average: Change,
    decay: f64,
}

impl Average {
    pub(super) fn new<S: Erase>(
        gpu: &'static Gpu,
        parameter: &Tensor<S, f32, Cuda>,
        average: &mut OnGpu<(usize,)>,
        decay: f64,
        in_place: bool,
    ) -> Result<Self> {
        let failed = |error: CudaError| Error::device("average_into", error);
        let numel = (parameter.shape().num_elements(),);
        let parameter = parameter.clone().try_reshape_like(&numel).map_err(failed)?;
        Ok(Self { gpu, parameter, average: Change::of(average, in_place)?, decay })
    }
}

/// As the kernel has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct AverageRow {
    parameter: Address,
    average: Address,
    new_average: Address,
    count: u64,
    weight: f32,
    first_block: u32,
}

/// Does all averages of `updates`.
pub(super) fn finish_averages(updates: Updates) -> Result<()> {
    let Updates { averages, guard, .. } = updates;
    let Some(Average { gpu, .. }) = averages.first() else { return Ok(()) };
    let (mut rows, mut blocks) = (Vec::with_capacity(averages.len()), 0);
    for Average { parameter, average, decay, .. } in &averages {
        rows.push(AverageRow {
            parameter: address_of("average_into", parameter)?,
            average: average.at_before,
            new_average: average.at_after,
            count: parameter.shape().0 as u64,
            weight: (1.0 - decay) as f32,
            first_block: blocks as u32,
        });
        blocks += parameter.shape().0.div_ceil(PER_BLOCK);
    }
    let failed = |error: CudaError| Error::device("average_into", error);
    let table = gpu.upload(&rows).map_err(failed)?;
    let launch = Launch { grid: (blocks, 1), threads: THREADS, shared_bytes: 0 };
    let guard = guard.map_or(NONE, |it| At(it.address));
    let arguments = [At(table.address), small(rows.len()), small(PER_BLOCK), guard];
    gpu.launch("average", launch, &arguments).map_err(failed)
}
