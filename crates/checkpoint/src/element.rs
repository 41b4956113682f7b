//! Numbers as they lie in a file: little-endian, row-major.

use half::{bf16, f16};
use safetensors::Dtype;

/// A type of number that [`TensorWriter`](crate::TensorWriter) writes and
/// [`TensorFile::values`](crate::TensorFile::values) reads back bit by bit: `f32`, `f64`, `u64` and `u8`.
pub trait Element: Copy + sealed::Sealed + 'static {
    /// Its name in the format.
    const DTYPE: Dtype;
    /// [`Self::DTYPE`]'s name, for messages.
    const NAME: &'static str;
    /// The bytes of `values` in a file.
    fn to_bytes(values: &[Self]) -> Vec<u8>;
    /// The values whose bytes in a file are `bytes`.
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($type:ty, $dtype:ident) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const NAME: &'static str = stringify!($dtype);
            fn to_bytes(values: &[Self]) -> Vec<u8> {
                let mut bytes = vec![0; size_of_val(values)];
                let (chunks, _) = bytes.as_chunks_mut();
                for (chunk, value) in chunks.iter_mut().zip(values) {
                    *chunk = value.to_le_bytes();
                }
                bytes
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|c| <$type>::from_le_bytes(*c)).collect()
            }
        }
    };
}

element!(f32, F32);
element!(f64, F64);
element!(u64, U64);
element!(u8, U8);

/// The types that [`Floats`] accepts, for messages.
pub(crate) const FLOATS: &str = "a float (F16, BF16, F32 or F64)";

/// The bytes of floating-point numbers that can become `f32`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floats<'b> {
    F16(&'b [u8]),
    BF16(&'b [u8]),
    F32(&'b [u8]),
    F64(&'b [u8]),
}

impl<'b> Floats<'b> {
    /// `None` for integers and for floats of 8 bits or fewer, which mean nothing without their scales.
    pub fn new(dtype: Dtype, bytes: &'b [u8]) -> Option<Self> {
        match dtype {
            Dtype::F16 => Some(Self::F16(bytes)),
            Dtype::BF16 => Some(Self::BF16(bytes)),
            Dtype::F32 => Some(Self::F32(bytes)),
            Dtype::F64 => Some(Self::F64(bytes)),
            _ => None,
        }
    }

    /// The numbers; exact for F16, BF16 and F32, rounded to nearest for F64.
    pub fn to_f32(self) -> Vec<f32> {
        fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
            bytes.as_chunks().0.iter().map(|c| u16::from_le_bytes(*c))
        }
        match self {
            Self::F16(bytes) => halves(bytes).map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Self::BF16(bytes) => halves(bytes).map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            Self::F32(bytes) => f32::from_bytes(bytes),
            Self::F64(bytes) => f64::from_bytes(bytes).into_iter().map(|v| v as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
        Floats::new(dtype, bytes).map(Floats::to_f32)
    }

    #[test]
    fn elements_survive_the_bytes_bit_by_bit() {
        let floats = [0.0, -0.0, 1.5, f32::MIN_POSITIVE / 8.0, f32::INFINITY, f32::from_bits(0x7fc0_1234)];
        let back = f32::from_bytes(&f32::to_bytes(&floats));
        assert_eq!(floats.map(f32::to_bits).to_vec(), back.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        assert_eq!(u64::from_bytes(&u64::to_bytes(&[0, 1, u64::MAX])), [0, 1, u64::MAX]);
        assert_eq!(f64::from_bytes(&f64::to_bytes(&[0.1, -2e300])), [0.1, -2e300]);
    }

    #[test]
    fn half_precision_becomes_f32_exactly() {
        // torch.tensor([1.0, -2.5, 65504.0, 6e-8, inf, 0.1]).to(dtype).view(torch.uint16), then .to(torch.float32)
        let bytes = |bits: &[u16]| bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<_>>();
        let f16 = bytes(&[0x3c00, 0xc100, 0x7bff, 0x0001, 0x7c00, 0x2e66]);
        let want = [1.0, -2.5, 65504.0, 5.960_464_5e-8, f32::INFINITY, 0.099_975_586];
        assert_eq!(to_f32(Dtype::F16, &f16).unwrap(), want);
        let bf16 = bytes(&[0x3f80, 0xc020, 0x4780, 0x3381, 0x7f80, 0x3dcd]);
        let want = [1.0, -2.5, 65536.0, 6.007_030_6e-8, f32::INFINITY, 0.100_097_656];
        assert_eq!(to_f32(Dtype::BF16, &bf16).unwrap(), want);
    }

    #[test]
    fn doubles_round_to_nearest_and_integers_are_refused() {
        assert_eq!(to_f32(Dtype::F64, &f64::to_bytes(&[0.1, 1e300])).unwrap(), [0.1_f32, f32::INFINITY]);
        for dtype in [Dtype::I64, Dtype::U8, Dtype::BOOL, Dtype::C64, Dtype::F8_E4M3] {
            assert!(to_f32(dtype, &[0; 8]).is_none(), "{dtype}");
        }
    }
}
