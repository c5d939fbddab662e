//! Steps of a GPU that are recorded and replayed: one launch in the place of hundreds.

use std::ops::Range;

use tch::{Device, TchError, Tensor};

use super::Computed;
use super::inputs::Inputs;
use crate::tensor::cpp::graph::{self, Graph};

/// Steps of the same sizes that are computed as they are before one is recorded: in them libraries set
/// themselves up, which waits for the device.
const UNRECORDED: usize = 3;

/// The most recordings, each of which has memory of its own.
const MOST: usize = 16;

/// How steps are done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Each is computed by its operations.
    Compute,
    /// As CUDA graphs.
    Replay,
    /// Each is computed by its operations, where a recording would have its tensors: what a graph does, on
    /// any device.
    ComputeInPlace,
}

impl Repeat {
    /// What is best on `device`.
    pub fn on(device: Device) -> Self {
        if graph::possible(device) { Self::Replay } else { Self::Compute }
    }
}

/// Steps of given sizes.
#[derive(Debug)]
struct Recording {
    sizes: Vec<Vec<i64>>,
    /// The stretches of the parameters that are updated.
    ranges: Vec<Range<usize>>,
    seen: usize,
    recorded: Option<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    /// With the scores that it writes, `(k, R)`; `None`: computed again.
    graph: Option<(Graph, Tensor)>,
    /// Where it reads.
    inputs: Inputs,
}

/// The recordings of a training.
#[derive(Debug)]
pub struct Recordings {
    /// How steps are done again.
    pub repeat: Repeat,
    all: Vec<Recording>,
    /// Why none is made any more.
    failure: Option<String>,
}

impl Recordings {
    /// None so far.
    pub fn new(repeat: Repeat) -> Self {
        Self { repeat, all: Vec::new(), failure: None }
    }

    /// Why steps are computed by their operations although they should be recorded.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// How many there are.
    #[cfg(test)]
    pub fn recorded(&self) -> usize {
        self.all.iter().filter(|one| one.recorded.is_some()).count()
    }

    /// A step on `inputs` that updates `ranges`: by `compute`, or by what was recorded of it.
    ///
    /// # Errors
    /// Those of `compute`, and CUDA's.
    pub fn step(
        &mut self,
        inputs: Inputs,
        ranges: &[Range<usize>],
        mut compute: impl FnMut(&Inputs) -> Result<Computed, TchError>,
    ) -> Result<Computed, TchError> {
        let Some(number) = self.number(&inputs, ranges) else { return compute(&inputs) };
        let Recording { seen, recorded, .. } = &self.all[number];
        if recorded.is_none() && *seen > UNRECORDED {
            match record(self.repeat, &inputs, &mut compute) {
                Ok(recorded) => self.all[number].recorded = Some(recorded),
                Err(error) => {
                    let failure = format!("none was recorded as a CUDA graph: {error}");
                    (self.repeat, self.failure) = (Repeat::Compute, Some(failure));
                }
            }
        }
        match &self.all[number].recorded {
            Some(recorded) => recorded.step(&inputs, compute),
            None => compute(&inputs),
        }
    }

    /// The number of the recording of such steps, one more of which was seen; `None`: none is to be made.
    fn number(&mut self, inputs: &Inputs, ranges: &[Range<usize>]) -> Option<usize> {
        if self.repeat == Repeat::Compute {
            return None;
        }
        let sizes = inputs.sizes();
        let found = self.all.iter().position(|one| one.sizes == sizes && one.ranges == ranges);
        let number = found.or_else(|| {
            let room = self.all.len() < MOST;
            let new = || Recording { sizes, ranges: ranges.to_vec(), seen: 0, recorded: None };
            room.then(|| self.all.push(new())).map(|()| self.all.len() - 1)
        })?;
        self.all[number].seen += 1;
        Some(number)
    }
}

/// Records the step on `inputs`, which is not done then.
fn record(
    repeat: Repeat,
    inputs: &Inputs,
    compute: &mut impl FnMut(&Inputs) -> Result<Computed, TchError>,
) -> Result<Recorded, TchError> {
    let inputs = inputs.copied()?;
    if repeat == Repeat::ComputeInPlace {
        return Ok(Recorded { graph: None, inputs });
    }
    let graph = Graph::record(|| in_place(&inputs, compute))?;
    Ok(Recorded { graph: Some(graph), inputs })
}

/// Computes a step where its inputs are, and leaves the next step's state there. Returns the scores.
fn in_place(
    inputs: &Inputs,
    mut compute: impl FnMut(&Inputs) -> Result<Computed, TchError>,
) -> Result<Tensor, TchError> {
    let computed = compute(inputs)?;
    inputs.fill_state(&computed.state)?;
    Ok(computed.scores)
}

impl Recorded {
    /// The step on `inputs`. The state that it returns is where the next step's is read.
    fn step(
        &self,
        inputs: &Inputs,
        compute: impl FnMut(&Inputs) -> Result<Computed, TchError>,
    ) -> Result<Computed, TchError> {
        self.inputs.fill(inputs)?;
        let scores = match &self.graph {
            Some((graph, scores)) => {
                graph.replay()?;
                // The next replay writes there again.
                scores.f_detach_copy()?
            }
            None => in_place(&self.inputs, compute)?,
        };
        Ok(Computed { scores, state: self.inputs.state.shallow_clone() })
    }
}
