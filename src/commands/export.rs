//! `seqlab export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::place::{check_place, new_directory};
use crate::reports::tensorboard::event_files;
use crate::run::run_dir::RunDir;

/// What to export, and where to.
pub struct Export {
    /// The run's directory.
    pub run: PathBuf,
    /// The directory to write, a new or an empty one.
    pub out: PathBuf,
}

/// Writes the curves of a run as TensorBoard reads them: a folder for each replica and, where there are several, for
/// their mean and a standard deviation on either side. Its command goes to `out`.
///
/// # Errors
/// If the run is missing or damaged, there is something at the place to write, or it cannot be written.
pub fn export(what: &Export, out: &mut dyn Write) -> Result<()> {
    let (run, config) = RunDir::open(&what.run)?;
    let rows = match run.read_summary(&config)? {
        Some(summary) => run.read_curves(&summary)?,
        None => run.read_rows_so_far()?,
    };
    check_place(&what.out)?;
    new_directory(&what.out)?;
    for (name, bytes) in event_files(&rows) {
        let folder = what.out.join(name);
        // TensorBoard knows an event file by this word in its name.
        let path = folder.join("events.out.tfevents.0.seqlab");
        let context = || format!("cannot write {}", path.display());
        let mut file = new_directory(&folder)?.open_or_create(&path).with_context(context)?;
        file.write_all(&bytes).with_context(context)?;
    }
    writeln!(out, "tensorboard --logdir {}", what.out.display())?;
    Ok(())
}
