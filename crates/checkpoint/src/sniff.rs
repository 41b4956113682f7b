//! What a file is that is not safetensors, from its first bytes, and what to do with it.

use std::path::Path;

use crate::Error;

/// How many bytes of a file [`sniff`] looks at.
pub(crate) const SNIFF_BYTES: usize = 64;

/// The error for a file whose first bytes are known to be of another format.
pub(crate) fn sniff(path: &Path, head: &[u8]) -> Option<Error> {
    let text = head.trim_ascii_start().to_ascii_lowercase();
    let (kind, help) = match head {
        [b'P', b'K', 3, 4, ..] => ("a zip archive, as written by torch.save", convert(path)),
        [0x80, 2..=5, ..] => ("a Python pickle, as written by torch.save", convert(path)),
        [0x89, b'H', b'D', b'F', ..] => {
            ("an HDF5 file", "export the weights with safetensors instead".to_owned())
        }
        [b'G', b'G', b'U', b'F', ..] => {
            ("a GGUF file", "get the model's .safetensors file instead".to_owned())
        }
        [0x1f, 0x8b, ..] => ("a gzip archive", "unpack it first".to_owned()),
        _ if text.starts_with(b"version https://git-lfs") => {
            ("a Git LFS pointer without the data", "run `git lfs pull` in its repository".to_owned())
        }
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") || text.starts_with(b"<?xml") => {
            ("a web page", "download the file itself, not the page that shows it".to_owned())
        }
        _ => return None,
    };
    Some(Error::NotSafetensors { path: path.to_owned(), kind, help })
}

/// The line of Python that turns a PyTorch file into safetensors.
fn convert(path: &Path) -> String {
    // Only names that need no quoting go into a command that someone may paste into a shell.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let file = path.to_str().filter(|p| p.chars().all(plain)).unwrap_or("FILE.pth");
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    format!(
        "convert it with: python -c \"import torch, safetensors.torch as s; \
         w = torch.load('{file}', map_location='cpu', weights_only=True); \
         w = w.get('model', w.get('state_dict', w)); \
         s.save_file({{k: v.contiguous().clone() for k, v in w.items()}}, '{stem}.safetensors')\""
    )
}
