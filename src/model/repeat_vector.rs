//! LSTM → RepeatVector → LSTM → dense softmax.

use tch::{TchError, Tensor};

use super::{LayerSpec, SeqModel, State};
use crate::config::Config;
use crate::layers::{Dense, Lstm};
use crate::parameters::Parameters;

/// `LSTM(H) → RepeatVector(Tout) → LSTM(H, return_sequences) → Dense(V, softmax)`: the decoder is
/// fed the encoder's last output at every step.
pub(super) struct RepeatVector {
    encoder: Lstm,
    decoder: Lstm,
    dense: Dense,
    n_out: i64,
}

impl RepeatVector {
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        Ok(Self {
            encoder: Lstm::new(parameters, "encoder", config.gate_activation)?,
            decoder: Lstm::new(parameters, "decoder", config.gate_activation)?,
            dense: Dense::new(parameters, "dense")?,
            n_out: config.n_out,
        })
    }
}

impl SeqModel for RepeatVector {
    fn zero_state(&self, batch_size: i64) -> Result<State, TchError> {
        let (encoder, decoder) = (&self.encoder, &self.decoder);
        Ok(State(vec![encoder.zero_state(batch_size)?, decoder.zero_state(batch_size)?]))
    }

    fn forward(
        &self,
        source: &Tensor,
        _decoder_input: Option<&Tensor>,
        state: &State,
    ) -> Result<(Tensor, State), TchError> {
        let projected = self.encoder.project_ids(source)?;
        let (code, encoder) = self.encoder.run(&projected, &state.0[0], false)?;
        // One projection of the repeated vector serves every step.
        let repeated = self.decoder.project(&code)?.f_unsqueeze(0)?;
        let repeated = repeated.f_expand([self.n_out, -1, -1, -1], false)?;
        let (output, decoder) = self.decoder.run(&repeated, &state.0[1], true)?;
        let logits = self.dense.forward(&output.f_flatten(1, 2)?)?;
        let batch_size = source.size3()?.1;
        let logits = logits.f_unflatten(1, [self.n_out, batch_size])?;
        Ok((logits, State(vec![encoder, decoder])))
    }
}

pub(super) fn layers(config: &Config) -> Vec<LayerSpec> {
    let &Config { batch_size, n_in, n_out, units, vocab, .. } = config;
    vec![
        LayerSpec::input(batch_size, n_in, vocab),
        LayerSpec::lstm("encoder", vec![batch_size, units], vocab, units),
        LayerSpec {
            name: "repeat_vector",
            kind: "RepeatVector",
            output: vec![batch_size, n_out, units],
            parameters: Vec::new(),
        },
        LayerSpec::lstm("decoder", vec![batch_size, n_out, units], units, units),
        LayerSpec::dense(vec![batch_size, n_out, vocab], units, vocab),
    ]
}
