//! Ctrl-C: the first asks the run to stop after the step at hand, the second ends the process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    error::{Error, Result},
    output::note,
};

/// A flag that an interrupt sets.
pub fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        note("\nstopping after this step; press Ctrl-C again to stop at once (the last checkpoint stays)");
    })
    .map_err(|error| Error::Usage(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(flag)
}
