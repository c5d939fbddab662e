//! Errors of the command line, told as all others are.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::shell;
use crate::base::spelling::nearest;
use crate::config::{Invalid, alternatives};

/// What `error`, which parsing the arguments of `program` gave, looks like to the user.
pub(super) fn explain(error: &Error, program: &Command) -> UserError {
    let (mut command, mut words) = (program, Vec::new());
    for word in std::env::args_os().skip(1) {
        let inner = word.to_str().and_then(|name| command.find_subcommand(name));
        let Some(inner) = inner else { break };
        command = inner;
        words.push(word);
    }
    let told = UserError::usage(message(error));
    if let Some(near) = suggestion(error, command) {
        return told.hint(format!("did you mean '{near}'?"));
    }
    let what = if command.has_subcommands() { "the commands" } else { "its flags" };
    match error.kind() {
        // The message says what is possible.
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if !words.is_empty() => told,
        _ => {
            words.push("--help".into());
            let words: Vec<&OsStr> = words.iter().map(AsRef::as_ref).collect();
            told.hint(format!("`{}` shows {what}", shell::command(&words)))
        }
    }
}

fn message(error: &Error) -> String {
    let source = std::error::Error::source(error);
    if let Some(invalid) = source.and_then(|source| source.downcast_ref::<Invalid>()) {
        return invalid.to_string();
    }
    let (argument, value) =
        (text(error, ContextKind::InvalidArg), text(error, ContextKind::InvalidValue));
    if let (ErrorKind::InvalidValue, Some(argument), Some(value)) = (error.kind(), argument, value)
        && !value.is_empty()
    {
        let name = argument.split(' ').next().unwrap_or(argument);
        let name = name.trim_matches(['[', ']', '<', '>', '.']).replace("PRESET", "preset");
        return format!("{name} {}: expected {}", quoted(value), alternatives(&choices(error)));
    }
    // Its first paragraph says what is wrong; the others are usage and suggestions.
    let whole = error.render().to_string();
    let first = whole.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.trim_start_matches("error: ").lines().map(str::trim).collect();
    lines.join(" ")
}

/// What the user may have meant.
fn suggestion<'a>(error: &'a Error, command: &'a Command) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = text(error, ContextKind::InvalidArg)?.strip_prefix("--")?;
            let flags =
                command.get_arguments().filter_map(|flag| flag.get_long_and_visible_aliases());
            nearest(word, flags.flatten()).map(|near| format!("--{near}"))
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand)?;
            let names = command.get_subcommands().map(Command::get_name);
            nearest(word, names).map(str::to_owned)
        }
        ErrorKind::InvalidValue => {
            let word = text(error, ContextKind::InvalidValue)?;
            nearest(word, choices(error)).map(str::to_owned)
        }
        _ => None,
    }
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The values that were possible.
fn choices(error: &Error) -> Vec<&str> {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(words)) => words.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}
