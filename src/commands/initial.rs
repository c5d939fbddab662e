//! Weights that a training begins with: those of another run.

use std::path::PathBuf;

use anyhow::Result;

use super::trained::{check_config, found, no_best};
use crate::base::error::UserError;
use crate::base::input;
use crate::model::Model;
use crate::run::manifest::InitFrom;
use crate::run::run_dir::RunDir;
use crate::tensor::parameters::{ParameterSpec, Parameters};
use crate::train::checkpoint::Which;
use crate::train::trainer::Trainer;

/// Another run, whose weights a training begins with.
#[derive(Debug, Clone)]
pub struct Initial {
    /// Its directory.
    pub run: PathBuf,
    /// Which of its weights.
    pub which: Which,
}

impl Initial {
    /// Gives `trainer`, which has not trained yet, the weights: each replica its own, or all the one
    /// replica's.
    ///
    /// # Errors
    /// If the run is missing or damaged or has no such weights, or they do not fit.
    pub(super) fn load(&self, trainer: &mut Trainer) -> Result<()> {
        let (run, config) = RunDir::open(&self.run)?;
        let shown = input::shown(&self.run).to_string();
        let summary = run.read_summary(&config)?;
        let checkpoint = found(&run, summary.is_some())?;
        check_config(&run, &config, summary.as_ref(), &checkpoint)?;
        let which = if self.which == Which::Last { checkpoint.trained() } else { self.which };
        let step = checkpoint.step(which).ok_or_else(|| no_best("--init-best", &run, &config))?;
        let refused = |why: String| UserError::usage(format!("--init-from {shown}: {why}"));
        let specs = Model::new(&config).parameters();
        if let Some(difference) = difference(&specs, trainer.parameters.specs()) {
            let hint = format!("give it the sizes that {} has", run.config_path().display());
            return Err(refused(difference).hint(hint).into());
        }
        let (there, here) = (config.replicas, trainer.parameters.replicas());
        if there != here && there != 1 {
            let why = format!("it has {there} replicas, expected 1 or the --replicas {here}");
            return Err(refused(why).hint(format!("give --replicas {there}")).into());
        }
        checkpoint.check_weights(which, &specs, there, config.dtype)?;
        checkpoint.load_each(which, &trainer.parameters)?;
        check_finite(&trainer.parameters).map_err(refused)?;
        let weights_crc32 = checkpoint.checksum(which).map_or(0, |checksum| checksum.crc32);
        trainer.init_from = Some(InitFrom { run: shown, step, weights_crc32 });
        Ok(())
    }
}

/// The first of the parameters `there` that are not as those `here`, in words.
fn difference(there: &[ParameterSpec], here: &[ParameterSpec]) -> Option<String> {
    let find = |name: &str, among: &[ParameterSpec]| {
        among.iter().find(|spec| spec.name == name).map(|spec| spec.shape.clone())
    };
    let changed =
        here.iter().find_map(|ParameterSpec { name, shape, .. }| match find(name, there) {
            None => Some(format!("it has no {name}, which has shape {shape:?} here")),
            Some(other) if other == *shape => None,
            Some(other) => Some(format!("{name} has shape {other:?} there, but {shape:?} here")),
        });
    changed.or_else(|| {
        let more = there.iter().find(|spec| find(&spec.name, here).is_none())?;
        Some(format!("{} has shape {:?} there, but is missing here", more.name, more.shape))
    })
}

/// # Errors
/// If the weights of a replica are not finite: why that is.
fn check_finite(parameters: &Parameters) -> Result<(), String> {
    let finite = parameters.finite().map_err(|e| e.to_string())?;
    match finite.iter().position(|finite| !finite) {
        Some(replica) => Err(format!("replica {replica} has diverged")),
        None => Ok(()),
    }
}
