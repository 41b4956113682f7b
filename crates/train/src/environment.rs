//! `env.json`: where and with what a run ran. Best effort: what is not known is left out, and nothing here fails a run.

use std::{fs, path::Path, thread};

use inductive_checkpoint::write_atomic;
use serde::Serialize;

use crate::Result;

/// What is known of this program and machine.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of this crate.
    pub version: &'static str,
    /// The compiler, `rustc 1.95.0 (..)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rustc: Option<&'static str>,
    /// Revision of the source; `-dirty` behind it if files were changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<&'static str>,
    /// `release`, or `debug` with assertions.
    pub build: &'static str,
    /// Operating system and architecture.
    pub platform: String,
    /// Name of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Threads the machine offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
    /// Threads used.
    pub threads: usize,
    /// The device that computed, as its type is called.
    pub device: String,
}

impl Environment {
    /// Of this process, computing on `D`.
    pub fn current<D>() -> Self {
        let device = std::any::type_name::<D>();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            rustc: option_env!("INDUCTIVE_RUSTC"),
            git: option_env!("INDUCTIVE_GIT"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu_name(),
            cores: thread::available_parallelism().ok().map(usize::from),
            threads: rayon::current_num_threads(),
            device: device.rsplit("::").next().unwrap_or(device).to_owned(),
        }
    }

    /// Adds this start of the run to the list at `path`; what is no list there is replaced.
    pub(crate) fn append(&self, path: &Path) -> Result<()> {
        let mut starts: Vec<serde_json::Value> = inductive_files::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        starts.extend(serde_json::to_value(self));
        let text = serde_json::to_string_pretty(&starts).unwrap_or_default();
        Ok(write_atomic(path, format!("{text}\n").as_bytes())?)
    }
}

fn cpu_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
