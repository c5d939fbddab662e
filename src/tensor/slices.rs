//! The memory of tensors: on the CPU as slices.

use tch::{Kind, TchError, Tensor};

use crate::kernels::float::Real;
use crate::tensor::device;

/// The dtype of `F`.
fn kind<F: Real>() -> Kind {
    if size_of::<F>() == 8 { Kind::Double } else { Kind::Float }
}

/// Elements `first..first + n` of the memory of `tensor`.
///
/// # Errors
/// If `tensor` is not contiguous, on the CPU and of dtype `F`, or has fewer than `first + n`
/// elements.
///
/// # Safety
/// `tensor` outlives the slice, and nothing writes to these elements meanwhile.
pub unsafe fn slice<'a, F: Real>(
    tensor: &Tensor,
    first: usize,
    n: usize,
) -> Result<&'a [F], TchError> {
    check::<F>(tensor, first, n)?;
    // SAFETY: the caller's promise, and the tensor has the elements.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<F>().add(first), n) })
}

/// As [`slice()`], mutable.
///
/// # Errors
/// As [`slice()`].
///
/// # Safety
/// As [`slice()`], and nothing else reads these elements meanwhile.
pub unsafe fn slice_mut<'a, F: Real>(
    tensor: &Tensor,
    first: usize,
    n: usize,
) -> Result<&'a mut [F], TchError> {
    check::<F>(tensor, first, n)?;
    // SAFETY: as in `slice`.
    Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<F>().add(first), n) })
}

/// Whether two tensors begin at the same place of memory, on any device.
pub fn same_memory(one: &Tensor, other: &Tensor) -> bool {
    one.data_ptr() == other.data_ptr()
}

fn check<F: Real>(tensor: &Tensor, first: usize, n: usize) -> Result<(), TchError> {
    let fits = tensor.kind() == kind::<F>()
        && device::is_host(tensor.device())
        && tensor.is_contiguous()
        && first + n <= tensor.numel();
    if fits {
        return Ok(());
    }
    Err(TchError::Shape(format!("no {n} numbers of {:?} at {first} of {tensor:?}", kind::<F>())))
}
