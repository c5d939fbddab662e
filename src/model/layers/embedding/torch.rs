//! An embedding as libtorch operations.

use tch::{TchError, Tensor};

use super::Embedding;
use crate::model::layers::twin::{Input, LstmState, Mask, Output, Table, Twin};
use crate::tensor::parameters::Parameters;

/// An embedding of R replicas.
#[derive(Debug)]
pub struct EmbeddingTwin {
    /// `(R, V, E)`.
    embeddings: Table,
}

/// The layer whose parameter is called `name.embeddings`.
///
/// # Panics
/// If there is none.
///
/// # Errors
/// If it has not three axes.
pub fn twin(_: &Embedding, parameters: &Parameters, name: &str) -> Result<EmbeddingTwin, TchError> {
    let embeddings = Table::new(parameters.leaf(&format!("{name}.embeddings")))?;
    Ok(EmbeddingTwin { embeddings })
}

impl Twin for EmbeddingTwin {
    fn run(&self, inputs: &[Input<'_>], _: Option<&LstmState>) -> Result<Output, TchError> {
        let mask = inputs.iter().find_map(Input::mask).map(Mask::shallow_clone);
        let outputs = match *inputs {
            [Input::Ids(ids, _)] => self.embeddings.look_up(ids)?,
            // Probabilities of ids: the mean of the vectors, weighted by them.
            [Input::Repeated(x, steps)] => {
                let vector = x.f_bmm(&self.embeddings.weight)?.f_unsqueeze(0)?;
                vector.f_expand([steps, -1, -1, -1], false)?
            }
            [Input::Zeros(rows)] => {
                let (replicas, _, units) = self.embeddings.weight.size3()?;
                let options = (self.embeddings.weight.kind(), self.embeddings.weight.device());
                Tensor::f_zeros([1, replicas, rows, units], options)?
            }
            _ => return Err(TchError::Shape("an embedding reads ids".to_owned())),
        };
        Ok(Output { mask, ..Output::new(outputs, None) })
    }
}
