//! The `inductive` command: parses arguments, calls the crates, prints. See `inductive --help`.

mod args;
mod commands;
mod device;
mod error;
mod output;
mod progress;
mod stop;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: inductive_ops::memory::PoolAllocator = inductive_ops::memory::PoolAllocator::new();

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(arguments) {
        Ok(commands::Done::Complete) => ExitCode::SUCCESS,
        // As a shell reports a process that an interrupt has ended.
        Ok(commands::Done::Interrupted) => ExitCode::from(130),
        // Whoever read the output has seen enough.
        Err(error::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::note(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
