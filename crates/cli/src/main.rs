//! The `inductive` command: parses arguments, calls the crates, prints. See `inductive --help`.

mod args;
mod commands;
mod device;
mod error;
mod help;
mod hint;
mod output;
mod progress;
mod stop;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: inductive_ops::memory::PoolAllocator = inductive_ops::memory::PoolAllocator::new();

fn main() -> ExitCode {
    match commands::run(args::Arguments::of_process()) {
        Ok(commands::Done::Complete) => ExitCode::SUCCESS,
        // As a shell reports a process that an interrupt has ended.
        Ok(commands::Done::Interrupted) => ExitCode::from(130),
        // Whoever read the output has seen enough.
        Err(error::Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::note(&format!("error: {}", hint::as_started(&error.to_string())));
            ExitCode::from(error.exit_code())
        }
    }
}
