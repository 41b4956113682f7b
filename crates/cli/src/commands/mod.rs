//! One file per command.

pub mod bench;
mod data;
mod eval;
mod fourier;
pub mod init;
mod inspect;
pub mod recipe;
mod reparameterize;
pub mod reproduce;
mod train;

use dfdx::prelude::Cpu;

use crate::{
    args::{Arguments, Command, Common},
    device::{self, Kind},
    error::{Error, Result},
};

/// How a command ended.
pub enum Done {
    Complete,
    /// An interrupt stopped it; everything is saved.
    Interrupted,
}

/// What all commands share.
pub struct Settings {
    /// As they were given.
    pub common: Common,
    pub plain: bool,
    pub device: Kind,
}

/// Runs what was asked for.
pub fn run(arguments: Arguments) -> Result<Done> {
    let Arguments { command, common } = arguments;
    rayon_threads(common.threads)?;
    let settings = Settings { plain: common.plain, device: device::parse(&common.device)?, common };
    if settings.common.device == "auto" {
        eprintln!("device: {}", settings.device);
    }
    match settings.device {
        Kind::Cpu => on(&Cpu::default(), &settings, command),
        #[cfg(feature = "cuda")]
        Kind::Cuda(number) => {
            let device = device::open(number)?;
            on(&device, &settings, command)
        }
    }
}

fn on<D: inductive_models::Zoo>(device: &D, settings: &Settings, command: Command) -> Result<Done> {
    match command {
        Command::Reproduce(args) => reproduce::run(device, settings, args),
        Command::Init(args) => init::run(settings, args),
        Command::Reparameterize(args) => reparameterize::run(device, settings, args),
        Command::Recipe(args) => recipe::run(args),
        Command::Train(args) => train::run(device, settings, args),
        Command::Eval(args) => eval::run(device, &args),
        Command::Fourier(args) => fourier::run(device, settings, args),
        Command::Inspect(args) => inspect::run(args),
        Command::Data(args) => data::run(args),
        Command::Bench(args) => bench::run(settings, args),
        Command::BenchWorker { task } => bench::worker::run(&task),
    }
}

/// More threads than any machine has.
const MAX_THREADS: usize = 1024;

fn rayon_threads(threads: usize) -> Result<()> {
    if threads > MAX_THREADS {
        return Err(Error::Usage(format!("--threads {threads}: give at most {MAX_THREADS}")));
    }
    inductive_ops::set_threads(threads).map_err(|error| Error::Usage(format!("--threads {threads}: {error}")))
}
