//! Which configurations can be run.

use crate::config::{Config, CurveMetric, Features, Field, Invalid, within};
use crate::data::epochs::Epochs;
use crate::data::task::{Rules, Task};

/// The most ids of a batch, or of a sequence, of all replicas.
const LARGE: i64 = 1_000_000_000;

/// Here and not beside the fields, since the task has its say.
impl Config {
    /// Checks every value, alone and against the others.
    ///
    /// # Errors
    /// The first value that no run can have, with the values that are possible.
    pub fn validate(&self) -> Result<(), Invalid> {
        // The task and the layers take it that each size is possible by itself.
        let is_size = |field: &Field| ["Data", "Model"].contains(&field.section);
        self.validate_fields(is_size)?;
        self.validate_ids()?;
        (Rules::of(self).check)(self)?;
        self.validate_model()?;
        self.validate_fields(|field| !is_size(field))?;
        let task = Task::new(self);
        let epochs = Epochs::new(self, &task);
        // Windows are read in order, and a stateful row has to go on for ever.
        epochs.check(self.stateful || task.is_read_in_order())?;
        self.validate_training(epochs.steps())?;
        self.validate_memory(&task)
    }

    /// The ids of a batch, and what the task keeps or an epoch is cut from, fit into memory for all
    /// replicas.
    fn validate_memory(&self, task: &Task) -> Result<(), Invalid> {
        let features = self.features().unwrap_or(Features::OF_IDS);
        within("features_in", features.source, 1, LARGE / self.n_in)?;
        let source = self.n_in * features.source;
        within("batch_size", self.batch_size, 1, LARGE / source)?;
        let data = task.ids_kept().max(task.ids_of_an_epoch()) as i64;
        let ids = data.max(self.batch_size * source);
        if self.replicas <= LARGE / ids {
            return Ok(());
        }
        let invalid = Invalid::new("replicas", self.replicas, format!("at most {}", LARGE / ids));
        Err(invalid.because(", so that the data of every replica fit into memory"))
    }

    /// The values that a run can have but that change nothing in it.
    pub fn idle(&self) -> Vec<Invalid> {
        let mut idle = self.settings_of_others();
        let epochs = Epochs::of(self);
        let rows = epochs.rows_due(epochs.steps());
        match self.validate_every {
            None => {
                let invalid =
                    Invalid::new("validation_samples", self.validation_samples, "nothing");
                idle.push(invalid.because(" without --validate-every"));
            }
            Some(every) if every > rows => {
                let invalid = Invalid::new("validate_every", every, format!("1 to {rows}"));
                idle.push(invalid.because(", the rows of curves.csv"));
            }
            Some(_) => {}
        }
        idle.extend(self.too_patient(rows));
        idle.extend((Rules::of(self).idle)(self));
        idle
    }

    /// The numbers of rows to wait that no run of so many `rows` comes to.
    fn too_patient(&self, rows: i64) -> Vec<Invalid> {
        let check = |field, metric: Option<CurveMetric>, patience: Option<i64>| {
            let (metric, patience) = (metric?, patience?);
            let every = self.validate_every.filter(|_| metric.needs_validation()).unwrap_or(1);
            // The first of them is the best so far.
            let most = rows / every - 1;
            let expected = format!("at most {}", most.max(0));
            let why = format!(", the rows of curves.csv with {metric} after the first");
            (patience > most).then(|| Invalid::new(field, patience, expected).because(why))
        };
        let plateau = check("plateau_patience", self.plateau_metric, self.plateau_patience);
        // The best weights are restored at the end of any training.
        let stops = self.early_stopping.filter(|_| self.restore_best_weights != Some(true));
        let stopping = check("early_stopping_patience", stops, self.early_stopping_patience);
        plateau.into_iter().chain(stopping).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::presets;

    #[test]
    fn every_preset_is_valid_and_knows_its_name() {
        for preset in presets::all() {
            assert_eq!(preset.config.validate(), Ok(()), "{}", preset.name);
            assert_eq!(preset.config.preset, preset.name);
        }
    }
}
