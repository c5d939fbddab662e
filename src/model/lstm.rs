//! LSTM → dense softmax, at every step or at the last.

use tch::{TchError, Tensor};

use super::{LayerSpec, SeqModel, State};
use crate::config::Config;
use crate::layers::{Dense, Lstm};
use crate::parameters::Parameters;

/// `LSTM(H, return_sequences) → Dense(V, softmax)`.
pub(super) struct LstmModel {
    lstm: Lstm,
    dense: Dense,
    return_sequences: bool,
}

impl LstmModel {
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        Ok(Self {
            lstm: Lstm::new(parameters, "lstm", config.gate_activation)?,
            dense: Dense::new(parameters, "dense")?,
            return_sequences: config.return_sequences == Some(true),
        })
    }
}

impl SeqModel for LstmModel {
    fn zero_state(&self, batch_size: i64) -> Result<State, TchError> {
        Ok(State(vec![self.lstm.zero_state(batch_size)?]))
    }

    fn forward(
        &self,
        source: &Tensor,
        _decoder_input: Option<&Tensor>,
        state: &State,
    ) -> Result<(Tensor, State), TchError> {
        let projected = self.lstm.project_ids(source)?;
        let (output, next) = self.lstm.run(&projected, &state.0[0], self.return_sequences)?;
        let (replicas, batch_size, _) = source.size3()?;
        let rows = output.f_reshape([replicas, -1, output.size()[output.dim() - 1]])?;
        let logits = self.dense.forward(&rows)?;
        Ok((logits.f_unflatten(1, [-1, batch_size])?, State(vec![next])))
    }
}

pub(super) fn layers(config: &Config) -> Vec<LayerSpec> {
    let &Config { batch_size, n_in, n_out, units, vocab, .. } = config;
    let sequence = config.return_sequences == Some(true);
    let shape =
        |width| if sequence { vec![batch_size, n_out, width] } else { vec![batch_size, width] };
    vec![
        LayerSpec::input(batch_size, n_in, vocab),
        LayerSpec::lstm("lstm", shape(units), vocab, units),
        LayerSpec::dense(shape(vocab), units, vocab),
    ]
}
