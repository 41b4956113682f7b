//! The measuring process of our own side: builds the model of a task and answers with rounds.

use std::io::BufRead;

use dfdx::prelude::Cpu;
use inductive_models::Zoo;
use inductive_train::bench::{Bench, peak_rss_mib};
use serde::Serialize;

use super::protocol::{Answer, RUN, Ready, Task};
use crate::{
    commands::Done,
    device::{self, Kind},
    error::{Error, Result},
    output::say_set,
};

/// Works until the input ends. `task`: JSON.
pub fn run(task: &str) -> Result<Done> {
    let task: Task = serde_json::from_str(task)
        .map_err(|error| Error::Usage(format!("bench-worker is started by `inductive bench`: {error}")))?;
    match device::parse(&task.device)? {
        Kind::Cpu => answer(Cpu::seed_from_u64(0), &task),
        #[cfg(feature = "cuda")]
        Kind::Cuda(number) => answer(device::open(number)?, &task),
    }
}

fn answer<D: Zoo>(device: D, task: &Task) -> Result<Done> {
    let mut bench = Bench::new(device, &task.spec.name, task.batch, task.spec.classes, task.mode)?;
    let software = format!("inductive {}", env!("CARGO_PKG_VERSION"));
    tell(&Ready { parameters: bench.num_params(), software })?;
    for line in std::io::stdin().lock().lines() {
        if line?.trim() == RUN {
            let round = bench.round(task.seconds)?;
            tell(&Answer { round, peak_rss_mib: peak_rss_mib() })?;
        }
    }
    Ok(Done::Complete)
}

fn tell(message: &impl Serialize) -> Result<()> {
    say_set(serde_json::to_string(message).map_err(std::io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use inductive_models::find;
    use inductive_train::bench::Mode;

    use super::*;

    #[test]
    fn a_batch_that_no_memory_holds_is_an_error() {
        let spec = find("convit_micro").unwrap().spec;
        let task = Task::new(spec, usize::MAX / 2, Mode::Inference, 1, 1.0);
        let error = run(&serde_json::to_string(&task).unwrap()).err().unwrap().to_string();
        assert!(error.contains("1 to 65536 images"), "{error}");
    }
}
