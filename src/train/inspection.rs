//! Looking inside a model while it answers: every hidden state, the last states, and what an
//! attention looks at.

use tch::{TchError, Tensor};

use crate::config::Feedback;
use crate::engine::libtorch::{most_probable, watched};
use crate::model::Along;
use crate::model::layers::twin::{Input, Output};
use crate::model::network::{Network, State};
use crate::tensor::device;
use crate::train::evaluate::until;

/// What a model computes for sources, R · B in all, counted over replicas.
#[derive(Debug)]
pub struct Inspection {
    /// The ids that it says to each source, up to its end and with it.
    pub predicted: Vec<Vec<i64>>,
    /// Of every layer that has a state, in the order of the model.
    pub layers: Vec<LayerStates>,
    /// Of its attention, if it has one.
    pub attention: Option<AttentionWeights>,
}

/// The states of an LSTM, or of one in both directions.
#[derive(Debug)]
pub struct LayerStates {
    /// The layer's name.
    pub name: String,
    /// Whose time steps it has.
    pub along: Along,
    /// Every output h, `(T, R · B, H)`.
    pub sequences: Numbers,
    /// States h and c, each `(1, R · B, H)` after the last step; of a decoder `(T, R · B, H)`, after
    /// every step.
    states: [Numbers; 2],
}

/// The weights of an attention.
#[derive(Debug)]
pub struct AttentionWeights {
    /// The layer's name.
    pub name: String,
    /// `(Tout, R · B, Tin)`: how much of each step of the source is in the context of each step of the
    /// target.
    pub weights: Numbers,
}

/// Numbers `(T, R · B, width)` on the host.
#[derive(Debug)]
pub struct Numbers {
    values: Vec<f64>,
    /// T.
    pub steps: usize,
    rows: usize,
    /// How many there are of one row at one step.
    pub width: usize,
}

impl Numbers {
    /// Those of `parts`, each `(T, R, B, width)`, in the order of their steps.
    fn of(parts: &[Tensor]) -> Result<Self, TchError> {
        let all = Tensor::f_cat(parts, 0)?;
        let (steps, replicas, rows, width) = all.size4()?;
        let [steps, rows, width] = [steps, replicas * rows, width].map(|n| n as usize);
        Ok(Self { values: device::download(&all)?, steps, rows, width })
    }

    /// Those of a row at a step.
    pub fn at(&self, step: usize, row: usize) -> &[f64] {
        &self.values[(step * self.rows + row) * self.width..][..self.width]
    }
}

impl LayerStates {
    /// The states h and c of a row after its last of so many steps.
    pub fn last(&self, row: usize, steps: usize) -> [&[f64]; 2] {
        self.states.each_ref().map(|states| states.at(steps.min(states.steps) - 1, row))
    }
}

/// What `network` computes for `source` from `state`, while it answers greedily as in validation, fed by
/// itself as `feedback` says, and the state after it. Answers end with the id `end`, if there is one.
///
/// # Errors
/// If shapes do not match, or memory is short.
pub fn inspect(
    network: &Network,
    feedback: Option<Feedback>,
    end: Option<i64>,
    source: Input<'_>,
    state: &State,
) -> Result<(Inspection, State), TchError> {
    let _guard = tch::no_grad_guard();
    let mut seen: Vec<Seen> = network.nodes().iter().map(|_| Seen::default()).collect();
    let (probabilities, next) = watched(network, feedback, source, state, &mut |outputs| {
        for (node, seen) in seen.iter_mut().enumerate() {
            match outputs.node(node) {
                Some(output) if network.decoder()[node] || seen.outputs.is_empty() => {
                    seen.add(output)?;
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    let steps = probabilities.size4()?.1 as usize;
    let all = most_probable(&probabilities)?;
    let answer = |ids: &[i64]| end.map_or(ids, |end| until(ids, end)).to_vec();
    let mut found = Inspection {
        predicted: all.chunks_exact(steps).map(answer).collect(),
        layers: Vec::new(),
        attention: None,
    };
    for (node, seen) in network.nodes().iter().zip(seen) {
        let name = node.name.clone();
        if !seen.weights.is_empty() {
            let weights = Numbers::of(&seen.weights)?;
            found.attention = Some(AttentionWeights { name, weights });
        } else if !seen.h.is_empty() {
            let sequences = Numbers::of(&seen.outputs)?;
            let states = [Numbers::of(&seen.h)?, Numbers::of(&seen.c)?];
            found.layers.push(LayerStates { name, along: node.along, sequences, states });
        }
    }
    Ok((found, next))
}

/// What was seen of a layer, all at once or step by step: of one with a state, or an attention.
#[derive(Debug, Default)]
struct Seen {
    /// Each `(T, R, B, width)`.
    outputs: Vec<Tensor>,
    /// Each `(1, R, B, H)`.
    h: Vec<Tensor>,
    /// Likewise.
    c: Vec<Tensor>,
    /// Each `(T, R, B, Tin)`.
    weights: Vec<Tensor>,
}

impl Seen {
    fn add(&mut self, output: &Output) -> Result<(), TchError> {
        if let Some(last) = &output.last {
            self.h.push(last.h.f_unsqueeze(0)?);
            self.c.push(last.c.f_unsqueeze(0)?);
            self.outputs.push(output.outputs.shallow_clone());
        }
        self.weights.extend(output.weights.as_ref().map(Tensor::shallow_clone));
        Ok(())
    }
}
