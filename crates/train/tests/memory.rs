//! Training holds as much memory after many steps as after a few.

mod common;

use common::{fixed_batch, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_data::Split;
use inductive_ops::memory;
use inductive_train::{Learner, Recipe};

#[global_allocator]
static ALLOCATOR: memory::PoolAllocator = memory::PoolAllocator::new();

/// The only test of this file: others would allocate at the same time.
#[test]
fn memory_does_not_grow_with_steps() {
    let recipe = tiny_recipe();
    let data = recipe.load_data().unwrap();
    // First, as memory that a larger batch has freed would hide growth.
    check_resident(&recipe, &data);
    let (images, labels) = fixed_batch(&data, 32);
    let mut learner = Learner::new(&Cpu::default(), &recipe, 10).unwrap();
    let mut train = |steps| {
        for _ in 0..steps {
            learner.step(images.clone(), &labels, 1e-4).unwrap();
        }
        memory::peak()
    };
    let early = train(3);
    let late = train(7);
    // One block: the images of the batch, which two threads may hold or not at the moment of the peak.
    let block = images.len() * size_of::<f32>();
    assert!(early > 10 * block, "the peak of {early} bytes cannot be that of a training step");
    assert!(late <= early + block, "the peak grew from {early} to {late} bytes");
    let kept = memory::held() + memory::in_use();
    assert!(kept <= late + late / 4, "{kept} bytes are kept, the peak was {late}");
}

/// The allocator above counts large blocks only; the system's count has the small ones too.
fn check_resident(recipe: &Recipe, data: &Split) {
    let (images, labels) = fixed_batch(data, 2);
    let mut learner = Learner::new(&Cpu::default(), recipe, 10).unwrap();
    let mut train = |steps| {
        for _ in 0..steps {
            learner.step(images.clone(), &labels, 1e-4).unwrap();
        }
        resident_kib()
    };
    let (Some(early), Some(late)) = (train(5), train(35)) else { return };
    assert!(late <= early + 2048, "after 5 steps {early} KiB are resident, after 40 steps {late} KiB");
}

/// Resident memory of this process, where the system is Linux.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
