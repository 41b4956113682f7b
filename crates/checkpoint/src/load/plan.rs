//! The first phase of loading: which tensor of the file goes to which parameter, and what stands in the way.

use std::{borrow::Cow, collections::BTreeMap};

use inductive_files::nearest;

use super::{
    Adaptation, Adapted, Head, LoadOptions, LoadReport, Unmatched, WrongDtype, WrongShape, pos_embed,
};
use crate::{Entry, Error, Result, TensorFile, element::Floats};

/// Beginnings that wrappers put before every name: Lightning and EMA, DataParallel, a checkpoint in a dictionary,
/// torch.compile.
const WRAPPERS: [&str; 4] = ["model.", "module.", "state_dict.", "_orig_mod."];
/// What timm's models call their classifier.
const CLASSIFIERS: [&str; 4] = ["head.weight", "head.bias", "fc.weight", "fc.bias"];
/// BatchNorm's count of batches: an integer that nothing reads as long as the momentum is a constant.
const COUNTER: &str = "num_batches_tracked";
/// How many names without counterpart are looked up for a similar one.
const MAX_LOOKUPS: usize = 200;

/// What one parameter takes from the file.
pub(super) enum Step<'f> {
    AsItIs(Floats<'f>),
    Resampled(Vec<f32>),
}

impl Step<'_> {
    pub fn values(&self) -> Cow<'_, [f32]> {
        match self {
            Self::AsItIs(floats) => Cow::Owned(floats.to_f32()),
            Self::Resampled(values) => Cow::Borrowed(values),
        }
    }
}

/// Compares the parameters (name, shape) with the file. Returns what each takes, by its name.
pub(super) fn plan<'f>(
    parameters: &[(String, Vec<usize>)],
    file: &'f TensorFile,
    options: &LoadOptions,
) -> Result<(BTreeMap<String, Step<'f>>, LoadReport)> {
    let model: BTreeMap<&str, &[usize]> =
        parameters.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let Named { mut entries, stripped, others } = entries(file, &model, &options.section)?;
    let replaces_head = options.head == Head::Replace && other_classes(&model, &entries);
    let mut report = LoadReport {
        path: file.path().to_owned(),
        parameters: parameters.len(),
        refused: false,
        stripped,
        applied: Vec::new(),
        adapted: Vec::new(),
        kept: Vec::new(),
        missing: Vec::new(),
        unused: Vec::new(),
        wrong_shape: Vec::new(),
        wrong_dtype: Vec::new(),
        ignored: Vec::new(),
    };

    let mut missing = Vec::new();
    let mut steps = BTreeMap::new();
    for (name, shape) in parameters {
        let entry = entries.remove(name.as_str());
        let mut step = None;
        if replaces_head && CLASSIFIERS.contains(&name.as_str()) {
            let how = Adaptation::HeadKept { file: entry.map(|e| e.shape.to_vec()), model: shape.clone() };
            report.adapted.push(Adapted { name: name.clone(), how });
        } else if let Some(entry) = entry {
            step = fit(name, shape, &entry, options, &mut report);
        } else if options.optional.contains(name) {
            report.kept.push(name.clone());
        } else {
            missing.push(name.as_str());
        }
        steps.extend(step.map(|step| (name.clone(), step)));
    }

    let is_ignored = |name: &str| {
        name.rsplit('.').next() == Some(COUNTER)
            || (options.head == Head::Replace && CLASSIFIERS.contains(&name))
    };
    let (ignored, unused): (Vec<&str>, Vec<&str>) = entries.into_keys().partition(|name| is_ignored(name));
    report.ignored = ignored.into_iter().map(str::to_owned).chain(others).collect();
    report.missing = unmatched(&missing, &unused);
    report.unused = unmatched(&unused, &missing);
    Ok((steps, report))
}

/// The file's tensors for the model.
struct Named<'f> {
    /// By the names the model should know them by.
    entries: BTreeMap<&'f str, Entry<'f>>,
    /// What was taken off the names in the file.
    stripped: String,
    /// Names in the file that do not begin with that, such as an optimizer's beside `model.`.
    others: Vec<String>,
}

fn entries<'f>(file: &'f TensorFile, model: &BTreeMap<&str, &[usize]>, section: &str) -> Result<Named<'f>> {
    let mut entries: BTreeMap<&str, Entry<'_>> =
        file.entries().filter_map(|e| Some((e.name.strip_prefix(section)?, e))).collect();
    if entries.is_empty() && !section.is_empty() {
        let first = file.entries().next().map_or_else(String::new, |e| e.name.to_owned());
        return Err(Error::NoSection { path: file.path().to_owned(), section: section.to_owned(), first });
    }
    let (mut stripped, mut others) = (String::new(), Vec::new());
    // A model may itself have a field named `model`: as soon as one name matches, nothing more is taken off.
    while !entries.keys().any(|name| model.contains_key(name)) {
        let shared =
            |wrapper: &&&str| !entries.is_empty() && entries.keys().all(|n| n.starts_with(**wrapper));
        // A whole training checkpoint: the model is one of its parts.
        let part = |wrapper: &&&str| {
            entries.keys().any(|n| n.strip_prefix(**wrapper).is_some_and(|name| model.contains_key(name)))
        };
        let Some(wrapper) = WRAPPERS.iter().find(shared).or_else(|| WRAPPERS.iter().find(part)) else {
            break;
        };
        stripped += wrapper;
        let mut inner = BTreeMap::new();
        for (name, entry) in entries {
            match name.strip_prefix(wrapper) {
                Some(name) => _ = inner.insert(name, entry),
                None => others.push(entry.name.to_owned()),
            }
        }
        entries = inner;
    }
    Ok(Named { entries, stripped, others })
}

/// Whether model and file have classifiers that differ in the number of classes, or the file has none.
fn other_classes(model: &BTreeMap<&str, &[usize]>, entries: &BTreeMap<&str, Entry<'_>>) -> bool {
    CLASSIFIERS.iter().filter_map(|name| Some((model.get(name)?, entries.get(name)))).any(|(shape, entry)| {
        match entry {
            None => true,
            // Another width is another model, not another task.
            Some(e) => e.shape.first() != shape.first() && e.shape.get(1..) == shape.get(1..),
        }
    })
}

/// Whether a tensor fits a parameter of the same name, and how; otherwise the report learns why not.
fn fit<'f>(
    name: &str,
    shape: &[usize],
    entry: &Entry<'f>,
    options: &LoadOptions,
    report: &mut LoadReport,
) -> Option<Step<'f>> {
    let Some(floats) = Floats::new(entry.dtype, entry.bytes) else {
        report.wrong_dtype.push(WrongDtype { name: name.to_owned(), got: entry.dtype });
        return None;
    };
    let help = match pos_embed::fit(name, entry.shape, shape, options) {
        Ok(None) if entry.shape == shape => {
            report.applied.push(name.to_owned());
            return Some(Step::AsItIs(floats));
        }
        Ok(None) if CLASSIFIERS.contains(&name) => Some(
            "the file is for another number of classes; a model that trains on from it (`weights` in a recipe) gets a new head"
                .to_owned(),
        ),
        Ok(None) => None,
        Ok(Some(change)) => match change.apply(&floats.to_f32(), shape) {
            Ok(values) => {
                report.adapted.push(Adapted { name: name.to_owned(), how: change.into() });
                return Some(Step::Resampled(values));
            }
            Err(error) => Some(error.to_string()),
        },
        Err(help) => Some(help),
    };
    report.wrong_shape.push(WrongShape {
        name: name.to_owned(),
        expected: shape.to_vec(),
        got: entry.shape.to_vec(),
        help,
    });
    None
}

fn unmatched(names: &[&str], others: &[&str]) -> Vec<Unmatched> {
    let similar = |(i, name): (usize, &&str)| Unmatched {
        name: (*name).to_owned(),
        nearest: (i < MAX_LOOKUPS)
            .then(|| nearest(name, others.iter().copied()))
            .flatten()
            .map(str::to_owned),
    };
    names.iter().enumerate().map(similar).collect()
}
