//! Tests of the crate as its users see it, in one program: each program is linked for itself. That of memory stands alone, as it
//! has an allocator of its own.

#[path = "../common/mod.rs"]
mod common;

mod by_name;
#[cfg(feature = "cuda")]
mod devices;
mod divergence;
mod foreign;
mod further;
mod initial_weights;
mod learning;
mod own_initializer;
mod parity;
mod parts;
mod resume;
mod switching;
mod switching_hook;
mod switching_state;
