//! The header of a safetensors file, checked before anything else of the file is believed.
//!
//! Layout: 8 bytes little-endian header length, the header (JSON: tensor name -> dtype, shape, data_offsets; and
//! `__metadata__`), the data, which the tensors cover without gap or overlap.
//!
//! The last word has the `safetensors` crate's own `Metadata`. The checks before it say what is wrong and where, keep
//! numbers away from it that would overflow its sums, and refuse names given twice, which it lets pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde::{
    Deserialize,
    de::{
        Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{Error as ValueError, StrDeserializer},
    },
};

use crate::{
    Error, Result,
    sniff::{SNIFF_BYTES, sniff},
};

/// Longest header that is read or written, in bytes; the format's own limit.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// The key of a header that is not a tensor.
pub(crate) const METADATA_KEY: &str = "__metadata__";
/// The bytes of the header's length, before the header.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// A checked header.
#[derive(Debug)]
pub(crate) struct Header {
    /// Tensors by name. Their offsets count from `data_start` and lie inside the file.
    pub tensors: BTreeMap<String, TensorInfo>,
    pub metadata: BTreeMap<String, String>,
    /// The byte of the file at which the data begin.
    pub data_start: u64,
}

/// Reads and checks the header of a file of `file_len` bytes and leaves `reader` at the first byte of data.
pub(crate) fn read_header(reader: &mut (impl Read + Seek), file_len: u64, path: &Path) -> Result<Header> {
    let unreadable = || Error::io("read the file", path);
    let mut head = Vec::with_capacity(SNIFF_BYTES);
    reader.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut head).map_err(unreadable())?;
    let fail = |offset, problem| Error::Format { path: path.to_owned(), offset, problem };
    let sniffed = |offset, problem| sniff(path, &head).unwrap_or_else(|| fail(offset, problem));

    let Some((length, _)) = head.split_first_chunk() else {
        let problem = format!("expected at least {LENGTH_BYTES} bytes, the file has {}", head.len());
        return Err(sniffed(0, problem));
    };
    let length = u64::from_le_bytes(*length);
    let data_start = length.saturating_add(LENGTH_BYTES);
    if data_start > file_len {
        let problem = format!(
            "the header's length is given as {length} bytes, but the file has {file_len} in all; \
             is it cut short, or of another format?"
        );
        return Err(sniffed(0, problem));
    }
    if length > MAX_HEADER {
        let problem = format!("the header's length is given as {length} bytes; {MAX_HEADER} is the limit");
        return Err(sniffed(0, problem));
    }

    let mut json = Vec::new();
    reader.seek(SeekFrom::Start(LENGTH_BYTES)).map_err(unreadable())?;
    reader.by_ref().take(length).read_to_end(&mut json).map_err(unreadable())?;
    let raw: RawHeader = serde_json::from_slice(&json).map_err(|error| {
        let offset = LENGTH_BYTES + position(&json, error.line(), error.column());
        sniffed(offset, format!("the header is malformed: {error}"))
    })?;
    let tensors = check(raw.tensors, file_len - data_start)
        .map_err(|(begin, problem)| fail(data_start.saturating_add(begin), problem))?;
    Ok(Header { tensors, metadata: raw.metadata.0, data_start })
}

/// The byte of `json` at a line and column as `serde_json` counts them.
fn position(json: &[u8], line: usize, column: usize) -> u64 {
    let lines = json.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1)) as u64
}

/// Checks that each tensor has the bytes its type and shape need, and that together they cover `data_len` bytes.
/// The error says at which byte of the data, and what.
fn check(
    tensors: Vec<(String, RawInfo)>,
    data_len: u64,
) -> Result<BTreeMap<String, TensorInfo>, (u64, String)> {
    let mut infos = Vec::with_capacity(tensors.len());
    for (name, RawInfo { dtype, shape, data_offsets: (begin, end) }) in tensors {
        let fail = |problem: String| (begin, format!("tensor {name:?}: {problem}"));
        let known: StrDeserializer<'_, ValueError> = dtype.as_str().into_deserializer();
        let known = Dtype::deserialize(known).map_err(|_| fail(format!("unknown dtype {dtype:?}")))?;
        let Some(bits) = shape.iter().try_fold(known.bitsize() as u64, |n, d| n.checked_mul(*d)) else {
            return Err(fail(format!("the size of shape {shape:?} overflows")));
        };
        if begin > end || end > data_len {
            return Err(fail(format!(
                "data_offsets [{begin}, {end}] are outside the {data_len} bytes of data; is the file cut short?"
            )));
        }
        if !bits.is_multiple_of(8) || end - begin != bits / 8 {
            let (need, has) = (bits.div_ceil(8), end - begin);
            return Err(fail(format!(
                "{known} {shape:?} needs {need} bytes, data_offsets [{begin}, {end}] give {has}"
            )));
        }
        let size = |n: u64| usize::try_from(n).map_err(|_| fail(format!("{n} is too much for this machine")));
        let shape = shape.iter().map(|d| size(*d)).collect::<Result<Vec<_>, _>>()?;
        let data_offsets = (size(begin)?, size(end)?);
        infos.push((name, TensorInfo { dtype: known, shape, data_offsets }));
    }

    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut covered = 0;
    for (name, info) in &infos {
        let begin = info.data_offsets.0;
        if begin != covered {
            let what = if begin < covered { "overlap another tensor's" } else { "leave a gap" };
            let problem =
                format!("tensor {name:?}: expected data from {covered}, they begin at {begin} and {what}");
            return Err((begin as u64, problem));
        }
        covered = info.data_offsets.1;
    }
    if covered as u64 != data_len {
        let rest = data_len - covered as u64;
        return Err((covered as u64, format!("{rest} bytes follow the last tensor's data")));
    }
    // The format's own judge.
    Metadata::new(None, infos.clone()).map_err(|error| (0, error.to_string()))?;
    Ok(infos.into_iter().collect())
}

/// The header as it is written, nothing checked but that keys are unique.
struct RawHeader {
    tensors: Vec<(String, RawInfo)>,
    metadata: UniqueMap,
}

#[derive(Deserialize)]
struct RawInfo {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map from tensor names to dtype, shape and data_offsets")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut names = BTreeSet::new();
                let mut raw = RawHeader { tensors: Vec::new(), metadata: UniqueMap::default() };
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the name {name:?} is given twice")));
                    }
                    if name == METADATA_KEY {
                        raw.metadata = map.next_value::<Option<UniqueMap>>()?.unwrap_or_default();
                    } else {
                        raw.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A map of strings without repeated keys.
#[derive(Default)]
struct UniqueMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = UniqueMap;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map from strings to strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if strings.contains_key(&key) {
                        return Err(A::Error::custom(format!("the metadata key {key:?} is given twice")));
                    }
                    strings.insert(key, value);
                }
                Ok(UniqueMap(strings))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}
