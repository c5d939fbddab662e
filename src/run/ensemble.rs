//! `ensemble.json`: what the replicas of a run come to as one model.

use serde::{Deserialize, Serialize};

use crate::base::input::clipped;
use crate::run::summary::Evaluation;

/// The entry of `ensemble.json`, a list of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// The seeds of the replicas that answer together.
    #[serde(rename = "ensemble")]
    pub seeds: Vec<u64>,
    /// How their answers did.
    pub evaluation: Evaluation,
}

impl Ensemble {
    /// The ensemble in `bytes`.
    ///
    /// # Errors
    /// If it is no JSON, lacks something, or has numbers that no evaluation has.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let [ensemble]: [Self; 1] =
            serde_json::from_slice(bytes).map_err(|e| clipped(&e.to_string()))?;
        if ensemble.seeds.is_empty() {
            return Err("ensemble: expected a seed or more".to_owned());
        }
        ensemble.evaluation.check()?;
        Ok(ensemble)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None that an evaluation can have.
    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(&[self])? + "\n")
    }
}
