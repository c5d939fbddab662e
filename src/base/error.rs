//! Errors that know what the user can do about them.

use std::fmt;

use tch::TchError;

use crate::base::input::printable;

/// Exit status for a failure in the run: I/O, divergence, out of memory.
pub const FAILURE: u8 = 1;
/// Exit status for bad usage or input.
pub const USAGE: u8 = 2;

/// An error with the fix beside it and the exit status it leads to.
#[derive(Debug)]
pub struct UserError {
    message: String,
    hint: Option<String>,
    status: u8,
}

impl UserError {
    /// Bad usage or input.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, status: USAGE }
    }

    /// A failure in the run.
    pub fn failure(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, status: FAILURE }
    }

    /// The same with what to do about it.
    pub fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// The same with something else that may be done.
    pub fn or_hint(self, other: impl fmt::Display) -> Self {
        let hint = match &self.hint {
            Some(hint) => format!("{hint}; {other}"),
            None => other.to_string(),
        };
        self.hint(hint)
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UserError {}

/// The user asked the program to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What `error` looks like to the user: the chain of causes, then the hint if there is one.
pub fn describe(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(message).collect();
    let hint = known(error).and_then(|known| known.hint.clone());
    let hint = hint.or_else(|| error.chain().find_map(shortage));
    let hint = hint.map(|hint| format!("\nhint: {}", lines(&hint))).unwrap_or_default();
    format!("error: {}{hint}", lines(&causes.join(": ")))
}

/// `text` [`printable`], its further lines set in, so that none of it passes for a line of ours.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

/// The exit status that `error` leads to.
pub fn status(error: &anyhow::Error) -> u8 {
    known(error).map_or(FAILURE, |known| known.status)
}

/// The outermost [`UserError`] of the chain, which may be a context.
fn known(error: &anyhow::Error) -> Option<&UserError> {
    let inside = || error.chain().find_map(|cause| cause.downcast_ref());
    error.downcast_ref().or_else(inside)
}

/// Whether whoever read standard output stopped reading, as `head` does.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// libtorch appends its own stack trace to a message; the user gets the first line.
fn message(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match cause.downcast_ref::<TchError>() {
        Some(_) => text.lines().next().unwrap_or_default().to_owned(),
        None => text,
    }
}

/// What helps where libtorch found no memory.
fn shortage(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let text = cause.downcast_ref::<TchError>()?.to_string();
    let short = text.contains("out of memory") || text.contains("can't allocate memory");
    short.then(|| "memory is short: lower --batch-size, --units or --replicas".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn shows_the_chain_the_hint_and_no_stack_trace() {
        let torch = TchError::Torch("CUDA out of memory.\nException raised from malloc".to_owned());
        let error = Err::<(), _>(torch).context("step 3").unwrap_err();
        assert_eq!(
            describe(&error),
            "error: step 3: Internal torch error: CUDA out of memory.\n\
             hint: memory is short: lower --batch-size, --units or --replicas"
        );
        assert_eq!(status(&error), FAILURE);
    }

    #[test]
    fn no_name_of_a_file_passes_for_a_message_or_moves_the_cursor() {
        let name = "\u{1b}[2Ja\nerror: b\rhint: c\u{202e}";
        let error = UserError::usage(format!("{name}: no run")).hint(name).into();
        let shown = "\\u{1b}[2Ja\n  error: b\\rhint: c\\u{202e}";
        assert_eq!(describe(&error), format!("error: {shown}: no run\nhint: {shown}"));
    }

    #[test]
    fn several_hints_stand_beside_each_other() {
        let error = UserError::usage("no run").or_hint("give one").or_hint("or none");
        assert_eq!(describe(&error.into()), "error: no run\nhint: give one; or none");
    }

    #[test]
    fn usage_errors_exit_with_2_also_below_a_context() {
        let usage = UserError::usage("--units 0").hint("give one");
        let error = Err::<(), _>(usage).context("in run.toml").unwrap_err();
        assert_eq!(describe(&error), "error: in run.toml: --units 0\nhint: give one");
        assert_eq!(status(&error), USAGE);
    }

    #[test]
    fn a_context_has_its_hint_and_status_too() {
        let context = UserError::usage("no run").hint("give one");
        let error = Err::<(), _>(std::io::Error::other("gone")).context(context).unwrap_err();
        assert_eq!(describe(&error), "error: no run: gone\nhint: give one");
        assert_eq!(status(&error), USAGE);
    }
}
