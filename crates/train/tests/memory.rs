//! Training holds as much memory after ten steps as after three.

mod common;

use common::{fixed_batch, tiny_recipe};
use dfdx::prelude::Cpu;
use inductive_ops::memory;
use inductive_train::Learner;

#[global_allocator]
static ALLOCATOR: memory::PoolAllocator = memory::PoolAllocator::new();

/// The only test of this file: others would allocate at the same time.
#[test]
fn memory_does_not_grow_with_steps() {
    let recipe = tiny_recipe();
    let (images, labels) = fixed_batch(&recipe.load_data().unwrap(), 32);
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
