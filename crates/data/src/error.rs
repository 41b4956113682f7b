//! What can go wrong, written for the person who typed the command.

use inductive_files::{did_you_mean, shown};
use std::io;
use std::path::{Path, PathBuf};

/// The name of a source, before the colon.
fn name_of(text: &str) -> &str {
    text.split(':').next().unwrap_or_default()
}

/// An error of this crate. Each message is complete by itself: it contains its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- `--data` ----
    /// The name before the colon is no data source.
    #[error(
        "data source `{given}` is not supported: expected {forms}{nearest}",
        given = shown(given),
        forms = shown(forms.join(", ")),
        nearest = did_you_mean(name_of(given), forms.iter().map(|it| name_of(it)))
    )]
    UnknownSource {
        /// What was given.
        given: String,
        /// What there is.
        forms: Vec<String>,
    },
    /// The source needs something after the colon.
    #[error(
        "data source `{name}` needs more: write `{form}`, where {called} is {what}",
        name = shown(name), form = shown(form), called = shown(called), what = shown(what)
    )]
    MissingArgument {
        /// Name of the source.
        name: String,
        /// How it is written, `folder:DIR`.
        form: String,
        /// How what is missing is called there.
        called: String,
        /// What it should be.
        what: String,
    },
    /// A source that needs nothing was given something after a colon.
    #[error(
        "data source `{given}` takes nothing after its name: write `{name}`",
        given = shown(given),
        name = shown(name_of(given))
    )]
    UnexpectedArgument {
        /// What was given.
        given: String,
    },
    /// A source cannot be added under this name.
    #[error("a data source `{name}` cannot be added: {problem}", name = shown(name))]
    SourceName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What a source from outside this crate has to say.
    #[error("data `{source_id}`: {problem}", source_id = shown(id), problem = shown(problem))]
    Source {
        /// The `--data` string.
        id: String,
        /// What is wrong.
        problem: String,
    },

    // ---- files and archives ----
    /// The path does not exist.
    #[error("{path} does not exist; expected {what}", path = shown(path.display()), what = shown(what))]
    NotFound {
        /// The path.
        path: PathBuf,
        /// What should be there.
        what: String,
    },
    /// The system refused to read something.
    #[error("cannot {action} {path}: {reason}", path = shown(path.display()), reason = shown(reason))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// The file is not an archive that can be read.
    #[error(
        "{path} is {found}; expected a .tar.gz or .tar archive: {advice}",
        path = shown(path.display()), found = shown(found), advice = shown(advice)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The archive ends early or its contents are inconsistent.
    #[error(
        "{path} is damaged or incomplete after {unpacked} unpacked bytes ({reason}): download it again",
        path = shown(path.display()), reason = shown(reason)
    )]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// Bytes that could be unpacked.
        unpacked: u64,
        /// What the decoder said.
        reason: String,
    },
    /// The right kind of file, but of another data set or another version of it.
    #[error(
        "{path} holds {found}, but {expected} was asked for: {advice}",
        path = shown(path.display()), advice = shown(advice)
    )]
    WrongDataset {
        /// Archive or folder.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
        /// What to do.
        advice: String,
    },
    /// A file of the data set is missing.
    #[error(
        "{path} holds no {missing}: {advice}",
        path = shown(path.display()), missing = shown(missing), advice = shown(advice)
    )]
    MissingFile {
        /// Archive or folder.
        path: PathBuf,
        /// What is missing.
        missing: String,
        /// What to do.
        advice: String,
    },
    /// An archive has the same file twice.
    #[error(
        "{path} holds {file} more than once: this is not the official archive",
        path = shown(path.display()), file = shown(file)
    )]
    Duplicate {
        /// The archive.
        path: PathBuf,
        /// The file in it.
        file: String,
    },

    // ---- records ----
    /// A file of records is empty.
    #[error("{file} is empty; expected records of {record} bytes", file = shown(file))]
    Empty {
        /// The file.
        file: String,
        /// Bytes of a record.
        record: usize,
    },
    /// A file of records ends within a record.
    #[error(
        "{file} ends within record {index}: it starts at byte {offset} and has {found} of {record} bytes; \
         the file is truncated or of another data set",
        file = shown(file)
    )]
    PartialRecord {
        /// The file.
        file: String,
        /// Number of the incomplete record, from 0.
        index: usize,
        /// Where it starts.
        offset: u64,
        /// Bytes it has.
        found: usize,
        /// Bytes it should have.
        record: usize,
    },
    /// A file is larger than the data set allows.
    #[error(
        "{file} has or declares {found} bytes; expected at most {limit}: this is not the official file",
        file = shown(file)
    )]
    TooLarge {
        /// The file.
        file: String,
        /// Its size, as far as known.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A label names no class.
    #[error(
        "{file}: record {index} has {kind} {label} at byte {offset}; expected less than {classes}: \
         the file is damaged or of another data set",
        file = shown(file)
    )]
    Label {
        /// The file.
        file: String,
        /// Number of the record, from 0.
        index: usize,
        /// Which label.
        kind: &'static str,
        /// Its value.
        label: u8,
        /// Where it is.
        offset: u64,
        /// Number of classes.
        classes: usize,
    },
    /// A list of class names has the wrong length.
    #[error("{file} names {found} classes; expected {expected}", file = shown(file))]
    ClassNames {
        /// The file.
        file: String,
        /// Names in it.
        found: usize,
        /// Names expected.
        expected: usize,
    },

    // ---- image folders ----
    /// An image cannot be decoded.
    #[error(
        "cannot decode image {path}: {reason}; replace or remove it",
        path = shown(path.display()), reason = shown(reason)
    )]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A class is in one split only.
    #[error(
        "class `{class}` has a folder in {has} but none in {lacks}; both need the same classes",
        class = shown(class), has = shown(has.display()), lacks = shown(lacks.display())
    )]
    ClassMismatch {
        /// Name of the class.
        class: String,
        /// The folder that has it.
        has: PathBuf,
        /// The folder that lacks it.
        lacks: PathBuf,
    },
    /// Images are requested at an impossible size.
    #[error(
        "images of {height} x {width} pixels were asked for; expected a height and width of 1 to {limit}"
    )]
    ImageSize {
        /// Requested height.
        height: usize,
        /// Requested width.
        width: usize,
        /// Largest side.
        limit: usize,
    },

    // ---- checksums ----
    /// The archive is not the official one.
    #[error(
        "{path} is not the official {dataset} archive: sha256 {found}, expected {expected}; download {url} again",
        path = shown(path.display()), dataset = shown(dataset), found = shown(found), expected = shown(expected), url = shown(url)
    )]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// Name of the data set.
        dataset: String,
        /// Official SHA-256.
        expected: String,
        /// SHA-256 of the file.
        found: String,
        /// Where the official archive is.
        url: String,
    },
    /// There is nothing to compare with.
    #[error("data set {dataset} has no archive with a known sha256", dataset = shown(dataset))]
    NoChecksum {
        /// Name of the data set.
        dataset: String,
    },

    // ---- sets, subsets and loaders ----
    /// Pixels, labels, size and class names do not fit together.
    #[error("data set {spec} is inconsistent: {reason}", spec = shown(spec), reason = shown(reason))]
    Inconsistent {
        /// Name of the set.
        spec: String,
        /// What does not fit.
        reason: String,
    },
    /// The synthetic set cannot have this size.
    #[error(
        "a synthetic {split} set of {images} images was asked for; expected at least {classes} and what fits in memory"
    )]
    Synthetic {
        /// Which split.
        split: &'static str,
        /// Images asked for.
        images: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The fraction of a subset is not a fraction.
    #[error("a fraction of {fraction} per class was asked for; expected more than 0 and at most 1")]
    Fraction {
        /// What was asked for.
        fraction: f64,
    },
    /// A class cannot give as many images as were asked for.
    #[error(
        "{wanted} of class `{class}` were asked for, which has {available} in {spec}: that is {reason}",
        wanted = shown(wanted), class = shown(class), spec = shown(spec)
    )]
    Subset {
        /// Name of the set.
        spec: String,
        /// Name of the class.
        class: String,
        /// What was asked for.
        wanted: String,
        /// Images the class has.
        available: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A loader cannot make a batch.
    #[error(
        "batches of {batch_size} from the {images} images of {spec}: {reason}",
        spec = shown(spec), reason = shown(reason)
    )]
    Loader {
        /// Name of the set.
        spec: String,
        /// Images per batch.
        batch_size: usize,
        /// Images of the set.
        images: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// What is wrong with the data `id`, for a [`Source`](crate::Source) of one's own.
    pub fn source(id: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Source { id: id.into(), problem: problem.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &Path, reason: io::Error) -> Self {
        Self::Io { action, path: path.into(), reason }
    }
}
