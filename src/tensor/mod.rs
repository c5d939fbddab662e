//! libtorch's tensors: where they live, how numbers get there and back, and the parameters' flat buffer.
//!
//! Uses `kernels` for initial weights, and the choice of a device in the configuration.

pub mod parameters;

pub mod orthogonal;

pub mod device;
pub mod host;
