//! Greedy decoding: a decoder is fed its own outputs, and the most probable ids, or the numbers, are
//! what it says.

use tch::{TchError, Tensor};

use crate::config::Feedback;
use crate::model::layers::twin::Input;
use crate::model::network::{Network, Outputs, State};

/// The probabilities `(R, Tout, B, V)` of the outputs for `source`, or numbers
/// `(R, Tout, B, features)`, and the state after the batch.
///
/// A decoder is fed a zero vector first, or the model's start id, and then its own outputs, as `feedback` says; `None` is for
/// models without a decoder.
///
/// # Errors
/// If `state` is not the network's, shapes do not match, or memory is short.
pub fn free_running(
    network: &Network,
    feedback: Option<Feedback>,
    source: Input<'_>,
    state: &State,
) -> Result<(Tensor, State), TchError> {
    watched(network, feedback, source, state, &mut |_| Ok(()))
}

/// The same; `watch` sees the outputs of the layers that depend on the source alone, and then, if there
/// is a decoder, those of all layers after each of its steps.
///
/// # Errors
/// Also those of `watch`.
pub fn watched(
    network: &Network,
    feedback: Option<Feedback>,
    source: Input<'_>,
    state: &State,
    watch: &mut dyn FnMut(&Outputs) -> Result<(), TchError>,
) -> Result<(Tensor, State), TchError> {
    let (mut outputs, next) = network.encode(source, state)?;
    watch(&outputs)?;
    if !network.has_decoder() {
        let logits = network.logits(&outputs)?;
        return Ok((network.loss().answers(&logits)?, next));
    }
    let (rows, mut said) = (source.rows()?, Vec::<Tensor>::new());
    let start = network.start(rows)?;
    for _ in 0..network.output_steps() {
        let ids = match (said.last(), feedback) {
            (Some(last), Some(Feedback::Argmax)) => {
                Some(last.f_argmax(-1, false)?.f_unsqueeze(-1)?)
            }
            (None, _) => start.as_ref().map(Tensor::shallow_clone),
            _ => None,
        };
        let fed = match (said.last(), &ids) {
            (_, Some(ids)) => Input::Ids(ids, None),
            (None, None) => Input::Zeros(rows),
            (Some(last), None) => Input::Repeated(last, 1),
        };
        let logits = network.step(fed, &mut outputs)?;
        watch(&outputs)?;
        said.push(network.loss().answers(&logits)?);
    }
    Ok((Tensor::f_stack(&said, 1)?, next))
}
