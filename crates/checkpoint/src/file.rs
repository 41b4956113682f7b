//! A safetensors file in memory, every claim of its header checked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use inductive_files::nearest;
use safetensors::{Dtype, tensor::TensorInfo};

use crate::{
    Element, Error, Result,
    element::{FLOATS, Floats},
    header::{Header, read_header},
};

/// A safetensors file, read and checked.
///
/// Reading trusts nothing in the file: whatever is wrong with it is an [`Error`] that names the file and the byte.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    header: Header,
    data: Vec<u8>,
}

/// One tensor of a file.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'f> {
    /// Its name as written in the file.
    pub name: &'f str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape; empty for a single number.
    pub shape: &'f [usize],
    /// Its values, little-endian and row-major.
    pub bytes: &'f [u8],
}

impl TensorFile {
    /// Reads the file at `path` into memory.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::NotSafetensors`] if it is recognised as something else (a
    /// PyTorch file: the message has the command that converts it), [`Error::Format`] if it is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (mut file, len) = open_regular(path)?;
        Self::read(&mut file, len, path)
    }

    /// Reads a file that is already in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn from_bytes(bytes: &[u8], path: impl Into<PathBuf>) -> Result<Self> {
        Self::read(&mut Cursor::new(bytes), bytes.len() as u64, &path.into())
    }

    fn read(reader: &mut (impl Read + io::Seek), len: u64, path: &Path) -> Result<Self> {
        let header = read_header(reader, len, path)?;
        let unreadable = || Error::io("read the file", path);
        let expected = usize::try_from(len - header.data_start).map_err(io::Error::other);
        let expected = expected.map_err(unreadable())?;
        let mut data = Vec::new();
        data.try_reserve_exact(expected).map_err(io::Error::other).map_err(unreadable())?;
        reader.by_ref().take(expected as u64).read_to_end(&mut data).map_err(unreadable())?;
        if data.len() != expected {
            // Someone is writing to it at this moment.
            return Err(unreadable()(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self { path: path.to_owned(), header, data })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata, strings by strings.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// All tensors in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.header.tensors.iter().map(|(name, info)| self.view(name, info))
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::NoTensor`] with the most similar name there is.
    pub fn entry(&self, name: &str) -> Result<Entry<'_>> {
        let found = self.header.tensors.get_key_value(name);
        found.map(|(name, info)| self.view(name, info)).ok_or_else(|| Error::NoTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            nearest: nearest(name, self.header.tensors.keys().map(String::as_str)).map(str::to_owned),
        })
    }

    /// The values of a tensor of exactly that type: what [`TensorWriter::add`](crate::TensorWriter::add) wrote.
    ///
    /// # Errors
    /// [`Error::NoTensor`], [`Error::WrongDtype`].
    pub fn values<T: Element>(&self, name: &str) -> Result<Vec<T>> {
        let entry = self.entry(name)?;
        if entry.dtype != T::DTYPE {
            return Err(self.wrong_dtype(&entry, T::NAME));
        }
        Ok(T::from_bytes(entry.bytes))
    }

    /// The values of a floating-point tensor (F16, BF16, F32, F64) as `f32`; exact except for F64, which is rounded.
    ///
    /// # Errors
    /// [`Error::NoTensor`], [`Error::WrongDtype`] for integers and 8-bit floats.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        let floats = Floats::new(entry.dtype, entry.bytes);
        floats.map(Floats::to_f32).ok_or_else(|| self.wrong_dtype(&entry, FLOATS))
    }

    fn wrong_dtype(&self, entry: &Entry<'_>, expected: &'static str) -> Error {
        Error::WrongDtype { path: self.path.clone(), name: entry.name.to_owned(), expected, got: entry.dtype }
    }

    fn view<'f>(&'f self, name: &'f str, info: &'f TensorInfo) -> Entry<'f> {
        let (begin, end) = info.data_offsets;
        // `read_header` checked the offsets against the data's length, and `read` that the data are all there.
        Entry { name, dtype: info.dtype, shape: &info.shape, bytes: &self.data[begin..end] }
    }
}

impl Entry<'_> {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Opens a file and says how long it is; a folder, a pipe or a device is an error.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let file = inductive_files::open(path).map_err(Error::io("open the file", path))?;
    let len = file.metadata().map_err(Error::io("open the file", path))?.len();
    Ok((file, len))
}
