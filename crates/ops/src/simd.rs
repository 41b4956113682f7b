//! Vector arithmetic: run-time choice of the instruction set, exponential and error function, reductions.
//!
//! Kernels are written as plain loops over fixed-size lanes; the compiler vectorises them once per instruction set.
//! Sums go over [`LANES`] partial sums whatever the width, so that AVX2 and AVX-512 give the same bits.

use std::sync::OnceLock;

/// Number of partial results in reductions: one AVX-512 register of `f32`.
pub(crate) const LANES: usize = 16;

/// A loop to be compiled for each instruction set. Mark `run` and all it calls `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;
    /// `FMA`: whether the instruction set multiplies and adds in one rounding.
    fn run<const FMA: bool>(self) -> Self::Output;
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("fma")
            {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    })
}

/// Runs `kernel` compiled for the widest vectors of this machine.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma,avx2")]
        fn avx512<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<true>()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<true>()
        }
        match level() {
            // SAFETY: `level` has found these instruction sets on this machine.
            Level::Avx512 => return unsafe { avx512(kernel) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(kernel) },
            Level::Portable => {}
        }
    }
    kernel.run::<false>()
}

/// `a * b + c`, in one rounding where the machine can.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about 1 ulp; below -87.4 the result is 0, above 88.7 infinity; a NaN stays one.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 rounds to the nearest integer, which the low bits of the sum then hold.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.4, 88.8);
    let shifted = fma::<FMA>(clamped, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN2_LOW, fma::<FMA>(n, -LN2_HIGH, clamped));
    // Taylor to degree 7 on |r| <= ln(2)/2: relative error below 6e-9.
    let mut p = 1.0 / 5040.0;
    p = fma::<FMA>(p, r, 1.0 / 720.0);
    p = fma::<FMA>(p, r, 1.0 / 120.0);
    p = fma::<FMA>(p, r, 1.0 / 24.0);
    p = fma::<FMA>(p, r, 1.0 / 6.0);
    p = fma::<FMA>(p, r, 0.5);
    p = fma::<FMA>(p, r * r, r) + 1.0;
    // 2^n in two factors, so that n = 128 and n = -127 do not leave the range of the exponent field. Integers all the
    // way: a cast from `f32` saturates, which takes a branch per number.
    let whole = shifted.to_bits() as i32 - ROUND.to_bits() as i32;
    let half = whole >> 1;
    let rest = whole - half;
    let power = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
    let y = p * power(half) * power(rest);
    let y = if x < -87.4 { 0.0 } else { y };
    let y = if x > 88.8 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// The error function to about 3 ulp: a rational minimax approximation in `x^2` on [-3.83, 3.83], constant beyond.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    const P: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const Q: [f32; 5] = [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_473_9e-2];
    let clamped = x.clamp(-3.832_507, 3.832_507);
    let square = clamped * clamped;
    let mut p = P[0];
    let mut q = Q[0];
    let mut i = 1;
    while i < P.len() {
        p = fma::<FMA>(p, square, P[i]);
        i += 1;
    }
    i = 1;
    while i < Q.len() {
        q = fma::<FMA>(q, square, Q[i]);
        i += 1;
    }
    clamped * p / q
}

#[inline(always)]
fn fold(lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES;
    let mut lanes = lanes;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// Sum over `x` of `f(x)`, in a fixed order.
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += f(*v);
    }
    fold(lanes, |a, b| a + b)
}

/// Scalar product of two slices of one length, in a fixed order.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = fma::<FMA>(*x, *y, *lane);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = fma::<FMA>(*x, *y, *lane);
    }
    fold(lanes, |a, b| a + b)
}

/// The largest element.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *v);
    }
    fold(lanes, larger)
}

/// `x[i] = exp(x[i] - max(x))`; returns the sum of the results.
#[inline(always)]
pub(crate) fn exp_row<const FMA: bool>(x: &mut [f32]) -> f32 {
    let top = max(x);
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = exp::<FMA>(*v - top);
            *lane += *v;
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *v = exp::<FMA>(*v - top);
        *lane += *v;
    }
    fold(lanes, |a, b| a + b)
}

/// Softmax of one row in place.
#[inline(always)]
pub(crate) fn softmax_row<const FMA: bool>(x: &mut [f32]) {
    let scale = 1.0 / exp_row::<FMA>(x);
    for v in x {
        *v *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Map<'a>(&'a mut [f32], fn(f32) -> f32, fn(f32) -> f32);
    impl Kernel for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            let f = if FMA { self.1 } else { self.2 };
            for v in self.0.iter_mut() {
                *v = f(*v);
            }
        }
    }

    /// Distance in units in the last place of the correctly rounded value.
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        let ulp = (f32::from_bits(rounded.abs().to_bits() + 1) - rounded.abs()) as f64;
        (got as f64 - want).abs() / ulp
    }

    #[test]
    fn exp_is_accurate_over_its_range() {
        let xs: Vec<f32> = (-87_000..88_700).map(|i| i as f32 * 1e-3).collect();
        let mut ys = xs.clone();
        dispatch(Map(&mut ys, exp::<true>, exp::<false>));
        let worst = xs.iter().zip(&ys).map(|(x, y)| ulps(*y, (*x as f64).exp())).fold(0.0, f64::max);
        assert!(worst < 2.0, "worst error {worst} ulp");
    }

    #[test]
    fn exp_of_extremes_is_zero_infinite_or_nan() {
        for f in [exp::<true>, exp::<false>] {
            assert_eq!(f(-1e30), 0.0);
            assert_eq!(f(f32::NEG_INFINITY), 0.0);
            assert_eq!(f(1e30), f32::INFINITY);
            assert!(f(f32::NAN).is_nan());
            assert_eq!(f(0.0), 1.0);
        }
    }

    #[test]
    fn erf_agrees_with_libm_to_a_few_ulp() {
        // dfdx's own f64 GELU is x * (1 + erf(x / sqrt 2)) / 2 by libm; invert it.
        use dfdx::prelude::*;
        let dev = Cpu::default();
        let xs: Vec<f32> = (1..6000).map(|i| i as f32 * 1e-3).collect();
        let t = dev.tensor_from_vec(
            xs.iter().map(|x| *x as f64 * std::f64::consts::SQRT_2).collect::<Vec<_>>(),
            (xs.len(),),
        );
        let gelu = t.clone().accurate_gelu().as_vec();
        let mut ys = xs.clone();
        dispatch(Map(&mut ys, erf::<true>, erf::<false>));
        for ((x, y), (t, g)) in xs.iter().zip(&ys).zip(t.as_vec().iter().zip(gelu)) {
            let want = 2.0 * g / t - 1.0;
            assert!(ulps(*y, want) < 6.0, "erf({x}) = {y}, want {want}");
        }
    }

    #[test]
    fn reductions_include_the_remainder() {
        for len in [1, 15, 16, 17, 33, 100] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum_by(&x, |v| v), (len * (len - 1) / 2) as f32);
            assert_eq!(max(&x), (len - 1) as f32);
            assert_eq!(dot::<true>(&x, &vec![2.0; len]), (len * (len - 1)) as f32);
        }
    }
}
