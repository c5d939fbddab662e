//! A bidirectional layer as libtorch operations.

use tch::{TchError, Tensor};

use super::Bidirectional;
use crate::model::layers::twin::{Input, LstmState, Mask, Output, Twin};
use crate::tensor::parameters::Parameters;

/// The concatenated outputs of two layers.
#[derive(Debug)]
pub struct BidirectionalTwin;

/// The layer, which has no parameters.
pub fn twin(_: &Bidirectional, _: &Parameters, _: &str) -> Result<BidirectionalTwin, TchError> {
    Ok(BidirectionalTwin)
}

impl Twin for BidirectionalTwin {
    fn run(&self, inputs: &[Input<'_>], _: Option<&LstmState>) -> Result<Output, TchError> {
        let [Input::Outputs(forward), Input::Outputs(backward)] = inputs else {
            return Err(TchError::Shape("two directions are two layers' outputs".to_owned()));
        };
        let join = |a: &Tensor, b: &Tensor| Tensor::f_cat(&[a, b], -1);
        let last = match (&forward.last, &backward.last) {
            (Some(a), Some(b)) => Some(LstmState { h: join(&a.h, &b.h)?, c: join(&a.c, &b.c)? }),
            _ => None,
        };
        let mask = forward.mask.as_ref().map(Mask::shallow_clone);
        let outputs = join(&forward.outputs, &backward.outputs)?;
        Ok(Output { mask, ..Output::new(outputs, last) })
    }
}
