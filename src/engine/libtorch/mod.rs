//! The engine of libtorch's operations and automatic differentiation, on any device.

mod inference;
mod recordings;

mod greedy;
mod inputs;
mod reader;

use std::rc::Rc;

use tch::{Device, TchError, Tensor};

use super::{Engine, Scored, StepResults};
use crate::config::Config;
use crate::data::loader::Step;
use crate::engine::pace::Pace;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::dropout::{Masks, StepMasks};
use crate::model::layers::twin::{Input, Mask};
use crate::model::losses::{BatchScore, Scores, Target};
use crate::model::network::{Network, State};
use crate::optim::optimizer::{Optimizer, Plan};
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
pub use greedy::{free_running, watched};
pub use inference::{LibtorchInference, most_probable};
use inputs::Inputs;
pub use reader::Reader;
use recordings::Recordings;
pub use recordings::Repeat;

/// libtorch's operations and automatic differentiation.
pub struct Libtorch {
    network: Rc<Network>,
    device: Device,
    /// The threads of what is not libtorch's.
    pool: ThreadPool,
    /// As many as libtorch has.
    pace: Pace,
    /// Where dropout masks come from.
    masks: Masks,
    recordings: Recordings,
}

/// What a step comes to.
#[derive(Debug)]
struct Computed {
    /// `(k, R)`: the loss, the loss's metrics and, with clipping, the gradient's norm.
    scores: Tensor,
    /// The state after it, through which no gradient flows.
    state: State,
}

impl Libtorch {
    /// An engine for `network`, the model of a validated configuration on `device`.
    pub fn new(config: &Config, network: &Rc<Network>, device: Device) -> Self {
        let pool = ThreadPool::new(device::threads(config));
        let pace = Pace::new(vec![pool.threads()]);
        let (network, masks) = (Rc::clone(network), Masks::Drawn(config.seeds()));
        let recordings = Recordings::new(Repeat::on(device));
        Self { network, device, pool, pace, masks, recordings }
    }

    /// The same with its steps done again as `repeat` has it.
    pub fn repeating(self, repeat: Repeat) -> Self {
        Self { recordings: Recordings::new(repeat), ..self }
    }

    /// Whether updates are one pass of our own instead of operations.
    fn updates_in_one_pass(&self) -> bool {
        device::is_host(self.device) && self.recordings.repeat == Repeat::Compute
    }
}

/// Computes a step's scores, whose loss the gradient is of, and the next step's state.
fn forward(
    network: &Network,
    Inputs { batch, masks, state, .. }: &Inputs,
) -> Result<(BatchScore, State), TchError> {
    let mask = batch.valid.as_ref().map(|valid| Mask::new(&valid.source)).transpose()?;
    let source = Input::new(&batch.source, mask.as_ref());
    let fed = batch.decoder_input.as_ref().map(|steps| Input::new(steps, None));
    let (logits, next) = network.forward_training(source, fed, state, masks)?;
    let valid = batch.valid.as_ref().map(|valid| &valid.target);
    let target = Target { steps: &batch.target, valid };
    let score = network.loss().of_tensors(&logits, target)?;
    Ok((score, next.detach()?))
}

impl Computed {
    fn new(score: BatchScore, norm: Option<Tensor>, state: State) -> Result<Self, TchError> {
        let mut rows = vec![score.loss.f_detach()?];
        rows.extend(score.metrics);
        rows.extend(norm);
        Ok(Self { scores: Tensor::f_stack(&rows, 0)?, state })
    }

    /// What it told, with the norm of the gradient where that is `clipped`.
    fn results(self, clipped: bool) -> Result<StepResults, TchError> {
        let mut rows = self.scores.f_unbind(0)?;
        let grad_norm = if clipped { rows.pop() } else { None };
        let metrics = rows.split_off(1);
        let loss = rows.pop().ok_or_else(|| TchError::Shape("no loss".to_owned()))?;
        let scores = Scores::Device(BatchScore { loss, metrics });
        Ok(StepResults { scored: vec![Scored { scores, grad_norm }], state: self.state })
    }
}

impl Engine for Libtorch {
    fn steps_at_a_time(&self) -> usize {
        1
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn set_masks(&mut self, masks: Masks) {
        self.masks = masks;
    }

    fn failure(&self) -> Option<&str> {
        self.recordings.failure()
    }

    fn learn(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
        steps: &[Step],
        state: State,
    ) -> Result<StepResults, TchError> {
        let [step] = steps else {
            return Err(TchError::Shape(format!("{} steps at a time, expected 1", steps.len())));
        };
        let clipped = optimizer.clipnorm().is_some();
        let batch = step.ids.on_device(self.device, parameters.flat().kind())?;
        let masks = StepMasks { masks: &self.masks, step: step.number };
        let masks = self.network.masks(batch.size as i64, masks)?;
        if self.updates_in_one_pass() {
            let inputs = Inputs { batch, masks, state, factors: Tensor::f_from_slice::<f64>(&[])? };
            let (score, state) = forward(&self.network, &inputs)?;
            // Replicas share no parameter, so the gradient of the sum is each one's own.
            parameters.backward(&score.loss)?;
            let norm = optimizer.update(parameters, &self.pool)?;
            return Computed::new(score, norm, state)?.results(clipped);
        }
        let Plan { ranges, factors } = optimizer.plan(parameters);
        let factors = device::upload_ahead_numbers(&factors, self.device)?;
        let inputs = Inputs { batch, masks, state, factors };
        let network = &self.network;
        let computed = self.recordings.step(inputs, &ranges, |inputs| {
            let (score, state) = forward(network, inputs)?;
            parameters.backward_in_few_launches(&score.loss)?;
            let norm = optimizer.update_by_operations(parameters, &ranges, &inputs.factors)?;
            Computed::new(score, norm, state)
        });
        computed?.results(clipped)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Attention, Dtype, EngineChoice, Family, presets};
    use crate::data::epochs::Epochs;
    use crate::data::loader::{Batches, Prefetch};
    use crate::data::task::Task;
    use crate::model::Model;
    use crate::tensor::cpp::lstm::{EMULATED, Launches, MOST_TOGETHER};
    use crate::tensor::cpp::operations;

    /// Small models of every family with all that a step may read, of which some batches are smaller.
    fn configs() -> Vec<Config> {
        let small = |name: &str| {
            let config = presets::find(name).unwrap().config;
            let id_max = config.id_max - config.vocab + 7;
            let samples = config.samples.map(|_| 43);
            let epochs = if samples.is_some() { 2 } else { 12 };
            let sizes = Config { vocab: 7, id_max, units: 3, samples, epochs, ..config };
            let batch_size = if samples.is_some() { 4 } else { sizes.batch_size };
            let engine = EngineChoice::Libtorch;
            Config { batch_size, dtype: Dtype::Float64, engine, replicas: 3, ..sizes }
        };
        let reverse = small("reverse");
        let n_in_min = Some(reverse.n_out.min(reverse.n_in));
        let clipped = Config { global_clipnorm: Some(0.1), ..reverse.clone() };
        vec![
            small("echo"),
            small("partial-echo-2"),
            Config { dropout: 0.3, recurrent_dropout: 0.2, embedding: 2, ..clipped.clone() },
            Config { attention: Attention::Additive, n_in_min, weight_decay: None, ..clipped },
        ]
    }

    /// What a training begins with.
    fn beginning(
        config: &Config,
        task: &Task,
        repeat: Repeat,
    ) -> (Parameters, Optimizer, Rc<Network>, Libtorch) {
        let (host, replicas) = (device::host(), config.replicas);
        let specs = Model::new(config).parameters();
        let kind = device::kind(config.dtype);
        let mut parameters = Parameters::zeros(specs, replicas, kind, host).unwrap();
        parameters.initialise(&config.seeds(), 1, &|_| Ok(())).unwrap();
        let network = Rc::new(Network::new(config, &parameters).unwrap());
        let steps = Epochs::new(config, task).steps();
        let optimizer = Optimizer::new(config, steps, &parameters).unwrap();
        let engine = Libtorch::new(config, &network, host).repeating(repeat);
        (parameters, optimizer, network, engine)
    }

    /// Weights, the optimiser's slots and all scores after a training, in which a replica stops.
    fn trained(config: &Config, repeat: Repeat) -> Vec<Vec<f64>> {
        let (host, task) = (device::host(), Task::new(config));
        let (mut parameters, mut optimizer, network, mut engine) = beginning(config, &task, repeat);
        let steps_of_all = Epochs::new(config, &task).steps();
        let (mut carried, mut told) = (None, Vec::new());
        let batches = Batches::new(config, &task, 0);
        for step in batches.feed(Prefetch::Off, host).unwrap() {
            let step = step.unwrap();
            let zeros = || network.zero_state(step.ids.size() as i64).unwrap();
            let state = carried.take().filter(|_| !step.starts_epoch).unwrap_or_else(zeros);
            if step.number as i64 == steps_of_all / 2 {
                optimizer.rates.stop(1);
            }
            let steps = std::slice::from_ref(&step);
            let results = engine.learn(&mut parameters, &mut optimizer, steps, state).unwrap();
            carried = config.stateful.then_some(results.state);
            for Scored { scores, grad_norm } in results.scored {
                told.extend(scores.fetch().unwrap().iter().map(|score| score.loss));
                told.extend(grad_norm.iter().flat_map(|norm| device::download(norm).unwrap()));
            }
        }
        assert_eq!(engine.failure(), None);
        if repeat != Repeat::Compute {
            let recorded = engine.recordings.recorded();
            assert!(recorded >= 2, "{recorded} recordings for both numbers of learning replicas");
        }
        let slots = optimizer.slots.iter().chain([parameters.flat()]);
        [told].into_iter().chain(slots.map(|slot| device::download(slot).unwrap())).collect()
    }

    /// That two trainings came to the same.
    fn assert_close(config: &Config, one: &[Vec<f64>], other: &[Vec<f64>]) {
        assert!(one.iter().map(Vec::len).eq(other.iter().map(Vec::len)));
        for (one, other) in one.iter().flatten().zip(other.iter().flatten()) {
            let close = (one - other).abs() <= 1e-12 * (1.0 + one.abs());
            assert!(close, "{}: {one:e} and {other:e}", config.preset);
        }
    }

    #[test]
    fn steps_in_the_places_of_a_recording_are_the_same() {
        for config in configs() {
            assert!(config.family != Family::Lstm || config.stateful, "a state is carried");
            let [computed, in_place] =
                [Repeat::Compute, Repeat::ComputeInPlace].map(|repeat| trained(&config, repeat));
            assert_close(&config, &computed, &in_place);
        }
    }

    #[test]
    fn the_kernels_of_a_gpu_train_as_operations_do() {
        for config in configs() {
            let computed = trained(&config, Repeat::Compute);
            for launches in [Launches::Together, Launches::Each] {
                EMULATED.set(Some(launches));
                let emulated = trained(&config, Repeat::ComputeInPlace);
                EMULATED.set(None);
                assert_close(&config, &computed, &emulated);
            }
        }
    }

    /// Launches of a step without a recording, by operation.
    fn launches(config: &Config, of: Launches) -> BTreeMap<String, usize> {
        EMULATED.set(Some(of));
        let (host, task) = (device::host(), Task::new(config));
        let (mut parameters, mut optimizer, network, mut engine) =
            beginning(config, &task, Repeat::ComputeInPlace);
        let batches = Batches::new(config, &task, 0);
        let step = batches.feed(Prefetch::On, host).unwrap().next().unwrap().unwrap();
        let state = network.zero_state(step.ids.size() as i64).unwrap();
        let counted = operations::count(|| {
            engine.learn(&mut parameters, &mut optimizer, &[step], state).map(|_| ())
        });
        EMULATED.set(None);
        counted.unwrap()
    }

    #[test]
    fn a_step_takes_few_launches_on_a_gpu() {
        for (name, of, most) in [
            ("echo", Launches::Together, 60),
            ("partial-echo-2", Launches::Together, 80),
            ("partial-echo-4", Launches::Each, 80),
            ("reverse", Launches::Together, 80),
        ] {
            for replicas in [1, 64] {
                let config = presets::find(name).unwrap().config;
                assert_eq!(config.units > MOST_TOGETHER, of == Launches::Each, "{name}");
                let batch_size = config.batch_size.min(3);
                let engine = EngineChoice::Libtorch;
                // How many units and rows there are makes no difference, but in the emulation's time.
                let config = Config { units: 2, batch_size, engine, replicas, ..config };
                let found = launches(&config, of);
                let sum: usize = found.values().sum();
                assert!(sum <= most, "{name}, R = {replicas}: {sum} launches: {found:?}");
                println!("{name}, R = {replicas}: {sum} launches: {found:?}");
            }
        }
    }
}
