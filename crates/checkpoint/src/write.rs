//! Writing models and other named tensors.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use inductive_files::write_with;
use inductive_nn::{Module, ModuleExt};
use inductive_ops::Backend;
use safetensors::{Dtype, tensor::TensorInfo};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    Element, Error, Result,
    header::{MAX_HEADER, METADATA_KEY},
};

/// What a file says about itself, strings by strings.
pub type Metadata = BTreeMap<String, String>;

/// Writes a model as timm would: its names, its shapes, F32. Atomic, see [`write_atomic`](crate::write_atomic).
///
/// `metadata` is stored with `format = "pt"` added unless it says otherwise: some Python readers insist on it.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written, [`Error::Tensor`] if two parameters have one name.
pub fn save<D: Backend<f32>>(
    model: &dyn Module<f32, D>,
    path: impl AsRef<Path>,
    metadata: &Metadata,
) -> Result<()> {
    let mut writer = TensorWriter::new();
    writer.add_model("", model)?.add_metadata("format", "pt");
    for (key, value) in metadata {
        writer.add_metadata(key, value);
    }
    writer.write(path)
}

/// Collects named tensors and writes them as one safetensors file.
///
/// The bytes depend on the contents only, not on the order of the calls: tensors lie in the file by descending
/// alignment of their type, then by name; metadata by key.
///
/// ```
/// use inductive_checkpoint::{TensorFile, TensorWriter};
///
/// let mut writer = TensorWriter::new();
/// writer.add("progress/step", &[], &[1200_u64])?.add("rng/seed", &[2], &[1_u8, 2])?;
/// writer.add_metadata("recipe", "quick");
/// let file = TensorFile::from_bytes(&writer.to_bytes()?, "state.safetensors")?;
/// assert_eq!(file.values::<u64>("progress/step")?, [1200]);
/// # Ok::<(), inductive_checkpoint::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TensorWriter {
    tensors: BTreeMap<String, Pending>,
    metadata: Metadata,
}

#[derive(Debug, Clone)]
struct Pending {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl TensorWriter {
    /// Nothing to write yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; `values` are row-major.
    ///
    /// # Errors
    /// [`Error::Tensor`] if `shape` does not have that many elements, or the name is taken or reserved.
    pub fn add<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<&mut Self> {
        let numel = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        if numel != Some(values.len()) {
            return Err(Error::tensor(
                name,
                format!("shape {shape:?} does not hold {} values", values.len()),
            ));
        }
        if name == METADATA_KEY || self.tensors.contains_key(name) {
            return Err(Error::tensor(name, "this name is taken; give each tensor its own"));
        }
        let tensor = Pending { dtype: T::DTYPE, shape: shape.to_vec(), bytes: T::to_bytes(values) };
        self.tensors.insert(name.to_owned(), tensor);
        Ok(self)
    }

    /// Adds all parameters of a model, `prefix` (e.g. `"ema/"`) put before each name.
    /// [`LoadOptions::section`](crate::LoadOptions::section) reads them back.
    ///
    /// # Errors
    /// As [`TensorWriter::add`].
    pub fn add_model<D: Backend<f32>>(
        &mut self,
        prefix: &str,
        model: &dyn Module<f32, D>,
    ) -> Result<&mut Self> {
        let mut outcome = Ok(());
        model.for_each_parameter(&mut |parameter| {
            if outcome.is_ok() {
                let name = format!("{prefix}{}", parameter.name());
                outcome = self.add(&name, parameter.shape(), &parameter.to_vec()).map(drop);
            }
            Ok(())
        })?;
        outcome.map(|()| self)
    }

    /// Adds an entry of the metadata; a later value of the same key replaces an earlier one.
    pub fn add_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The file as bytes.
    ///
    /// # Errors
    /// [`Error::Tensor`] if names and metadata are longer than the format allows (100 MB).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (header, tensors) = self.layout()?;
        let mut bytes = header;
        tensors.iter().for_each(|t| bytes.extend_from_slice(&t.bytes));
        Ok(bytes)
    }

    /// Writes the file, atomically, see [`write_atomic`](crate::write_atomic).
    ///
    /// # Errors
    /// [`Error::Io`], or as [`TensorWriter::to_bytes`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let (header, tensors) = self.layout()?;
        Ok(write_with(path.as_ref(), |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(&header)?;
            tensors.iter().try_for_each(|t| out.write_all(&t.bytes))
        })?)
    }

    /// Length and header as they stand in the file, and the tensors in the order of their data.
    fn layout(&self) -> Result<(Vec<u8>, Vec<&Pending>)> {
        let mut ordered: Vec<_> = self.tensors.iter().collect();
        // The order of `Dtype` is that of alignment.
        ordered.sort_by_key(|(name, tensor)| (Reverse(tensor.dtype), *name));
        let mut end = 0;
        let infos = ordered.iter().map(|(name, tensor)| {
            let begin = end;
            end += tensor.bytes.len();
            let info =
                TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (begin, end) };
            (name.as_str(), info)
        });
        let header = HeaderOut { metadata: &self.metadata, infos: infos.collect() };
        let mut json =
            serde_json::to_vec(&header).map_err(|error| Error::tensor(METADATA_KEY, error.to_string()))?;
        // Data begin at a multiple of 8 bytes.
        json.resize(json.len().next_multiple_of(8), b' ');
        if json.len() as u64 > MAX_HEADER {
            let problem = format!("names and metadata take {} bytes, the limit is {MAX_HEADER}", json.len());
            return Err(Error::tensor(METADATA_KEY, problem));
        }
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut json);
        Ok((bytes, ordered.into_iter().map(|(_, tensor)| tensor).collect()))
    }
}

/// `safetensors::serialize` keeps the metadata in a hash map, so its bytes differ from run to run; this keeps order.
struct HeaderOut<'a> {
    metadata: &'a Metadata,
    infos: Vec<(&'a str, TensorInfo)>,
}

impl Serialize for HeaderOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for (name, info) in &self.infos {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}
