//! The records of a file of pairs: which of their fields are the source and the target.

use std::io::Read;

use super::fields::{BadRow, Fields};
use super::header::Header;
use super::reader::{Rows, Unread};
use crate::base::error::UserError;
use crate::config::{BadLines, Separator};

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Its number, from 1.
    Number(usize),
    /// Its name in the header.
    Name(String),
}

/// How pairs are written in a file.
///
/// Every line has as many columns as the header. Without a header, and where the pair is columns 1 and 2,
/// it has these two: a third one most likely is the rest of a text that has a separator in it, and what
/// is before it half a text. Where another column is chosen by its number there are others, and a line has
/// at least the chosen ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairsFormat {
    /// The column of the sources.
    pub source: Column,
    /// The column of the targets.
    pub target: Column,
    /// Whether the first line names the columns.
    pub header: bool,
    /// What stands between columns.
    pub separator: Separator,
    /// What is done with lines that are no pair.
    pub bad_lines: BadLines,
}

/// The pairs of a file, as text.
#[derive(Debug)]
pub struct PairRows<R> {
    rows: Rows<R>,
    separator: Separator,
    source: usize,
    target: usize,
    width: Width,
}

/// How many columns a line has.
#[derive(Debug, Clone, Copy)]
enum Width {
    /// As many as the header.
    Header(usize),
    /// A source and a target.
    Two,
    /// At least so many.
    Least(usize),
}

/// What to do where a source or a target lacks.
const SKIP: &str = "complete it, or leave such lines out: --bad-lines skip";

impl<R: Read> PairRows<R> {
    /// The pairs of `rows`, of which the header is read, if it has one.
    ///
    /// # Errors
    /// If the file has not the columns, or none can have.
    pub fn new(mut rows: Rows<R>, format: &PairsFormat) -> Result<Self, UserError> {
        let header = format.header.then(|| Header::read(&mut rows)).transpose()?;
        let find = |column: &Column| place(column, header.as_ref(), rows.name());
        let (source, target) = (find(&format.source)?, find(&format.target)?);
        let width = match &header {
            Some(header) => Width::Header(header.names().len()),
            None if source.min(target) == 0 && source.max(target) == 1 => Width::Two,
            None => Width::Least(source.max(target) + 1),
        };
        Ok(Self { rows, separator: format.separator, source, target, width })
    }

    /// The lines that it reads.
    pub fn rows(&self) -> &Rows<R> {
        &self.rows
    }

    /// Reads the next line that is not the header; `false` if there is none.
    ///
    /// # Errors
    /// If it has other columns, or no source or no target; and those of [`Rows::next`].
    pub fn next(&mut self, fields: &mut Fields) -> Result<bool, Unread> {
        if !self.rows.next(fields)? {
            return Ok(false);
        }
        self.check(fields).map(|()| true).map_err(Unread::Row)
    }

    /// The source of a line that was read.
    pub fn source<'a>(&self, fields: &'a Fields) -> &'a str {
        fields.get(self.source).unwrap_or_default()
    }

    /// Its target.
    pub fn target<'a>(&self, fields: &'a Fields) -> &'a str {
        fields.get(self.target).unwrap_or_default()
    }

    /// That the source is bad.
    pub(super) fn bad_source(&self, fields: &Fields, what: &str) -> BadRow {
        fields.bad(self.source, format!("source: {what}"), SKIP)
    }

    /// That the target is bad.
    pub(super) fn bad_target(&self, fields: &Fields, what: &str) -> BadRow {
        fields.bad(self.target, format!("target: {what}"), SKIP)
    }

    fn check(&self, fields: &Fields) -> Result<(), BadRow> {
        self.check_width(fields)?;
        if self.source(fields).is_empty() {
            return Err(self.bad_source(fields, EMPTY));
        }
        if self.target(fields).is_empty() {
            return Err(self.bad_target(fields, EMPTY));
        }
        Ok(())
    }

    fn check_width(&self, fields: &Fields) -> Result<(), BadRow> {
        let n = fields.len();
        let (expected, exactly) = match self.width {
            Width::Header(columns) => (columns, true),
            Width::Two => (2, true),
            Width::Least(columns) => (columns, false),
        };
        if n < expected {
            return Err(self.too_few(fields, expected));
        }
        if exactly && n > expected {
            return Err(self.too_many(fields, expected));
        }
        Ok(())
    }

    fn too_few(&self, fields: &Fields, expected: usize) -> BadRow {
        let (name, others) = match self.separator {
            Separator::Tab => ("tab", "comma, semicolon"),
            Separator::Comma => ("comma", "tab, semicolon"),
            Separator::Semicolon => ("semicolon", "tab, comma"),
        };
        let n = fields.len();
        let expected = match self.width {
            Width::Header(_) => format!("{expected} columns, as the header has"),
            Width::Two => format!("a source and a target with a {name} between them"),
            Width::Least(_) => format!("at least {expected} columns"),
        };
        let found = if n == 1 { format!("no {name}") } else { format!("{n} columns") };
        let hint = format!("if something else stands between columns: --separator ({others})");
        fields.bad(n, format!("{found}: expected {expected}"), hint)
    }

    fn too_many(&self, fields: &Fields, expected: usize) -> BadRow {
        let (n, name) = (fields.len(), self.rows.name());
        let what = match self.width {
            Width::Two => format!("{n} columns: expected 2, a source and a target"),
            _ => format!("{n} columns: expected {expected}, as the header has"),
        };
        let hint = match (self.separator, self.width) {
            (Separator::Tab, Width::Two) => format!(
                "keep the two that are meant: cut -f 1,2 {name} > NEW; or name all in a first line, \
                 with --header true"
            ),
            (Separator::Tab, _) => "a text cannot have a tab in it".to_owned(),
            (_, Width::Two) => "a text that has the separator in it is written in double quotes; \
                                where there are other columns, name all in a first line, with \
                                --header true"
                .to_owned(),
            _ => "a text that has the separator in it is written in double quotes".to_owned(),
        };
        fields.bad(expected, what, hint)
    }
}

/// What is said of a text without a character.
const EMPTY: &str = "empty: expected a text";

/// The place of `column`, from 0.
fn place(column: &Column, header: Option<&Header>, name: &str) -> Result<usize, UserError> {
    match (column, header) {
        (Column::Number(0), _) => {
            Err(UserError::usage("column 0: expected a number from 1")
                .hint("the first is column 1"))
        }
        (&Column::Number(number), Some(header)) if number > header.names().len() => {
            let n = header.names().len();
            let what = format!("{name}, line 1: {n} columns: expected a column {number}");
            Err(UserError::usage(what).hint("choose one that there is, by its number or its name"))
        }
        (&Column::Number(number), _) => Ok(number - 1),
        (Column::Name(column), Some(header)) => header.find(column),
        (Column::Name(column), None) => {
            let what = format!("column '{}' of {name}", crate::base::input::quoted(column));
            Err(UserError::usage(format!("{what}: the file has no header that names it"))
                .hint("give the column's number, or --header true if the first line names it"))
        }
    }
}
