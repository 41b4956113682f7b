//! Shapes without their types: what an operation does is compiled once for each rank, not for each width.

use std::mem::ManuallyDrop;

use dfdx::prelude::{Device, Dim, Dtype, HasShape, RealizeTo, Shape, Storage, Tape, Tensor};

use crate::{Error, Result};

/// A shape, and the one of the same rank whose extents are all run-time. Every dfdx shape is one.
pub trait Erase: Shape {
    /// `(usize, .., usize)`.
    type Dyn: Erase<Concrete = Self::Concrete, Dyn = Self::Dyn>;

    /// The same extents as numbers.
    // Always: of a layer's shape little more is left than these, and a call costs more to compile than what it does.
    #[inline(always)]
    fn erase(&self) -> Self::Dyn {
        match Self::Dyn::from_concrete(&self.concrete()) {
            Some(shape) => shape,
            None => unreachable!("numbers are any extents"),
        }
    }
}

macro_rules! erase {
    ($($dim:ident)*; $($number:ty)*) => {
        impl<$($dim: Dim),*> Erase for ($($dim,)*) {
            type Dyn = ($($number,)*);
        }
    };
}

erase!(;);
erase!(A; usize);
erase!(A B; usize usize);
erase!(A B C; usize usize usize);
erase!(A B C D; usize usize usize usize);
erase!(A B C D F; usize usize usize usize usize);
erase!(A B C D F G; usize usize usize usize usize usize);

/// The same tensor, as its gradient knows it, with its extents as numbers.
#[inline(always)]
pub fn erased<S: Erase, E, D: Storage<E>, T: Tape<E, D>>(x: Tensor<S, E, D, T>) -> Tensor<S::Dyn, E, D, T> {
    match x.try_realize() {
        Ok(x) => x,
        Err(_) => unreachable!("numbers are any extents"),
    }
}

/// A parameter without its type: a copy that shares its numbers, and gets their gradient.
#[inline(always)]
pub(crate) fn held<S: Erase, E: Dtype, D: Device<E>>(parameter: &Tensor<S, E, D>) -> Tensor<S::Dyn, E, D> {
    erased(parameter.clone())
}

/// What a composition made, with extents as types.
#[inline(always)]
pub(crate) fn composed<Y: Erase, E: Dtype, D: Device<E>, T: Tape<E, D>>(
    op: &'static str,
    y: Result<Tensor<Y::Dyn, E, D, T>, D::Err>,
) -> Result<Tensor<Y, E, D, T>> {
    typed(op, y.map_err(|error| Error::device(op, error))?)
}

/// The same tensor with extents as types.
///
/// # Errors
/// Extents that are not those of the type.
pub fn typed<S: Erase, E, D: Storage<E>, T: Tape<E, D>>(
    op: &'static str,
    x: Tensor<S::Dyn, E, D, T>,
) -> Result<Tensor<S, E, D, T>> {
    match x.try_realize() {
        Ok(x) => Ok(x),
        Err(x) => Err(other_extents(op, std::any::type_name::<S>(), x.shape().concrete().as_ref())),
    }
}

#[cold]
fn other_extents(op: &'static str, expected: &str, got: &[usize]) -> Error {
    Error::shape(op, expected, got.to_vec())
}

/// Lets `change` have the tensor with its extents as numbers. It is the tensor itself, not a copy, so that what it alone holds is
/// changed in place.
///
/// `change` must leave a tensor of the same extents; with another the process ends, since `x` cannot hold it.
pub fn with_erased<S: Erase, E, D: Storage<E>, R>(
    x: &mut Tensor<S, E, D>,
    change: impl FnOnce(&mut Tensor<S::Dyn, E, D>) -> R,
) -> R {
    struct Lent<'a, S: Erase, E, D: Storage<E>> {
        home: &'a mut Tensor<S, E, D>,
        lent: ManuallyDrop<Tensor<S::Dyn, E, D>>,
    }

    impl<S: Erase, E, D: Storage<E>> Drop for Lent<'_, S, E, D> {
        #[inline(always)]
        fn drop(&mut self) {
            // SAFETY: `lent` is taken here alone, and never seen again.
            let Ok(back) = unsafe { ManuallyDrop::take(&mut self.lent) }.try_realize() else {
                std::process::abort();
            };
            // SAFETY: what `home` held was moved out below, so that nothing is dropped, and nobody has seen it since.
            unsafe { std::ptr::write(self.home, back) };
        }
    }

    // SAFETY: `Lent` writes a tensor back before the borrow of `x` ends, also if `change` panics. Nothing else can panic: to realize
    // a tensor moves its fields, and where it fails the process ends.
    let moved = unsafe { std::ptr::read(x) };
    let Ok(lent) = moved.try_realize() else { std::process::abort() };
    let mut lent = Lent { home: x, lent: ManuallyDrop::new(lent) };
    change(&mut lent.lent)
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Cpu, Rank0, Rank2, SampleTensor, SumTo, Trace, ZerosTensor};

    use super::*;
    use crate::tape::{values, values_mut};

    type Matrix = Tensor<Rank2<2, 3>, f32, Cpu>;

    #[test]
    fn an_erased_tensor_is_the_same_to_its_gradient() {
        let x: Matrix = Cpu::default().sample_normal();
        let loss = (erased(x.leaky_trace()) * 3.0).sum::<Rank0, _>();
        assert_eq!(loss.backward().get(&x).as_vec(), [3.0; 6]);
    }

    #[test]
    fn a_change_is_made_in_place_and_stays_also_after_a_panic() {
        let mut x: Matrix = Cpu::default().zeros();
        let before = values(&x).as_ptr();
        with_erased(&mut x, |x| values_mut(x).fill(1.0));
        assert_eq!((values(&x).as_ptr(), values(&x)), (before, &[1.0; 6][..]));
        let panics = std::panic::AssertUnwindSafe(|| {
            with_erased(&mut x, |x| {
                values_mut(x).fill(2.0);
                panic!("on purpose");
            })
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(values(&x), [2.0; 6]);
    }

    #[test]
    fn other_extents_are_refused() {
        let x: Tensor<(usize, usize), f32, Cpu> = Cpu::default().zeros_like(&(2, 4));
        let error = typed::<Rank2<2, 3>, _, _, _>("op", x).unwrap_err().to_string();
        assert!(error.contains("[2, 4]"), "{error}");
    }
}
