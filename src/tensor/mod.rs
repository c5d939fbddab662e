//! libtorch's tensors: where they live, how numbers get there and back, and the parameters' flat buffer.
//!
//! Every operation can fail: libtorch refuses tensors of the wrong shape, dtype or device, and what
//! memory does not suffice for. Functions have a section of errors where there is more to say, or
//! where a shortage of memory is to be expected.
//!
//! Uses `kernels` for initial weights, and the choice of a device in the configuration.

pub mod parameters;

pub mod orthogonal;

pub mod cpp;

pub mod device;
pub mod slices;
