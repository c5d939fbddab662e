//! The directory that a command is to write, which is no run.

use std::path::Path;

use anyhow::{Context, Result};

use crate::base::error::UserError;
use crate::files::directory::Directory;

/// Finds out whether `path` can become a new directory.
///
/// # Errors
/// If there is something at it.
pub(super) fn check_place(path: &Path) -> Result<()> {
    let error = |what: &str| {
        let error = UserError::usage(format!("--out {}: {what}", path.display()));
        Err(error.hint("give a new or an empty directory").into())
    };
    match path.is_dir() {
        false if path.symlink_metadata().is_ok() => error("is no directory"),
        false => Ok(()),
        true => {
            let names = Directory::open(path).and_then(|directory| directory.names(path));
            let names = names.with_context(|| format!("cannot read {}", path.display()))?;
            if names.is_empty() { Ok(()) } else { error("holds files already") }
        }
    }
}

/// The directory `path`, which is made if it is not there.
///
/// # Errors
/// If that cannot be done.
pub(super) fn new_directory(path: &Path) -> Result<Directory, UserError> {
    let unusable = |e| UserError::usage(format!("--out {}: {e}", path.display()));
    Directory::create(path).map_err(unusable)
}
