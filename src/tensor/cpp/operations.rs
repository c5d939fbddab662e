//! What the operations of a thread would launch on a GPU, counted where they run: for tests.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use tch::TchError;

use super::checked;

unsafe extern "C" {
    fn seqlab_operations_begin() -> c_int;
    fn seqlab_operations_end(report: *mut *const c_char) -> c_int;
}

/// Does `work`. Returns how many launches it would take on a GPU, by the operation that does them: those of libtorch
/// that compute or copy, each as one, and kernels of our own.
///
/// # Errors
/// `work`'s.
pub fn count(
    work: impl FnOnce() -> Result<(), TchError>,
) -> Result<BTreeMap<String, usize>, TchError> {
    // SAFETY: it takes nothing.
    checked(unsafe { seqlab_operations_begin() })?;
    let done = work();
    let mut report = ptr::null();
    // SAFETY: it leaves a string that lives until this thread's next call.
    let report = unsafe {
        checked(seqlab_operations_end(&raw mut report))?;
        CStr::from_ptr(report)
    };
    done?;
    let counted = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    Ok(report.to_string_lossy().lines().filter_map(counted).collect())
}
