//! Where weights lie with all that an update of them reads and writes.

use std::ops::Range;

use tch::{TchError, Tensor};

use crate::kernels::float::Real;
use crate::kernels::simd::prefetch_to_write;
use crate::tensor::parameters::Parameters;
use crate::tensor::slices::slice_mut;

/// The most numbers that an optimiser keeps of a weight.
pub const MOST_SLOTS: usize = 2;

/// Where n parameters, their slots and their gradient lie. They stay there as long as the
/// [`Parameters`] and the slots that it was made of.
#[derive(Debug, Clone, Copy)]
pub struct Memory<F> {
    theta: *mut F,
    /// `None` where the optimiser has no such slot.
    slots: [Option<*mut F>; MOST_SLOTS],
    gradient: *mut F,
    n: usize,
}

// SAFETY: it is plain memory; whoever makes slices of it promises that no two clash.
unsafe impl<F: Send> Send for Memory<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Memory<F> {}

impl<F: Real> Memory<F> {
    /// That of `parameters` and `slots`, laid out as [`Parameters::flat`].
    ///
    /// # Errors
    /// If they are not numbers of type `F` on the CPU.
    pub fn new(parameters: &Parameters, slots: &[Tensor]) -> Result<Self, TchError> {
        let n = parameters.flat().numel();
        // SAFETY: the slices are gone before anything else is done with the tensors.
        let start = |of: &Tensor| unsafe { slice_mut(of, 0, n).map(<[F]>::as_mut_ptr) };
        let mut starts = [None; MOST_SLOTS];
        for (place, slot) in starts.iter_mut().zip(slots) {
            *place = Some(start(slot)?);
        }
        let (theta, gradient) = (start(parameters.flat())?, start(parameters.gradient())?);
        Ok(Self { theta, slots: starts, gradient, n })
    }

    /// That of as many `slots` and numbers of `gradient` as there are of `theta`.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn of(theta: &mut [F], slots: [Option<&mut [F]>; MOST_SLOTS], gradient: &mut [F]) -> Self {
        let n = theta.len();
        let start = |numbers: &mut [F]| {
            assert_eq!(numbers.len(), n, "numbers of each parameter");
            numbers.as_mut_ptr()
        };
        let slots = slots.map(|slot| slot.map(start));
        Self { theta: start(theta), slots, gradient: start(gradient), n }
    }

    /// The parameters at `range`.
    ///
    /// # Safety
    /// They outlive the slice, and nobody writes to them meanwhile.
    pub unsafe fn weights<'a>(&self, range: &Range<usize>) -> &'a [F] {
        assert!(range.start <= range.end && range.end <= self.n);
        // SAFETY: within the buffer; the caller's promise.
        unsafe { std::slice::from_raw_parts(self.theta.add(range.start), range.len()) }
    }

    /// The parameters at `range` with their slots and gradient.
    ///
    /// # Safety
    /// They outlive the share, and nobody else reads or writes them meanwhile.
    pub unsafe fn share<'a>(&self, range: Range<usize>) -> ParameterSlice<'a, F> {
        assert!(range.start <= range.end && range.end <= self.n);
        // SAFETY: within the buffers, which are distinct; the caller's promise.
        let part = |buffer: *mut F| unsafe {
            std::slice::from_raw_parts_mut(buffer.add(range.start), range.len())
        };
        ParameterSlice {
            theta: part(self.theta),
            slots: self.slots.map(|slot| slot.map(part).unwrap_or_default()),
            gradient: part(self.gradient),
        }
    }

    /// The parameters at `range` with their slots and gradient, in parts of `size` numbers, the last
    /// perhaps smaller.
    ///
    /// # Safety
    /// As [`Memory::share`].
    pub unsafe fn parts<'a>(&self, range: Range<usize>, size: usize) -> Vec<ParameterSlice<'a, F>> {
        let parts = range.clone().step_by(size);
        // SAFETY: no two parts overlap; the caller's promise.
        parts.map(|first| unsafe { self.share(first..range.end.min(first + size)) }).collect()
    }
}

/// Some parameters with their slots and gradient.
pub struct ParameterSlice<'a, F> {
    /// The parameters.
    pub theta: &'a mut [F],
    /// What the optimiser keeps of each; empty what it does not have.
    pub slots: [&'a mut [F]; MOST_SLOTS],
    /// The gradient.
    pub gradient: &'a mut [F],
}

/// Numbers that are asked for at a time.
pub const CHUNK: usize = 64;

/// How many numbers ahead an update asks for: other threads have read the parameters, and to take
/// these back one by one would cost more than the arithmetic.
const AHEAD: usize = 256;

/// Asks for a chunk of each of `numbers`, some chunks ahead, to write it.
#[inline(always)]
pub fn ask_ahead<F, const N: usize>(numbers: [*const F; N]) {
    for line in (0..CHUNK).step_by(64 / size_of::<F>()) {
        for numbers in numbers {
            prefetch_to_write(numbers.wrapping_add(AHEAD + line));
        }
    }
}
