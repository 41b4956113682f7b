//! How much texts and expressions of a file may ask for, so that no file fills the stack, the memory or the day.

use std::cell::{Cell, RefCell};

use super::context::Said;

/// Braces within braces, and texts that name texts, at most.
const MAX_DEPTH: usize = 32;
/// Characters of filled texts, and ten for each value that is computed, at most: hundreds of times those of any report here.
const MAX_UNITS: usize = 100_000_000;
/// What a value or a row counts.
pub(crate) const VALUE: usize = 10;
/// Numbers per layer at most: no network here has more layers.
pub(crate) const MAX_LAYERS: usize = 1024;
/// Decimals at most: no double has more digits that say anything.
const MAX_DECIMALS: usize = 17;

/// What one report has asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    units: Cell<usize>,
    depth: Cell<usize>,
    /// The texts that are being filled in, the outermost first.
    texts: RefCell<Vec<String>>,
}

impl Work {
    /// Counts characters or values.
    pub fn add(&self, units: usize) -> Said<()> {
        self.units.set(self.units.get().saturating_add(units));
        if self.units.get() <= MAX_UNITS {
            return Ok(());
        }
        Err("the file asks for more text and numbers than any report holds; name fewer rows, or texts within texts less often".to_owned())
    }

    /// `of`, within what is being filled in.
    pub fn within<T>(&self, of: impl FnOnce() -> Said<T>) -> Said<T> {
        if self.depth.get() == MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} braces or texts within each other; say it more plainly"
            ));
        }
        self.depth.set(self.depth.get() + 1);
        let result = of();
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// `of`, which fills in the text of this name.
    pub fn text<T>(&self, name: &str, of: impl FnOnce() -> Said<T>) -> Said<T> {
        let ring = {
            let texts = self.texts.borrow();
            let first = texts.iter().position(|text| text == name);
            first.map(|first| [&texts[first..], &[name.to_owned()]].concat().join(" -> "))
        };
        if let Some(ring) = ring {
            return Err(format!("[text] names itself: {ring}; write one of them out"));
        }
        self.texts.borrow_mut().push(name.to_owned());
        let result = self.within(of);
        self.texts.borrow_mut().pop();
        result
    }
}

/// `asked` decimals, if they are no more than a number has.
pub(crate) fn decimals(asked: usize) -> Said<usize> {
    match asked {
        0..=MAX_DECIMALS => Ok(asked),
        _ => Err(format!("{asked} decimals; give at most {MAX_DECIMALS}")),
    }
}
