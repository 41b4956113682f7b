//! Choice of the device.

use crate::error::{Error, Result};

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Cpu,
    /// The GPU of this number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Reads `--device`: `cpu`, `cuda`, `cuda:N`, or `auto`, the first GPU if there is one.
pub fn parse(name: &str) -> Result<Kind> {
    let refused =
        || Error::Usage(format!("--device {name}: choose cpu, cuda, cuda:N (a GPU's number from 0) or auto"));
    match name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number))) {
        ("cpu", None) => Ok(Kind::Cpu),
        ("auto", None) => Ok(cuda(0).unwrap_or(Kind::Cpu)),
        ("cuda", None) => cuda(0),
        ("cuda", Some(number)) => cuda(number.parse().map_err(|_| refused())?),
        _ => Err(refused()),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Kind> {
    Err(Error::Usage(
        "--device cuda: this build has no CUDA; with nvcc and a GPU, `cargo build --release -p inductive-cli --features cuda` makes \
         one that has"
            .to_owned(),
    ))
}

/// The driver is asked first: dfdx panics where there is none.
#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Kind> {
    let refused = |why: String| Err(Error::Usage(format!("--device cuda:{number}: {why}; use --device cpu")));
    match inductive_ops::cuda::devices() {
        Ok(0) => refused("CUDA finds no GPU here".to_owned()),
        Ok(count) if number < count => Ok(Kind::Cuda(number)),
        Ok(1) => refused("there is one GPU, cuda:0".to_owned()),
        Ok(count) => refused(format!("there are {count} GPUs, numbered from 0")),
        Err(error) => refused(format!("CUDA cannot be used here ({error})")),
    }
}

/// The GPU of this number, which [`parse`] has found.
#[cfg(feature = "cuda")]
pub fn open(number: usize) -> Result<dfdx::tensor::Cuda> {
    let failed =
        |error: dfdx::tensor::CudaError| Error::Failure(format!("--device cuda:{number}: {error:?}"));
    dfdx::tensor::Cuda::try_build(number, 0).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_all_else_refused_with_what_can_be_chosen() {
        assert_eq!(parse("cpu").unwrap(), Kind::Cpu);
        for name in ["gpu", "cpu:1", "auto:0", "cuda:first", "cuda:-1", "", "CUDA"] {
            let error = parse(name).unwrap_err();
            assert!(error.to_string().contains("choose cpu, cuda, cuda:N"), "{error}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_how_to_get_one_and_auto_takes_the_cpu() {
        for name in ["cuda", "cuda:1"] {
            assert!(parse(name).unwrap_err().to_string().contains("--features cuda"), "{name}");
        }
        assert_eq!(parse("auto").unwrap(), Kind::Cpu);
    }
}
