//! Encoder-decoder that is trained with teacher forcing and predicts recursively.

use tch::{Kind, TchError, Tensor};

use super::{LayerSpec, SeqModel, State};
use crate::config::{Config, Feedback};
use crate::layers::{Dense, Lstm, LstmState};
use crate::parameters::Parameters;

/// `encoder LSTM(H) → its h and c → decoder LSTM(H, return_sequences) → Dense(V, softmax)`.
///
/// Training feeds the decoder the target shifted right. Inference encodes once, feeds an all-zero
/// vector first and then what the decoder itself put out, as [`Feedback`] says.
pub(super) struct TeacherForced {
    encoder: Lstm,
    decoder: Lstm,
    dense: Dense,
    feedback: Feedback,
    n_out: i64,
}

impl TeacherForced {
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        Ok(Self {
            encoder: Lstm::new(parameters, "encoder", config.gate_activation)?,
            decoder: Lstm::new(parameters, "decoder", config.gate_activation)?,
            dense: Dense::new(parameters, "dense")?,
            feedback: config.feedback.unwrap_or(Feedback::Softmax),
            n_out: config.n_out,
        })
    }

    /// The encoder's state after `source` `(R, B, Tin)`.
    fn encode(&self, source: &Tensor) -> Result<LstmState, TchError> {
        let zero = self.encoder.zero_state(source.size3()?.1)?;
        Ok(self.encoder.run(&self.encoder.project_ids(source)?, &zero, false)?.1)
    }

    /// The decoder's input projection `(1, R, B, 4H)` after it put out `probabilities` `(R, B, V)`.
    fn feed_back(&self, probabilities: &Tensor) -> Result<Tensor, TchError> {
        match self.feedback {
            Feedback::Softmax => self.decoder.project(probabilities)?.f_unsqueeze(0),
            Feedback::Argmax => {
                self.decoder.project_ids(&probabilities.f_argmax(-1, false)?.f_unsqueeze(-1)?)
            }
        }
    }
}

impl SeqModel for TeacherForced {
    /// Nothing: each sample starts from zero, and the decoder from its encoder's state.
    fn zero_state(&self, _batch_size: i64) -> Result<State, TchError> {
        Ok(State(Vec::new()))
    }

    fn forward(
        &self,
        source: &Tensor,
        decoder_input: Option<&Tensor>,
        _state: &State,
    ) -> Result<(Tensor, State), TchError> {
        let missing = || TchError::Shape("teacher forcing needs decoder inputs".to_owned());
        let projected = self.decoder.project_ids(decoder_input.ok_or_else(missing)?)?;
        let (output, _) = self.decoder.run(&projected, &self.encode(source)?, true)?;
        let logits = self.dense.forward(&output.f_flatten(1, 2)?)?;
        let logits = logits.f_unflatten(1, [self.n_out, source.size3()?.1])?;
        Ok((logits, State(Vec::new())))
    }

    fn predict(&self, source: &Tensor, _state: &State) -> Result<(Tensor, State), TchError> {
        let mut state = self.encode(source)?;
        let mut projected = self.decoder.project_zero(source.size3()?.1)?.f_unsqueeze(0)?;
        let mut steps = Vec::new();
        for _ in 0..self.n_out {
            let (output, next) = self.decoder.run(&projected, &state, false)?;
            let probabilities = self.dense.forward(&output)?.f_softmax(-1, None::<Kind>)?;
            projected = self.feed_back(&probabilities)?;
            steps.push(probabilities);
            state = next;
        }
        Ok((Tensor::f_stack(&steps, 1)?, State(Vec::new())))
    }
}

pub(super) fn layers(config: &Config) -> Vec<LayerSpec> {
    let &Config { batch_size, n_in, n_out, units, vocab, .. } = config;
    vec![
        LayerSpec::input(batch_size, n_in, vocab),
        LayerSpec::lstm("encoder", vec![batch_size, units], vocab, units),
        LayerSpec { name: "decoder_input", ..LayerSpec::input(batch_size, n_out, vocab) },
        LayerSpec::lstm("decoder", vec![batch_size, n_out, units], vocab, units),
        LayerSpec::dense(vec![batch_size, n_out, vocab], units, vocab),
    ]
}
