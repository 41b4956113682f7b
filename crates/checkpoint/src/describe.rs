//! What a file holds, from its header alone: `inductive inspect FILE`.

use std::{collections::BTreeMap, fmt, path::Path};

use inductive_files::shown;
use safetensors::Dtype;

use crate::{Result, file::open_regular, header::read_header};

/// What [`describe`] found. Its `Display` is a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// One line per tensor, in the order of their names.
    pub tensors: Vec<TensorLine>,
    /// The metadata, strings by strings.
    pub metadata: BTreeMap<String, String>,
    /// Length of the file in bytes, header included.
    pub file_bytes: u64,
}

/// One tensor of a [`Description`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TensorLine {
    /// Its name as written in the file.
    pub name: String,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Number of elements.
    pub numel: usize,
    /// Bytes of data.
    pub bytes: usize,
}

/// Lists the tensors of the safetensors file at `path`; only the header is read, and checked.
///
/// # Errors
/// As [`TensorFile::open`](crate::TensorFile::open).
pub fn describe(path: impl AsRef<Path>) -> Result<Description> {
    let path = path.as_ref();
    let (mut file, file_bytes) = open_regular(path)?;
    let header = read_header(&mut file, file_bytes, path)?;
    let tensors = header.tensors.into_iter().map(|(name, info)| TensorLine {
        name,
        dtype: info.dtype,
        numel: info.shape.iter().product(),
        bytes: info.data_offsets.1 - info.data_offsets.0,
        shape: info.shape,
    });
    Ok(Description { tensors: tensors.collect(), metadata: header.metadata, file_bytes })
}

impl Description {
    /// Number of elements of all tensors.
    pub fn numel(&self) -> usize {
        self.tensors.iter().map(|t| t.numel).sum()
    }

    /// Bytes of data of all tensors.
    pub fn bytes(&self) -> usize {
        self.tensors.iter().map(|t| t.bytes).sum()
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped: a file may not move the cursor of the terminal it is listed on.
        let names: Vec<String> = self.tensors.iter().map(|t| shown(&t.name).to_string()).collect();
        let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(4, 60);
        writeln!(f, "{:name_width$}  {:5}  {:18}  {:>9}", "name", "dtype", "shape", "numbers")?;
        for (name, t) in names.iter().zip(&self.tensors) {
            let (dtype, shape) = (t.dtype.to_string(), format!("{:?}", t.shape));
            writeln!(f, "{name:name_width$}  {dtype:5}  {shape:18}  {:>9}", t.numel)?;
        }
        writeln!(
            f,
            "{} tensors, {} numbers, {} bytes of data, {} bytes in all",
            self.tensors.len(),
            self.numel(),
            self.bytes(),
            self.file_bytes
        )?;
        for (key, value) in &self.metadata {
            writeln!(f, "{}: {}", shown(key), shown(value))?;
        }
        Ok(())
    }
}
