//! CIFAR-10 and CIFAR-100 in the official binary version, from the archive or the unpacked folder.

use crate::archive::{Files, Member};
use crate::descriptor::Descriptor;
use crate::{Error, ImageSet, Split};
use inductive_files::shown;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

const PIXELS: usize = 3 * 32 * 32;
/// The largest list of class names that is read, in bytes.
const MAX_NAMES: u64 = 1 << 16;

/// How one of the two data sets is laid out.
struct Layout {
    name: &'static str,
    folder: &'static str,
    archive: &'static str,
    /// Kind and number of values of each label byte of a record; the last is the class.
    labels: &'static [(&'static str, usize)],
    /// Files of the training set, in order.
    train: &'static [&'static str],
    test: &'static str,
    /// Records of a file of the training set, and of the test set.
    records: (usize, usize),
    names: &'static str,
    descriptor: fn() -> &'static Descriptor,
}

static CIFAR10: Layout = Layout {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    labels: &[("label", 10)],
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    records: (10_000, 10_000),
    names: "batches.meta.txt",
    descriptor: Descriptor::cifar10,
};

static CIFAR100: Layout = Layout {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    labels: &[("coarse label", 20), ("fine label", 100)],
    train: &["train.bin"],
    test: "test.bin",
    records: (50_000, 10_000),
    names: "fine_label_names.txt",
    descriptor: Descriptor::cifar100,
};

/// Reads CIFAR-10: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
///
/// `path`: the official archive `cifar-10-binary.tar.gz`, the same as a plain `.tar`, the folder unpacked from it, or
/// the folder around that. Batches may be missing; a notice of the [`Split`] then says so.
///
/// # Errors
/// If files are missing, damaged, truncated, of another version or another data set: see [`Error`].
pub fn cifar10(path: &Path) -> Result<Split, Error> {
    read(path, &CIFAR10)
}

/// Reads CIFAR-100 with its 100 fine labels: `train.bin` and `test.bin`.
///
/// `path`: the official archive `cifar-100-binary.tar.gz`, the same as a plain `.tar`, the folder unpacked from it, or
/// the folder around that.
///
/// # Errors
/// If files are missing, damaged, truncated, of another version or another data set: see [`Error`].
pub fn cifar100(path: &Path) -> Result<Split, Error> {
    read(path, &CIFAR100)
}

/// Pixels and classes of some records.
#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

fn read(path: &Path, layout: &Layout) -> Result<Split, Error> {
    let descriptor = (layout.descriptor)();
    let source = Files::open(path, layout.folder, layout.archive)?;
    let (mut files, mut names, mut foreign) = (BTreeMap::new(), None, None);
    // Twice the size of the official data sets, which have about 185 MB.
    source.visit(400_000_000, &mut |member| {
        if member.name == layout.names {
            names = Some(class_names(member, descriptor.classes.len())?);
        } else if member.name == layout.test || layout.train.contains(&member.name) {
            let records = if member.name == layout.test { layout.records.1 } else { layout.records.0 };
            let read = read_records(member.content, &member.place, member.size, layout, records)?;
            if files.insert(member.name.to_owned(), read).is_some() {
                return Err(Error::Duplicate { path: source.path().into(), file: member.name.into() });
            }
        } else {
            foreign = foreign.or_else(|| other_version(member.name));
        }
        Ok(())
    })?;

    let test = files.remove(layout.test);
    let present: Vec<_> = layout.train.iter().filter(|file| files.contains_key(**file)).copied().collect();
    let (Some(test), false) = (test, present.is_empty()) else {
        return Err(missing(
            &source,
            layout,
            if present.is_empty() { layout.train[0] } else { layout.test },
            foreign,
        ));
    };
    let train = present.iter().filter_map(|file| files.remove(*file)).reduce(|mut all, batch| {
        all.pixels.extend(batch.pixels);
        all.labels.extend(batch.labels);
        all
    });
    let train = train.unwrap_or_default();
    let notices = notices(layout, &source, &present, (train.labels.len(), test.labels.len()));

    let mut info = descriptor.info(format!("{}:{}", descriptor.name, path.display()));
    if let Some(names) = names {
        info.class_names = names;
    }
    Ok(Split {
        train: Arc::new(ImageSet::new(info.clone(), train.pixels, train.labels)?),
        test: Arc::new(ImageSet::new(info, test.pixels, test.labels)?),
        notices,
    })
}

/// Reads records of the layout's label bytes and [3, 32, 32] pixels to the end of `content`, at most `most` of them.
///
/// A file that declares a larger `size` than the official one is refused before anything is allocated for it.
fn read_records(
    content: &mut dyn Read,
    file: &str,
    size: u64,
    layout: &Layout,
    most: usize,
) -> Result<Records, Error> {
    let label_bytes = layout.labels.len();
    let record = label_bytes + PIXELS;
    let limit = (record * most) as u64;
    if size > limit {
        return Err(Error::TooLarge { file: file.into(), found: size, limit });
    }
    let mut records = Records::default();
    records.pixels.reserve_exact(size as usize / record * PIXELS);
    let (mut buffer, mut read) = (Vec::with_capacity(record), 0);
    loop {
        buffer.clear();
        let filled = (&mut *content).take(record as u64).read_to_end(&mut buffer);
        let offset = read;
        read += filled.map_err(|reason| Error::io("read", Path::new(file), reason))? as u64;
        let index = records.labels.len();
        if buffer.is_empty() && read == size {
            break;
        }
        if buffer.len() < record {
            return Err(Error::PartialRecord {
                file: file.into(),
                index,
                offset,
                found: buffer.len(),
                record,
            });
        }
        for (at, (&label, &(kind, classes))) in buffer.iter().zip(layout.labels).enumerate() {
            if usize::from(label) >= classes {
                let (file, offset) = (file.into(), offset + at as u64);
                return Err(Error::Label { file, index, kind, label, offset, classes });
            }
        }
        records.labels.push(u32::from(buffer[label_bytes - 1]));
        records.pixels.extend_from_slice(&buffer[label_bytes..]);
    }
    if records.labels.is_empty() {
        return Err(Error::Empty { file: file.into(), record });
    }
    Ok(records)
}

/// A class name per line; empty lines at the end do not count.
fn class_names(member: &mut Member<'_>, expected: usize) -> Result<Vec<String>, Error> {
    if member.size > MAX_NAMES {
        return Err(Error::TooLarge { file: member.place.clone(), found: member.size, limit: MAX_NAMES });
    }
    let mut text = Vec::new();
    let read = member.content.take(MAX_NAMES).read_to_end(&mut text);
    read.map_err(|reason| Error::io("read", Path::new(&member.place), reason))?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    if names.len() != expected {
        return Err(Error::ClassNames { file: member.place.clone(), found: names.len(), expected });
    }
    Ok(names)
}

/// What a file betrays about a download that is not what was asked for.
fn other_version(name: &str) -> Option<&'static str> {
    match name {
        "train.bin" | "test.bin" => Some("the binary version of CIFAR-100"),
        "test_batch.bin" => Some("the binary version of CIFAR-10"),
        _ if name.starts_with("data_batch_") && name.ends_with(".bin") => {
            Some("the binary version of CIFAR-10")
        }
        _ if name.ends_with(".mat") => Some("the Matlab version of CIFAR"),
        "train" | "test" | "meta" | "test_batch" | "batches.meta" => {
            Some("the python (pickle) version of CIFAR")
        }
        _ if name.starts_with("data_batch_") => Some("the python (pickle) version of CIFAR"),
        _ if name.ends_with(".pickle") || name.ends_with(".pkl") => {
            Some("the python (pickle) version of CIFAR")
        }
        _ => None,
    }
}

fn missing(source: &Files, layout: &Layout, file: &str, foreign: Option<&'static str>) -> Error {
    let path = source.path().to_path_buf();
    let url = (layout.descriptor)().url.as_deref().unwrap_or_default();
    let Some(found) = foreign else {
        let missing = format!("{file} of {}", layout.name);
        let advice = match source {
            Files::Folder(folder) if folder.join(layout.archive).is_file() => {
                format!("give the archive itself: {}", folder.join(layout.archive).display())
            }
            _ => format!("give {} ({url}) or the folder {} unpacked from it", layout.archive, layout.folder),
        };
        return Error::MissingFile { path, missing, advice };
    };
    let advice = match found {
        "the binary version of CIFAR-10" => format!("use `cifar10:{}`", path.display()),
        "the binary version of CIFAR-100" => format!("use `cifar100:{}`", path.display()),
        _ => format!("get the \"binary version\", {}, from {url}", layout.archive),
    };
    let expected = if layout.name == "CIFAR-10" { "CIFAR-10 (binary)" } else { "CIFAR-100 (binary)" };
    Error::WrongDataset { path, found, expected, advice }
}

fn notices(layout: &Layout, source: &Files, present: &[&str], (train, test): (usize, usize)) -> Vec<String> {
    let descriptor = (layout.descriptor)();
    if (train, test) == (descriptor.train, descriptor.test) {
        return Vec::new();
    }
    let (files, path) = (present.join(", "), shown(source.path().display()));
    vec![format!(
        "{path} is only a part of {}: {train} of {} training images ({files}) and {test} of {} test images; \
         accuracies compare with no published number",
        layout.name, descriptor.train, descriptor.test
    )]
}
