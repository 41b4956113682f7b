//! Memory: an allocator that keeps large freed blocks for the next step, and counts what is in use.
//!
//! A training step allocates and frees the same buffers again and again. Handing each back to the operating system
//! costs a page fault per 4 KiB when it comes again, about a tenth of a step. dfdx has a cache of its own, but
//! buffers made with `tensor_from_vec` enter it without ever being taken out: it stays disabled (dfdx's default), and
//! this allocator does the work for every `Vec` of the program. A binary opts in:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: inductive_ops::memory::PoolAllocator = inductive_ops::memory::PoolAllocator::new();
//! # fn main() {}
//! ```
//!
//! Blocks of 64 KiB and more are rounded up to one of eight sizes per power of two and kept in a free list per size.
//! Used and kept blocks together stay within 5/4 of the peak of what has been in use: beyond it, blocks go back to the
//! system, so that a program that turns to another model does not carry the buffers of the last one along.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::*},
};

const SMALLEST: usize = 64 << 10;
/// Larger blocks are the system's affair: 64 TiB, and 1 GiB where addresses have 32 bits.
const LARGEST: usize = SMALLEST << (usize::BITS / 2 - 2);
const STEPS: usize = 8;
const CLASSES: usize = STEPS * 32;
const ALIGN: usize = 64;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes of large blocks (64 KiB and more) handed out now.
pub fn in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// The most [`in_use`] has been since the start or the last [`reset_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Bytes of freed large blocks kept for reuse.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// Starts a new measurement of [`peak`].
pub fn reset_peak() {
    PEAK.store(in_use(), Relaxed);
}

/// See the [module](self).
pub struct PoolAllocator {
    locked: AtomicBool,
    /// Head of the free list of each size; a free block's first word points to the next.
    free: UnsafeCell<[*mut u8; CLASSES]>,
}

// SAFETY: `free` is only touched with `locked` held.
unsafe impl Sync for PoolAllocator {}

impl Default for PoolAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// Size class of a block, and the bytes a block of that class has.
fn class(size: usize) -> Option<(usize, usize)> {
    if !(SMALLEST..=LARGEST).contains(&size) {
        return None;
    }
    let units = size.div_ceil(SMALLEST / STEPS);
    let shift = (units / STEPS).ilog2();
    let step = units.div_ceil(1 << shift);
    let class = (shift as usize) * STEPS + step - STEPS;
    Some((class, bytes_of(class)))
}

/// Bytes of the blocks of a class.
fn bytes_of(class: usize) -> usize {
    ((class % STEPS + STEPS) << (class / STEPS)) * (SMALLEST / STEPS)
}

/// Whether `size` more bytes keep used and held blocks within the bound.
fn fits(size: usize) -> bool {
    let peak = PEAK.load(Relaxed);
    HELD.load(Relaxed) + in_use() + size <= peak + peak / 4
}

impl PoolAllocator {
    /// An allocator that holds nothing yet.
    pub const fn new() -> Self {
        Self { locked: AtomicBool::new(false), free: UnsafeCell::new([std::ptr::null_mut(); CLASSES]) }
    }

    fn with_free<R>(&self, f: impl FnOnce(&mut [*mut u8; CLASSES]) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = f(unsafe { &mut *self.free.get() });
        self.locked.store(false, Release);
        result
    }

    fn pop(&self, class: usize) -> *mut u8 {
        self.with_free(|free| {
            let head = free[class];
            if !head.is_null() {
                // SAFETY: a free block's first word is the link written by `dealloc`.
                free[class] = unsafe { head.cast::<*mut u8>().read() };
            }
            head
        })
    }

    /// Gives kept blocks back to the system, largest first, until `size` more bytes fit into the bound.
    fn make_room(&self, size: usize) {
        for class in (0..CLASSES).rev() {
            while HELD.load(Relaxed) > 0 && !fits(size) {
                let block = self.pop(class);
                if block.is_null() {
                    break;
                }
                let bytes = bytes_of(class);
                HELD.fetch_sub(bytes, Relaxed);
                // SAFETY: it was made by `System` with this layout in `alloc`.
                unsafe { System.dealloc(block, Layout::from_size_align_unchecked(bytes, ALIGN)) };
            }
        }
    }

    fn count(size: usize) {
        let now = IN_USE.fetch_add(size, Relaxed) + size;
        PEAK.fetch_max(now, Relaxed);
    }
}

// SAFETY: blocks come from `System` with the layout their class says, and go back to it with the same layout.
unsafe impl GlobalAlloc for PoolAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((class, size)) = class(layout.size()).filter(|_| layout.align() <= ALIGN) else {
            // SAFETY: the caller's.
            return unsafe { System.alloc(layout) };
        };
        let mut block = self.pop(class);
        if block.is_null() {
            if HELD.load(Relaxed) > 0 && !fits(size) {
                self.make_room(size);
            }
            // SAFETY: the size is not 0 and the alignment is a power of two.
            block = unsafe { System.alloc(Layout::from_size_align_unchecked(size, ALIGN)) };
            if block.is_null() {
                return block;
            }
        } else {
            HELD.fetch_sub(size, Relaxed);
        }
        Self::count(size);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class(layout.size()).is_none() || layout.align() > ALIGN {
            // SAFETY: the caller's.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: a block has at least `layout.size()` bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((class, size)) = class(layout.size()).filter(|_| layout.align() <= ALIGN) else {
            // SAFETY: the caller's.
            return unsafe { System.dealloc(block, layout) };
        };
        IN_USE.fetch_sub(size, Relaxed);
        if !fits(size) {
            // SAFETY: it was made by `System` with this layout in `alloc`.
            return unsafe { System.dealloc(block, Layout::from_size_align_unchecked(size, ALIGN)) };
        }
        HELD.fetch_add(size, Relaxed);
        self.with_free(|free| {
            // SAFETY: the block is free and large enough for a pointer.
            unsafe { block.cast::<*mut u8>().write(free[class]) };
            free[class] = block;
        });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let pooled = |size| class(size).is_some() && layout.align() <= ALIGN;
        if !pooled(layout.size()) && !pooled(new_size) {
            // SAFETY: the block is the system's, with this layout; the rest is the caller's.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller's: `new_size` is not 0 and does not overflow when rounded up to the alignment. Both blocks
        // have at least as many bytes as are copied, and a new block overlaps none that is in use.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_size_with_little_waste() {
        for size in (SMALLEST..1 << 24).step_by(4093).chain([SMALLEST, (1 << 30) + 1]) {
            let (class, bytes) = class(size).unwrap();
            assert!(bytes >= size && bytes <= size + size / STEPS + SMALLEST / STEPS, "{size}: {bytes}");
            assert!(class < CLASSES);
        }
        assert_eq!(class(SMALLEST - 1), None);
    }

    #[test]
    fn a_freed_block_comes_back_and_a_resized_one_keeps_its_bytes() {
        let pool = PoolAllocator::new();
        let layout = Layout::from_size_align(1 << 20, 4).unwrap();
        // SAFETY: matching layouts.
        unsafe {
            let a = pool.alloc(layout);
            a.write_bytes(7, 1 << 20);
            pool.dealloc(a, layout);
            let b = pool.alloc_zeroed(layout);
            assert_eq!(a, b);
            assert!(std::slice::from_raw_parts(b, 1 << 20).iter().all(|v| *v == 0));
            System.dealloc(b, Layout::from_size_align(class(1 << 20).unwrap().1, ALIGN).unwrap());
            IN_USE.fetch_sub(class(1 << 20).unwrap().1, Relaxed);

            // Small to small, into the pool, inside it, out of it.
            let mut layout = Layout::from_size_align(1 << 10, 4).unwrap();
            let mut block = pool.alloc(layout);
            block.write_bytes(9, 1 << 10);
            for size in [1 << 11, 1 << 20, 1 << 21, 1 << 10] {
                block = pool.realloc(block, layout, size);
                layout = Layout::from_size_align(size, 4).unwrap();
                assert!(std::slice::from_raw_parts(block, 1 << 10).iter().all(|v| *v == 9), "{size}");
            }
            pool.dealloc(block, layout);
            assert_eq!(in_use(), 0);
        }
    }
}
