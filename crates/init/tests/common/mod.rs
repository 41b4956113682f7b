//! Reading the reference values.

use std::path::PathBuf;

use inductive_checkpoint::TensorFile;
use inductive_init::Matrix;

/// One file of `fixtures/`.
pub struct Fixture(TensorFile);

impl Fixture {
    pub fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        Self(TensorFile::open(path.with_extension("safetensors")).unwrap())
    }

    pub fn values(&self, key: &str) -> Vec<f64> {
        self.0.to_f32(key).unwrap().into_iter().map(f64::from).collect()
    }

    pub fn bytes(&self, key: &str) -> Vec<u8> {
        self.0.entry(key).unwrap().bytes.to_vec()
    }

    pub fn integers(&self, key: &str) -> Vec<i64> {
        let bytes = self.bytes(key);
        bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    /// A tensor as matrices: its last two axes, all others in one list.
    pub fn matrices(&self, key: &str) -> Vec<Matrix> {
        let (rows, cols) = match *self.0.entry(key).unwrap().shape {
            [.., rows, cols] => (rows, cols),
            _ => panic!("{key} is not a matrix"),
        };
        let values = self.values(key);
        values.chunks_exact(rows * cols).map(|m| Matrix::new(rows, cols, m.to_vec()).unwrap()).collect()
    }

    pub fn matrix(&self, key: &str) -> Matrix {
        self.matrices(key).swap_remove(0)
    }
}

/// `|got - want| <= tolerance` everywhere.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(difference <= tolerance, "{what}[{i}]: {got}, want {want}, difference {difference:e}");
    }
}

/// `||got - want|| / ||want||`
pub fn relative_error(got: &[f64], want: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied())
}
