//! A finished run's model, ready to be used.

use anyhow::Result;
use tch::Device;

use crate::checkpoint::Weights;
use crate::config::{Config, DeviceChoice};
use crate::device;
use crate::device::Chosen;
use crate::evaluate::{Evaluator, most_probable};
use crate::model::Model;
use crate::network::{self, Network};
use crate::parameters::Parameters;
use crate::progress::say;
use crate::run_dir::RunDir;
use crate::task::Task;

/// A run's model with its trained weights.
pub(super) struct Trained {
    /// The run's configuration, as far as `model` holds its replicas.
    pub config: Config,
    network: Network,
    device: Device,
}

impl Trained {
    /// The model of `run`, trained with `config`: all replicas of it or one.
    ///
    /// # Errors
    /// A device that is not there, a missing or damaged checkpoint, and libtorch's.
    pub fn load(
        run: &RunDir,
        mut config: Config,
        replica: Option<i64>,
        choice: DeviceChoice,
    ) -> Result<Self> {
        let Chosen { device, note } = device::choose(choice)?;
        if let Some(note) = note {
            say(note);
        }
        let specs = Model::new(&config).parameters();
        // Before memory is taken for a model as large as a damaged configuration makes it.
        let path = run.checkpoint_path();
        let weights = Weights::read(&path, &specs, config.replicas, config.dtype)?;
        if let Some(replica) = replica {
            config.seed += replica;
            config.replicas = 1;
        }
        device::set_threads(&config);
        let kind = network::kind(config.dtype);
        let parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        weights.load(&parameters, replica.unwrap_or(0))?;
        Ok(Self { network: Network::new(&config, &parameters)?, config, device })
    }

    /// What evaluates the model on `task`.
    pub fn evaluator<'a>(&'a self, task: &'a Task) -> Evaluator<'a> {
        Evaluator { config: &self.config, task, network: &self.network, device: self.device }
    }

    /// The ids `(B, Tout)`, row-major, that the one replica says to `sources` `(B, Tin)`, each read
    /// from the zero state.
    ///
    /// # Errors
    /// libtorch's.
    pub fn predict(&self, sources: &[Vec<i64>]) -> Result<Vec<i64>> {
        let _guard = tch::no_grad_guard();
        let size = sources.len() as i64;
        let source = device::upload(&sources.concat(), &[1, size, -1], self.device)?;
        let (probabilities, _) = self.network.predict(&source, &self.network.zero_state(size)?)?;
        Ok(most_probable(&probabilities)?)
    }
}
