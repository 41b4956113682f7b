//! Choice of the device.

use crate::error::{Error, Result};

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda,
}

/// Reads `--device`.
pub fn parse(name: &str) -> Result<Kind> {
    match name {
        "cpu" => Ok(Kind::Cpu),
        "cuda" => cuda(),
        other => Err(Error::Usage(format!("--device {other}: choose cpu or cuda"))),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Kind> {
    Err(Error::Usage(
        "--device cuda: this build has no CUDA; build with `--features cuda` (needs nvcc)".to_owned(),
    ))
}

/// dfdx panics where there is no driver: look for it first.
#[cfg(feature = "cuda")]
fn cuda() -> Result<Kind> {
    if std::path::Path::new("/proc/driver/nvidia/version").exists() || cfg!(windows) {
        Ok(Kind::Cuda)
    } else {
        Err(Error::Usage(
            "--device cuda: there is no NVIDIA driver on this machine; use --device cpu".to_owned(),
        ))
    }
}
