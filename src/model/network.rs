//! A model as libtorch operations, on any device: from ids to logits, differentiable, or step by
//! step for inference.

use tch::{Device, Kind, TchError, Tensor};

use crate::config::Config;
use crate::model::layers::dropout::StepMasks;
use crate::model::layers::twin::{DropoutMasks, Input, LstmState, Output, Twin};
use crate::model::losses::Loss;
use crate::model::{Model, Node, Read, Start, masks};
use crate::tensor::parameters::Parameters;

/// What a model's stateful layers carry from one batch to the next, layer by layer.
#[derive(Debug)]
pub struct State(pub Vec<LstmState>);

impl State {
    /// Its tensors, layer by layer h and c.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().flat_map(|state| [&state.h, &state.c])
    }

    /// The same state by reference.
    pub fn shallow_clone(&self) -> Self {
        Self(self.0.iter().map(LstmState::shallow_clone).collect())
    }

    /// The same numbers, through which no gradient flows.
    pub fn detach(&self) -> Result<Self, TchError> {
        self.0.iter().map(LstmState::detach).collect::<Result<_, _>>().map(Self)
    }
}

/// A model with the weights it computes with.
#[derive(Debug)]
pub struct Network {
    model: Model,
    layers: Vec<Box<dyn Twin>>,
    /// Which nodes run step by step in inference.
    decoder: Vec<bool>,
    /// R.
    replicas: i64,
    kind: Kind,
    device: Device,
}

/// The outputs of a network's layers, node by node; `None` for those that have not run.
#[derive(Debug)]
pub struct Outputs(Vec<Option<Output>>);

impl Outputs {
    /// Those of a node, if it has run.
    pub fn node(&self, node: usize) -> Option<&Output> {
        self.0.get(node)?.as_ref()
    }

    fn get(&self, node: usize) -> Result<&Output, TchError> {
        self.node(node).ok_or_else(|| missing("a layer that has not run"))
    }

    fn last(&self, node: usize) -> Result<&LstmState, TchError> {
        self.get(node)?.last.as_ref().ok_or_else(|| missing("a state"))
    }

    /// Those of other rows: see [`choose_rows`](crate::model::layers::twin::choose_rows).
    ///
    /// # Errors
    /// If a row is named that is not there.
    pub fn choose_rows(&self, rows: &Tensor) -> Result<Self, TchError> {
        let choose = |output: &Option<Output>| {
            output.as_ref().map(|output| output.choose_rows(rows)).transpose()
        };
        Ok(Self(self.0.iter().map(choose).collect::<Result<_, _>>()?))
    }
}

impl Network {
    /// The model of a validated configuration, computing with `parameters`, which are those of the
    /// model.
    ///
    /// # Panics
    /// If they are another model's.
    ///
    /// # Errors
    /// If their numbers of axes are not the model's, or memory is short.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        let model = Model::new(config);
        let layers = model.nodes.iter().map(|node| node.layer.twin(parameters, &node.name));
        let layers = layers.collect::<Result<_, _>>()?;
        let (replicas, flat) = (parameters.replicas(), parameters.flat());
        let (kind, device) = (flat.kind(), flat.device());
        Ok(Self { layers, decoder: model.decoder(), model, replicas, kind, device })
    }

    /// The zero state for batches of `rows` rows.
    pub fn zero_state(&self, rows: i64) -> Result<State, TchError> {
        let states = self.model.carried().map(|node| self.layers[node].zero_state(rows));
        Ok(State(states.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()))
    }

    /// Ids or numbers of `source` and, for teacher forcing, of `decoder_input`. Returns logits
    /// `(R, Tout, B, V)` or numbers `(R, Tout, B, features)`, and the state after the batch.
    ///
    /// # Errors
    /// If `decoder_input` or part of `state` is missing, shapes do not match, or memory is short.
    pub fn forward(
        &self,
        source: Input<'_>,
        decoder_input: Option<Input<'_>>,
        state: &State,
    ) -> Result<(Tensor, State), TchError> {
        self.all_layers([Some(source), decoder_input], state, &[])
    }

    /// The same in training, with each layer's dropout masks of [`Network::masks`].
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_training(
        &self,
        source: Input<'_>,
        decoder_input: Option<Input<'_>>,
        state: &State,
        masks: &[DropoutMasks],
    ) -> Result<(Tensor, State), TchError> {
        self.all_layers([Some(source), decoder_input], state, masks)
    }

    /// The dropout masks of every layer for a step with `rows` rows. Does not wait for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn masks(&self, rows: i64, masks: StepMasks<'_>) -> Result<Vec<DropoutMasks>, TchError> {
        masks::upload(&self.model, [self.replicas, rows], masks, (self.kind, self.device))
    }

    /// Runs all layers on a source and what the decoder is fed, with the dropout masks of each.
    fn all_layers(
        &self,
        read: [Option<Input<'_>>; 2],
        state: &State,
        masks: &[DropoutMasks],
    ) -> Result<(Tensor, State), TchError> {
        let rows = read[0].ok_or_else(|| missing("a source"))?.rows()?;
        let mut outputs = Outputs(Vec::new());
        for node in 0..self.layers.len() {
            let start = self.initial(node, rows, state, &outputs)?;
            let output = self.run(node, read, start.as_ref(), &outputs, masks.get(node))?;
            outputs.0.push(Some(output));
        }
        Ok((self.logits(&outputs)?, self.next_state(&outputs)?))
    }

    /// What the model says, `(R, T, B, V)` logits or `(R, T, B, features)` numbers, where all its
    /// layers are among `outputs`.
    ///
    /// # Errors
    /// If the top layer is not.
    pub fn logits(&self, outputs: &Outputs) -> Result<Tensor, TchError> {
        outputs.get(self.layers.len() - 1)?.outputs.f_transpose(0, 1)
    }

    /// Its layers, in the order of their numbers.
    pub fn nodes(&self) -> &[Node] {
        &self.model.nodes
    }

    /// For each layer, whether it is the decoder's, which in inference runs step by step.
    pub fn decoder(&self) -> &[bool] {
        &self.decoder
    }

    /// R.
    pub fn replicas(&self) -> i64 {
        self.replicas
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Whether it has a decoder, which in inference is fed its own outputs.
    pub fn has_decoder(&self) -> bool {
        self.decoder.contains(&true)
    }

    /// Tout: the time steps of its outputs.
    pub fn output_steps(&self) -> i64 {
        self.model.output_steps()
    }

    /// The ids `(R, B, 1)` that a decoder is fed first in inference; `None`: zeros in their place.
    ///
    /// # Errors
    /// libtorch's.
    pub fn start(&self, rows: i64) -> Result<Option<Tensor>, TchError> {
        let ids =
            |start| Tensor::f_full([self.replicas, rows, 1], start, (Kind::Int64, self.device));
        self.model.start.map(ids).transpose()
    }

    /// The loss that training minimises.
    pub fn loss(&self) -> Loss {
        self.model.loss
    }

    /// Runs the layers that depend on the source alone. Returns their outputs and the state after the
    /// batch.
    ///
    /// # Errors
    /// If part of `state` is missing, shapes do not match, or memory is short.
    pub fn encode(&self, source: Input<'_>, state: &State) -> Result<(Outputs, State), TchError> {
        let mut outputs = Outputs(Vec::new());
        for (node, &decodes) in self.decoder.iter().enumerate() {
            let output = match decodes {
                true => None,
                false => {
                    let start = self.initial(node, source.rows()?, state, &outputs)?;
                    Some(self.run(node, [Some(source), None], start.as_ref(), &outputs, None)?)
                }
            };
            outputs.0.push(output);
        }
        let next = self.next_state(&outputs)?;
        Ok((outputs, next))
    }

    /// One step of the decoder, fed `fed`: ids `(R, B, 1)`, a vector, or zeros. `outputs` are those
    /// of the step before or, for the first step, of [`Network::encode`], and are replaced by this
    /// step's. Returns logits `(R, B, V)`.
    ///
    /// # Errors
    /// If `outputs` lack a layer that the decoder reads, or shapes do not match.
    pub fn step(&self, fed: Input<'_>, outputs: &mut Outputs) -> Result<Tensor, TchError> {
        let rows = fed.rows()?;
        for node in 0..self.layers.len() {
            if self.decoder[node] {
                let before = outputs.0[node].take().and_then(|output| output.last);
                let start = match before {
                    Some(before) => Some(before),
                    None => self.initial(node, rows, &State(Vec::new()), outputs)?,
                };
                let output = self.run(node, [None, Some(fed)], start.as_ref(), outputs, None)?;
                outputs.0[node] = Some(output);
            }
        }
        outputs.get(self.layers.len() - 1)?.outputs.f_select(0, 0)
    }

    /// Has every row of the decoder go on from the state of another: see
    /// [`choose_rows`](crate::model::layers::twin::choose_rows). What it reads of other layers stays
    /// as it is.
    ///
    /// # Errors
    /// If a row is named that is not there.
    pub fn choose_states(&self, outputs: &mut Outputs, rows: &Tensor) -> Result<(), TchError> {
        let nodes = outputs.0.iter_mut().zip(&self.decoder).filter(|(_, decodes)| **decodes);
        for last in nodes.filter_map(|(output, _)| output.as_mut()?.last.as_mut()) {
            *last = last.choose_rows(rows)?;
        }
        Ok(())
    }

    /// The initial state of a node, if it has a state.
    fn initial(
        &self,
        node: usize,
        rows: i64,
        state: &State,
        outputs: &Outputs,
    ) -> Result<Option<LstmState>, TchError> {
        match self.model.nodes[node].start {
            Start::Zero => self.layers[node].zero_state(rows),
            Start::From(other) => Ok(Some(outputs.last(other)?.shallow_clone())),
            Start::Carried => {
                let number = self.model.carried().take_while(|&other| other < node).count();
                let carried = state.0.get(number).ok_or_else(|| missing("a state"))?;
                Ok(Some(carried.shallow_clone()))
            }
        }
    }

    /// Runs a node on the source and what stands for the decoder input; in training with its dropout
    /// masks.
    fn run(
        &self,
        node: usize,
        [source, fed]: [Option<Input<'_>>; 2],
        start: Option<&LstmState>,
        outputs: &Outputs,
        masks: Option<&DropoutMasks>,
    ) -> Result<Output, TchError> {
        let steps = self.model.nodes[node].steps;
        let last = |node| Ok::<_, TchError>(&outputs.last(node)?.h);
        let input = |read: &Read| {
            Ok(match *read {
                Read::Source => source.ok_or_else(|| missing("a source"))?,
                Read::DecoderInput => fed.ok_or_else(|| missing("decoder inputs"))?,
                Read::Outputs(node) => Input::Outputs(outputs.get(node)?),
                Read::Last(node) => Input::Repeated(last(node)?, steps),
            })
        };
        let inputs = self.model.nodes[node].reads.iter().map(input);
        let inputs = inputs.collect::<Result<Vec<_>, TchError>>()?;
        match masks {
            Some(masks) => self.layers[node].train(&inputs, start, masks),
            None => self.layers[node].run(&inputs, start),
        }
    }

    /// The last states of the stateful layers, all of which have run.
    fn next_state(&self, outputs: &Outputs) -> Result<State, TchError> {
        let last = self.model.carried().map(|node| Ok(outputs.last(node)?.shallow_clone()));
        last.collect::<Result<_, _>>().map(State)
    }
}

fn missing(what: &str) -> TchError {
    TchError::Shape(format!("the model needs {what}"))
}
