//! A long short-term memory layer, as Keras computes it.

mod cells;
mod dropout;
pub mod fused;
mod native;
mod recurrence;
mod states;
pub mod steps;
pub mod torch;

use super::dropout::{Dropout, MaskSpec, Masked};
use super::{Costs, Division, Exchange, Spec, Weight};
use crate::config::GateActivation;
use crate::kernels::blocks::Parts;
use crate::model::{Node, Read, Start};
use crate::tensor::parameters::Init;

/// LSTM (Hochreiter and Schmidhuber, 1997; with forget gate, Gers et al., 2000):
///
/// ```text
/// z = x·kernel + bias + h·recurrent_kernel        (B, 4H), blocks in the order i, f, g, o
/// c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
/// h' = σ(o) ⊙ tanh(c')
/// ```
///
/// Gate order, shapes and the single bias are Keras's (which calls the block g "c"), so that
/// weights can be exchanged: kernel `(I, 4H)`, Glorot uniform with the fans of the whole matrix;
/// recurrent_kernel `(H, 4H)`, orthogonal; bias `(4H)`, zero but for a forget gate of 1.
///
/// In training, with dropout, x is multiplied by one mask and the h of the product by another, each the
/// same at every time step (Gal and Ghahramani, 2016).
#[derive(Debug, Clone, PartialEq)]
pub struct Lstm {
    /// I: the width of what it reads, or V where that is ids.
    pub inputs: i64,
    /// The kind of its inputs.
    pub reads: InputKind,
    /// H.
    pub units: i64,
    /// Whether it reads from the last step to the first.
    pub backwards: bool,
    /// σ: the activation of the gates.
    pub gate_activation: GateActivation,
    /// The rates of its masks.
    pub dropout: Dropout,
}

/// What an LSTM reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// An id at every step, for a one-hot vector: its row of the kernel is looked up.
    Ids,
    /// A vector at every step.
    Vectors,
    /// One vector, the same at every step: it is multiplied once.
    OneVector,
}

impl Spec for Lstm {
    fn keras_name(&self) -> &'static str {
        "LSTM"
    }

    fn width(&self) -> i64 {
        self.units
    }

    fn weights(&self) -> Vec<Weight> {
        let &Self { inputs, units, reads, .. } = self;
        let weight = |name, rows: &[i64], init, transposed| Weight {
            name,
            shape: [rows, &[4 * units]].concat(),
            init,
            transposed,
            division: Division::Columns(4),
        };
        vec![
            // Ids have no gradient.
            weight("kernel", &[inputs], Init::GlorotUniform, reads != InputKind::Ids),
            weight("recurrent_kernel", &[units], Init::Orthogonal, true),
            weight("bias", &[], Init::UnitForgetBias, false),
        ]
    }

    fn exchange(&self, node: &Node) -> Option<Exchange> {
        let (steps, inputs) = (node.steps as f64, self.inputs as f64);
        // The half of h that is the other's, and the other's half of its term of h's gradient.
        let h = steps * self.units as f64;
        let (d_inputs, waits) = match node.reads[0] {
            Read::Outputs(_) => (steps * inputs / 2.0, 2.0),
            Read::Last(_) => (inputs / 2.0, 2.0),
            Read::Source | Read::DecoderInput => (0.0, 0.0),
        };
        let start = if matches!(node.start, Start::From(_)) { 2.0 } else { 0.0 };
        // The projection of the inputs, and every step there and back.
        let waits = waits + start + 1.0 + 2.0 * steps;
        Some(Exchange { numbers: h + d_inputs, waits })
    }

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let steps = node.steps;
        let mut all = Vec::new();
        for units in Parts::new(self.units as usize, node.parts).ranges() {
            let units = units.len() as i64;
            let outputs = if node.outputs_read { steps * units } else { 0 };
            let states = states::numbers(steps, units, node.ragged, self.backwards);
            let (gates, tanh_c) = (4 * steps * units, steps * units);
            let of_steps = [tanh_c, outputs, units, units];
            let recurrent = dropout::recurrent_numbers(self, units, steps);
            all.extend([&[gates], &states[..], &states, &of_steps, &recurrent].concat());
            all.extend([self.units; 2]);
        }
        for units in Parts::new(self.units as usize, node.parts).ranges() {
            let repeated = self.reads == InputKind::OneVector;
            all.push(if repeated { 4 * units.len() as i64 } else { 0 });
            all.push(match node.reads[0] {
                Read::Outputs(_) => steps * self.inputs,
                Read::Last(_) => self.inputs,
                Read::Source | Read::DecoderInput => 0,
            });
        }
        all.extend(dropout::input_numbers(self, steps));
        all
    }

    fn scratch(&self, _: &Node) -> Vec<i64> {
        vec![dropout::scratch_numbers(self)]
    }

    fn masks(&self) -> Vec<MaskSpec> {
        let of = |masked, rate, width| MaskSpec { masked, rate, width };
        let input = of(Masked::Input, self.dropout.input, self.inputs);
        let recurrent = of(Masked::Recurrent, self.dropout.recurrent, self.units);
        [input, recurrent].into_iter().filter(|mask| mask.rate > 0.0).collect()
    }

    fn costs(&self, steps: i64) -> Costs {
        let (steps, inputs, units) = (steps as f64, self.inputs as f64, self.units as f64);
        // Vectors that are multiplied. Numbers held, in units of H: kernel rows or products, and
        // again with the bias, or the projection of one vector; the outputs twice.
        let (read, held) = match self.reads {
            InputKind::Ids => (0.0, 10.0 * steps),
            InputKind::Vectors => (steps, 10.0 * steps),
            InputKind::OneVector => (1.0, 4.0 + 2.0 * steps),
        };
        // For each step: gates before and after their activations, c, tanh(c), h; with the hard
        // sigmoid also the inputs of its clip; finally every output again.
        let kept = match self.gate_activation {
            GateActivation::Sigmoid => 12.0,
            GateActivation::HardSigmoid => 15.0,
        };
        Costs {
            multiplications: (steps * units + read * inputs) * 4.0 * units,
            sequential_steps: steps,
            kept: kept * steps * units + self.masked(steps),
            // Projections in the forward pass, their gradients in the backward pass.
            temporary: 4.0 * steps * units,
            // The allocator keeps half as much again from one batch to the next.
            inference: 1.5 * held * units,
        }
    }
}

impl Lstm {
    /// Numbers that libtorch's graph keeps for dropout: masks, and what they have masked.
    fn masked(&self, steps: f64) -> f64 {
        let (inputs, units) = (self.inputs as f64, self.units as f64);
        let read = match self.reads {
            InputKind::Ids => 4.0 * steps * units,
            InputKind::Vectors => steps * inputs,
            InputKind::OneVector => inputs,
        };
        let of_input = if self.dropout.input > 0.0 { inputs + read } else { 0.0 };
        let of_h = if self.dropout.recurrent > 0.0 { (1.0 + steps) * units } else { 0.0 };
        of_input + of_h
    }
}
