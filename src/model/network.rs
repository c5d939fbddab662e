//! A model as libtorch operations, on any device: from ids to logits, differentiable, and
//! free-running inference.

use tch::{Kind, TchError, Tensor};

use crate::config::{Config, Dtype, Feedback};
use crate::model::layers::{Dense, Lstm, LstmInput, LstmState};
use crate::model::{Input, LstmSpec, Model, Start};
use crate::tensor::parameters::Parameters;

/// What a model's stateful layers carry from one batch to the next, layer by layer.
#[derive(Debug)]
pub struct State(pub Vec<LstmState>);

impl State {
    /// The same numbers, through which no gradient flows.
    ///
    /// # Errors
    /// libtorch's.
    pub fn detach(&self) -> Result<Self, TchError> {
        self.0.iter().map(LstmState::detach).collect::<Result<_, _>>().map(Self)
    }
}

/// A model with the weights it computes with.
#[derive(Debug)]
pub struct Network {
    model: Model,
    lstms: Vec<Lstm>,
    dense: Dense,
    feedback: Feedback,
}

/// What an LSTM hands to the one above it.
struct Run {
    /// Every output, `(T, R, B, H)`.
    outputs: Tensor,
    last: LstmState,
}

impl Network {
    /// The model of a validated configuration, computing with `parameters`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        let model = Model::new(config);
        let lstm = |spec: &LstmSpec| Lstm::new(parameters, spec.name, config.gate_activation);
        Ok(Self {
            lstms: model.lstms.iter().map(lstm).collect::<Result<_, _>>()?,
            dense: Dense::new(parameters, "dense")?,
            feedback: config.feedback.unwrap_or(Feedback::Softmax),
            model,
        })
    }

    /// The zero state for batches of `rows` rows.
    ///
    /// # Errors
    /// libtorch's.
    pub fn zero_state(&self, rows: i64) -> Result<State, TchError> {
        let carried = self.model.lstms.iter().zip(&self.lstms);
        let carried = carried.filter(|(spec, _)| spec.start == Start::Carried);
        carried.map(|(_, lstm)| lstm.zero_state(rows)).collect::<Result<_, _>>().map(State)
    }

    /// Training: `source` `(R, B, Tin)` int64 and, for teacher forcing, `decoder_input`
    /// `(R, B, Tout)` int64. Returns logits `(R, Tout, B, V)` and the state after the batch.
    ///
    /// # Errors
    /// libtorch's.
    pub fn forward(
        &self,
        source: &Tensor,
        decoder_input: Option<&Tensor>,
        state: &State,
    ) -> Result<(Tensor, State), TchError> {
        let (top, next) = self.run(self.lstms.len(), source, decoder_input, state)?;
        let read = if self.model.every_step {
            top.outputs.f_transpose(0, 1)?
        } else {
            top.last.h.f_unsqueeze(1)?
        };
        let logits = self.dense.forward(&read.f_flatten(1, 2)?)?;
        Ok((logits.f_unflatten(1, &read.size()[1..3])?, next))
    }

    /// Free-running inference from `source` `(R, B, Tin)` int64 alone. Returns probabilities
    /// `(R, Tout, B, V)` and the state after the batch.
    ///
    /// A teacher-forced decoder is fed an all-zero vector first and then what it put out itself, as
    /// [`Feedback`] says.
    ///
    /// # Errors
    /// libtorch's.
    pub fn predict(&self, source: &Tensor, state: &State) -> Result<(Tensor, State), TchError> {
        let top = self.lstms.len() - 1;
        if self.model.lstms[top].input != Input::DecoderInput {
            let (logits, next) = self.forward(source, None, state)?;
            return Ok((logits.f_softmax(-1, logits.kind())?, next));
        }
        let (encoded, next) = self.run(top, source, None, state)?;
        let mut state = encoded.last;
        let mut input = LstmInput::Zeros { rows: source.size3()?.1 };
        let mut steps = Vec::new();
        for _ in 0..self.model.lstms[top].steps {
            state = self.lstms[top].run(&input, &state)?.1;
            let probabilities = self.dense.forward(&state.h)?.f_softmax(-1, None::<Kind>)?;
            input = match self.feedback {
                Feedback::Softmax => LstmInput::Repeated(probabilities.shallow_clone(), 1),
                Feedback::Argmax => {
                    LstmInput::Ids(probabilities.f_argmax(-1, false)?.f_unsqueeze(-1)?)
                }
            };
            steps.push(probabilities);
        }
        Ok((Tensor::f_stack(&steps, 1)?, next))
    }

    /// Runs the lowest `count` LSTMs. Returns what the highest of them put out and the state after
    /// the batch.
    fn run(
        &self,
        count: usize,
        source: &Tensor,
        decoder_input: Option<&Tensor>,
        state: &State,
    ) -> Result<(Run, State), TchError> {
        let missing = |what: &str| TchError::Shape(format!("the model needs {what}"));
        let mut next = Vec::new();
        let mut below: Option<Run> = None;
        for (spec, lstm) in self.model.lstms.iter().zip(&self.lstms).take(count) {
            let input = match (spec.input, &below) {
                (Input::Source, _) => LstmInput::Ids(source.shallow_clone()),
                (Input::DecoderInput, _) => {
                    let ids = decoder_input.ok_or_else(|| missing("decoder inputs"))?;
                    LstmInput::Ids(ids.shallow_clone())
                }
                (Input::Repeated, Some(below)) => {
                    LstmInput::Repeated(below.last.h.shallow_clone(), spec.steps)
                }
                (Input::Repeated, None) => return Err(missing("an LSTM to repeat")),
            };
            let start = match (spec.start, &below) {
                (Start::Zero, _) => lstm.zero_state(source.size3()?.1)?,
                (Start::Carried, _) => {
                    let carried = state.0.get(next.len());
                    carried.ok_or_else(|| missing("a state"))?.shallow_clone()
                }
                (Start::Below, Some(below)) => below.last.shallow_clone(),
                (Start::Below, None) => return Err(missing("an LSTM to start from")),
            };
            let (outputs, last) = lstm.run(&input, &start)?;
            if spec.start == Start::Carried {
                next.push(last.shallow_clone());
            }
            below = Some(Run { outputs, last });
        }
        Ok((below.ok_or_else(|| missing("an LSTM"))?, State(next)))
    }
}

/// The element type that `dtype` names.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
    }
}
