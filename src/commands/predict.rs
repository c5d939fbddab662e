//! `seqlab predict`.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tch::Device;

use crate::config::{Config, DeviceChoice};
use crate::curves::spaced;
use crate::error::UserError;
use crate::evaluate::{Evaluator, most_probable};
use crate::model::{self, SeqModel};
use crate::parameters::Parameters;
use crate::run_dir::RunDir;
use crate::task::Task;
use crate::{checkpoint, device};

/// Sources that are predicted at once.
const BATCH: usize = 1024;

/// Predicts the target of every source, each from the zero state, with replica `replica` of the run
/// at `path`; prints one line of ids a source to `out`. Reads sources, one a line, from `input`
/// where `source` gives none.
///
/// # Errors
/// A source that the model cannot read, a missing or damaged run, and libtorch's.
pub fn predict(
    path: &Path,
    source: Option<&str>,
    replica: i64,
    device: DeviceChoice,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<()> {
    let (run, config) = RunDir::open(path)?;
    if !(0..config.replicas).contains(&replica) {
        let error = format!("--replica {replica}: expected 0 to {}", config.replicas - 1);
        return Err(UserError::usage(error).into());
    }
    let mut sources = Vec::new();
    if let Some(line) = source {
        sources.push(parse(line, &config).map_err(|e| UserError::usage(format!("--source: {e}")))?);
    } else {
        for (i, line) in input.lines().enumerate() {
            let number = i + 1;
            let line = line.with_context(|| format!("standard input, line {number}"))?;
            let ids = parse(&line, &config);
            sources.push(
                ids.map_err(|e| UserError::usage(format!("standard input, line {number}: {e}")))?,
            );
        }
    }
    let trained = Trained::load(&run, config, Some(replica), device)?;
    for batch in sources.chunks(BATCH) {
        let predicted = trained.predict(batch)?;
        for ids in predicted.chunks_exact(predicted.len() / batch.len()) {
            writeln!(out, "{}", spaced(ids))?;
        }
    }
    Ok(())
}

/// The ids of a source in `line`, separated by white space.
fn parse(line: &str, config: &Config) -> Result<Vec<i64>, String> {
    let last = config.vocab - 1;
    let id = |word: &str| match word.parse::<i64>() {
        Err(_) => Err(format!("'{word}' is no id: expected whole numbers from 0 to {last}")),
        Ok(id) if !(0..=last).contains(&id) => {
            Err(format!("id {id} is outside the vocabulary, 0 to {last}"))
        }
        Ok(id) => Ok(id),
    };
    let ids: Vec<i64> = line.split_whitespace().map(id).collect::<Result<_, _>>()?;
    if ids.len() as i64 != config.n_in {
        return Err(format!("{} ids: the model reads {}", ids.len(), config.n_in));
    }
    Ok(ids)
}

/// A run's model with its trained weights.
pub(super) struct Trained {
    /// The run's configuration, as far as `model` holds its replicas.
    pub config: Config,
    model: Box<dyn SeqModel>,
    device: Device,
}

impl Trained {
    /// The model of `run`: all replicas of it or one.
    pub fn load(
        run: &RunDir,
        mut config: Config,
        replica: Option<i64>,
        choice: DeviceChoice,
    ) -> Result<Self> {
        if let Some(replica) = replica {
            config.seed += replica;
            config.replicas = 1;
        }
        let device = device::choose(choice)?.device;
        device::set_threads(&config);
        let kind = model::kind(config.dtype);
        let specs = model::parameter_specs(&config);
        let parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        checkpoint::load_weights(&run.checkpoint_path(), &parameters, replica.unwrap_or(0))?;
        Ok(Self { model: model::build(&config, &parameters)?, config, device })
    }

    /// What evaluates the model on `task`.
    pub fn evaluator<'a>(&'a self, task: &'a Task) -> Evaluator<'a> {
        Evaluator { config: &self.config, task, model: &*self.model, device: self.device }
    }

    /// The ids `(B, Tout)`, row-major, that the one replica says to `sources` `(B, Tin)`.
    fn predict(&self, sources: &[Vec<i64>]) -> Result<Vec<i64>> {
        let _guard = tch::no_grad_guard();
        let size = sources.len() as i64;
        let source = device::upload(&sources.concat(), &[1, size, -1], self.device)?;
        let (probabilities, _) = self.model.predict(&source, &self.model.zero_state(size)?)?;
        Ok(most_probable(&probabilities)?)
    }
}
