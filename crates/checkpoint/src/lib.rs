//! Safetensors exchange with timm and PyTorch: read, check, adapt and write the parameters of any model.
//!
//! Everything works on [`inductive_nn::Module`], which shows the parameters of a model by name.
//! The names are timm's state-dict keys, so a file written by timm loads as it is and the other way round.
//!
//! - [`TensorFile`] reads a `.safetensors` file and trusts nothing in it;
//! - [`load`] checks all of it against a model before it changes any of the model, and returns a [`LoadReport`];
//! - [`save`] writes a model, [`TensorWriter`] any named tensors, both atomically ([`write_atomic`]);
//! - [`describe`] lists what a file holds without reading the tensors.
//!
//! # What is not in a checkpoint
//!
//! ConViT's relative position indices (the input of `pos_proj`) depend on the grid alone and have no entry in a
//! timm checkpoint: the model rebuilds them for its own grid. `pos_proj.weight [heads, 3]` and `pos_proj.bias`
//! depend on no grid and load as they are. Only `pos_embed` changes with the grid, and [`load`] resamples it.

mod describe;
mod element;
mod error;
mod file;
mod header;
mod load;
mod sniff;
mod write;

pub use describe::{Description, TensorLine, describe};
pub use element::Element;
pub use error::{Error, Result};
pub use file::{Entry, TensorFile};
pub use inductive_files::{check_writable, write_atomic};
pub use load::{
    Adaptation, Adapted, Head, LoadOptions, LoadReport, Unmatched, WrongDtype, WrongShape, load,
    load_tensors, resample_abs_pos_embed,
};
pub use safetensors::Dtype;
pub use write::{Metadata, TensorWriter, save};
