//! libtorch's own LSTM: on CUDA it is cuDNN's, one kernel for all time steps. Its products have
//! full float32 precision only because of [`device::TF32_SWITCH`].

use tch::{Device, TchError, Tensor};

use crate::config::GateActivation;
use crate::model::layers::twin::LstmState;
use crate::tensor::device;

/// Whether to use it: on a GPU, unless there is a replica axis or the hard sigmoid, which cuDNN
/// lacks.
pub fn serves(replicas: i64, activation: GateActivation, device: Device) -> bool {
    replicas == 1 && activation == GateActivation::Sigmoid && !device::is_host(device)
}

/// All steps for x `(T, B, I)`, given kernel `(1, I, 4H)`, recurrent kernel `(1, H, 4H)` and bias
/// `(1, 1, 4H)`, from `state`, one replica's. Returns every output, `(T, 1, B, H)`, and the state
/// after the last step. Differentiable in every input.
///
/// # Errors
/// If shapes do not match, or memory is short.
pub fn lstm(
    x: &Tensor,
    [kernel, recurrent_kernel, bias]: [&Tensor; 3],
    state: &LstmState,
) -> Result<(Tensor, LstmState), TchError> {
    let (_, inputs, gates) = kernel.size3()?;
    let units = gates / 4;
    // cuDNN takes the transposed kernels and two biases in one contiguous buffer; otherwise
    // libtorch copies them into one itself, and warns. Keras has one bias.
    let flat = |weight: &Tensor| weight.f_transpose(1, 2)?.f_reshape([-1]);
    let bias = bias.f_reshape([-1])?;
    let parts = [flat(kernel)?, flat(recurrent_kernel)?, bias.f_zeros_like()?, bias];
    let buffer = Tensor::f_cat(&parts, 0)?;
    let sizes = [gates * inputs, gates * units, gates, gates];
    let weights = buffer.f_split_with_sizes(sizes.as_slice(), 0)?;
    let weights = [
        weights[0].f_view([gates, inputs])?,
        weights[1].f_view([gates, units])?,
        weights[2].shallow_clone(),
        weights[3].shallow_clone(),
    ];
    let (has_biases, layers, dropout, train) = (true, 1, 0.0, true);
    let (outputs, h, c) = x.f_lstm(
        &[state.h.shallow_clone(), state.c.shallow_clone()],
        &weights,
        has_biases,
        layers,
        dropout,
        train,
        false,
        false,
    )?;
    Ok((outputs.f_unsqueeze(1)?, LstmState { h, c }))
}
