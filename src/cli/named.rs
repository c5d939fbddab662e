//! What a word on the command line stands for.

use std::ffi::OsStr;
use std::path::Path;

use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::spelling::nearest;
use crate::config::presets;
use crate::run::run_dir;

/// What a word stands for that may be the name of a preset or a run's directory.
pub(super) enum Named<'a> {
    /// A published experiment.
    Preset(&'static str),
    /// A run's directory.
    Run(&'a Path),
}

impl<'a> Named<'a> {
    /// That of `name`.
    ///
    /// # Errors
    /// If it is neither.
    pub(super) fn find(name: &'a OsStr) -> Result<Self, UserError> {
        let names = presets::names();
        if let Some(preset) = names.iter().find(|preset| name == **preset) {
            return Ok(Self::Preset(preset));
        }
        let path = Path::new(name);
        if path.is_dir() {
            return Ok(Self::Run(path));
        }
        let word = name.to_string_lossy();
        let expected = names.join(", ");
        let error = format!("{}: expected a run directory or one of {expected}", quoted(&word));
        let error = UserError::usage(error);
        let run = run_dir::near(path);
        Err(match run.or_else(|| nearest(&word, names).map(str::to_owned)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error,
        })
    }
}
