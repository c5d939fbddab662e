//! What the user gave, and what to say about a value that cannot be.

use std::collections::BTreeMap;

use anyhow::Result;
use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::give_way;
use crate::base::error::UserError;
use crate::base::input::{clipped, quoted};
use crate::base::spelling::nearest;
use crate::config::{Config, FIELDS, Invalid, NOT_GIVEN, field};

/// Fields that the user gave, or that follow from them, with where each is from.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub(super) fields: Table,
    origins: BTreeMap<String, Origin>,
    /// The file, as messages name it.
    file: Option<String>,
}

/// Where a field is from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Flag,
    /// A place in the file, and the value as it is written there.
    File(TextPlace, String),
    /// The same of one of the values that a sweep tries.
    Swept(TextPlace, String),
    Preset(String),
    /// Another field, whose flag this is.
    Follows(&'static str),
}

/// A place in a text: line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TextPlace {
    line: usize,
    column: usize,
}

impl TextPlace {
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[start..].chars().count() + 1 }
    }

    /// The place in `file`, for the beginning of a message.
    pub(super) fn within(self, file: &str) -> String {
        format!("{file}, line {}, column {}", self.line, self.column)
    }
}

/// What the fields in the TOML file `bytes` say; `file` is what messages call it.
///
/// # Errors
/// If it is no TOML, with the place.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Given> {
    let text = text_of(file, bytes)?;
    let wrong = |e: toml::de::Error| misread(file, text, &e);
    let fields: Table = text.parse().map_err(wrong)?;
    let places = DeTable::parse(text).map_err(wrong)?.into_inner();
    Ok(Given::new(file, text, fields, &places))
}

/// `bytes` as text.
///
/// # Errors
/// If they are no UTF-8.
pub(super) fn text_of<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, UserError> {
    std::str::from_utf8(bytes).map_err(|e| UserError::usage(format!("{file}: no UTF-8: {e}")))
}

/// What is wrong with the TOML file `text`, with the place and its line.
pub(super) fn misread(file: &str, text: &str, e: &toml::de::Error) -> UserError {
    let place = TextPlace::of(text, e.span().map_or(0, |span| span.start));
    let line = quoted(text.lines().nth(place.line - 1).unwrap_or_default());
    let message = clipped(e.message());
    let error = UserError::usage(format!("{}: {message}: {line}", place.within(file)));
    match meant(e.message()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// What the unknown word that a parser's `message` names most likely stands for, of those that it lists.
fn meant(message: &str) -> Option<&str> {
    let named = message.strip_prefix("unknown ")?;
    let (word, expected) = named.split_once("`, expected ")?;
    let (_, word) = word.split_once('`')?;
    nearest(word, expected.split('`').skip(1).step_by(2))
}

/// `message` about `value` of the file `text`, behind its place.
pub(super) fn at<T>(
    file: &str,
    text: &str,
    value: &Spanned<T>,
    message: impl std::fmt::Display,
) -> UserError {
    let place = TextPlace::of(text, value.span().start);
    UserError::usage(format!("{}: {message}", place.within(file)))
}

/// Where the fields of the section `name` stand, in a file whose own are at `places`.
pub(super) fn section<'a, 'b>(places: &'a DeTable<'b>, name: &str) -> Option<&'a DeTable<'b>> {
    let own = places.iter().find(|(section, _)| section.get_ref() == name);
    own.and_then(|(_, value)| value.get_ref().as_table())
}

impl Given {
    /// `fields`, which stand in the TOML file `text` at `places`.
    pub(super) fn new(file: &str, text: &str, fields: Table, places: &DeTable<'_>) -> Self {
        let origins = places.iter().map(|(name, value)| {
            let written = text.get(value.span()).unwrap_or_default().to_owned();
            let place = TextPlace::of(text, name.span().start);
            (name.get_ref().to_string(), Origin::File(place, written))
        });
        Self { fields, origins: origins.collect(), file: Some(file.to_owned()) }
    }

    /// Whether it says anything of `field`.
    pub fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// A preset and nothing else.
    pub fn preset(name: &str) -> Self {
        let mut given = Self::default();
        given.set("preset", name.into(), Origin::Flag);
        given
    }

    /// The same with what `flags` say, a text a field; fields that they make meaningless go.
    ///
    /// # Errors
    /// A text that is nothing its field takes.
    pub fn with_flags(mut self, flags: &Table) -> Result<Self> {
        let mut read = Table::new();
        for (name, text) in flags {
            let Some(field) = field(name) else { unreachable!("every flag sets a field") };
            let value = field.read(text.as_str().unwrap_or_default());
            read.insert(name.clone(), value.map_err(UserError::usage)?);
        }
        self.override_by(read, |_, _| Origin::Flag);
        Ok(self)
    }

    /// The same with values that a sweep tries, each with the place of its field; fields that they make
    /// meaningless go.
    pub(super) fn with_swept(mut self, values: Vec<(&str, Value, TextPlace)>) -> Self {
        let places: BTreeMap<&str, TextPlace> =
            values.iter().map(|(name, _, place)| (*name, *place)).collect();
        let fields = values.into_iter().map(|(name, value, _)| (name.to_owned(), value));
        let origin = |name: &str, value: &Value| Origin::Swept(places[name], value.to_string());
        self.override_by(fields.collect(), origin);
        self
    }

    fn override_by(&mut self, fields: Table, origin: impl Fn(&str, &Value) -> Origin) {
        give_way(&mut self.fields, &fields);
        for (name, value) in fields {
            let origin = origin(&name, &value);
            self.set(&name, value, origin);
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Value, origin: Origin) {
        self.fields.insert(name.to_owned(), value);
        self.origins.insert(name.to_owned(), origin);
    }

    /// As [`Given::set`] where the field is still open.
    pub(super) fn set_open(&mut self, name: &str, value: Value, origin: Origin) {
        if !self.fields.contains_key(name) {
            self.set(name, value, origin);
        }
    }

    /// The configuration so far; everything that is not given is at its default, or nothing that a run
    /// can have.
    pub(super) fn partial(&self) -> Result<Config, UserError> {
        Config::partial(&self.fields).map_err(|e| self.complaint(e))
    }

    /// The error of a field without a default that has no value, of which the deserialiser's `message`
    /// tells.
    pub(super) fn missing(&self, message: &str) -> UserError {
        let name = message.strip_prefix("missing field `").and_then(|name| name.strip_suffix('`'));
        match (name.and_then(field), &self.file) {
            (Some(field), None) => {
                UserError::usage(format!("{} {NOT_GIVEN}: expected a value", field.flag()))
            }
            _ => self
                .complaint(message)
                .hint("give it a value, or say preset = \"echo\" or another to start from"),
        }
    }

    /// Whether the field stands in the file, or was asked for by itself.
    pub(super) fn is_from_user(&self, name: &str) -> bool {
        matches!(self.origins.get(name), Some(Origin::Flag | Origin::File(..) | Origin::Swept(..)))
    }

    /// Whether the field was asked for by itself: by a flag, or a sweep.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        matches!(self.origins.get(name), Some(Origin::Flag | Origin::Swept(..)))
    }

    /// Finds out whether every field is one and has a value of its kind.
    ///
    /// # Errors
    /// The first in the file that has not.
    pub(super) fn check(&self) -> Result<(), UserError> {
        let place = |name: &str| match self.origins.get(name) {
            Some(Origin::File(place, _) | Origin::Swept(place, _)) => Some(*place),
            _ => None,
        };
        let mut fields: Vec<_> = self.fields.iter().filter(|(name, _)| *name != "preset").collect();
        fields.sort_by_key(|(name, _)| place(name));
        for (name, value) in fields {
            match field(name) {
                Some(field) => field.check(value).map_err(|invalid| self.blame(invalid))?,
                None => return Err(self.unknown(name)),
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> UserError {
        let error = self.at(name, format!("unknown field `{}`", quoted(name)));
        match nearest(name, FIELDS.iter().map(|field| field.name)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    }

    /// `message` about the field `name`, behind its place if it is in the file.
    pub(super) fn at(&self, name: &str, message: String) -> UserError {
        match (self.origins.get(name), &self.file) {
            (Some(Origin::File(place, _) | Origin::Swept(place, _)), Some(file)) => {
                UserError::usage(format!("{}: {message}", place.within(file)))
            }
            _ => UserError::usage(message),
        }
    }

    /// The error of a value that cannot be, told by where it is from.
    pub(super) fn blame(&self, invalid: Invalid) -> UserError {
        let Invalid { field, found, expected, .. } = &invalid;
        let expectation = invalid.expectation();
        let origin = self.origins.get(*field);
        let message = match origin {
            Some(Origin::Flag) => return UserError::usage(invalid),
            Some(Origin::File(_, written) | Origin::Swept(_, written)) => {
                format!("{field} = {}: {expectation}", quoted(written))
            }
            Some(Origin::Preset(name)) => {
                format!("{field} {found} of preset {name}: {expectation}")
            }
            Some(Origin::Follows(flag)) => {
                format!("{field} {found}, which follows {flag}: {expectation}")
            }
            None if found == NOT_GIVEN => {
                return self.complaint(&invalid).hint(format!("give {}", invalid.flag()));
            }
            None => format!("{field} {found}, the default: {expectation}"),
        };
        let error = self.at(field, message);
        let by_flags = self.origins.values().any(|origin| matches!(origin, Origin::Flag));
        match origin {
            // Who wrote the file alone mends the file.
            Some(Origin::File(..) | Origin::Swept(..)) if !by_flags => error,
            _ if expected == "nothing" => error,
            _ => error.hint(format!("give {} as well: {expected}", invalid.flag())),
        }
    }

    /// `message` about the configuration as a whole, behind the file's name.
    pub(super) fn complaint(&self, message: impl std::fmt::Display) -> UserError {
        match &self.file {
            Some(file) => UserError::usage(format!("{file}: {message}")),
            None => UserError::usage(message),
        }
    }
}
