//! The columns of numbers of a file with a header line.

use std::io::Read;
use std::path::Path;

use super::fields::Fields;
use super::header::Header;
use super::numbers::{Wrong, number};
use super::reader::Rows;
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::config::{Decimal, Missing, Separator};
use crate::files::checksum::Checksum;

/// Rows that are looked at to find the columns that hold numbers.
const LOOKED_AT: usize = 100;

/// Names that a message lists at most.
const LISTED: usize = 30;

/// How a table is written, and whether values may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFormat {
    /// What stands between columns.
    pub separator: Separator,
    /// What stands before decimals.
    pub decimal: Decimal,
    /// What is done where a value is missing; the first is an error, or all are read as NaN.
    pub missing: Missing,
}

/// Chosen columns of a file.
#[derive(Debug, Clone)]
pub struct Table {
    /// Their names, in the order in which they were asked for.
    pub names: Vec<String>,
    /// Their values, `(columns, rows)`; NaN where one is missing.
    pub columns: Vec<Vec<f64>>,
    /// What was read.
    pub file: Checksum,
}

impl Table {
    /// The columns of the file `path` called `names`: see [`Table::of`].
    ///
    /// # Errors
    /// Those of [`Rows::open`] and [`Table::of`].
    pub fn read(path: &Path, names: &[String], format: TableFormat) -> Result<Self, UserError> {
        Self::of(Rows::open(path, format.separator)?, names, format)
    }

    /// The columns of `rows` called `names`, which are different; white space around a name of the
    /// header does not count.
    ///
    /// # Errors
    /// Those of [`Rows`]; a header that lacks a name or has one twice; a line with more or fewer fields
    /// than the header; a field that is no number, or a missing value that is to be refused: with the
    /// line, the column and the fix.
    pub fn of<R: Read>(
        rows: Rows<R>,
        names: &[String],
        format: TableFormat,
    ) -> Result<Self, UserError> {
        let mut lines = Lines::of(rows, format)?;
        let chosen: Vec<usize> =
            names.iter().map(|name| lines.column(name)).collect::<Result<_, _>>()?;
        let mut columns = vec![Vec::new(); chosen.len()];
        while lines.next()? {
            for (values, &column) in columns.iter_mut().zip(&chosen) {
                values.push(lines.number(column)?);
            }
        }
        if columns.first().is_some_and(Vec::is_empty) {
            let name = lines.rows.name();
            let error = format!("{name}: expected numbers below the header, found none");
            return Err(UserError::usage(error));
        }
        Ok(Self { names: names.to_vec(), columns, file: lines.rows.identity() })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }
}

/// Hands the fields of the column called `name` of the file `path`, from top to bottom, to `take`, which
/// says of one that is wrong what it is and what helps. Returns what was read.
///
/// # Errors
/// Those of [`Rows`]; a header that lacks the name or has one twice; a line with more or fewer fields
/// than the header; a field that is wrong.
pub fn each_field(
    path: &Path,
    name: &str,
    format: TableFormat,
    mut take: impl FnMut(&str) -> Result<(), (String, String)>,
) -> Result<Checksum, UserError> {
    let mut lines = Lines::of(Rows::open(path, format.separator)?, format)?;
    let column = lines.column(name)?;
    while lines.next()? {
        take(lines.field(column)).map_err(|(what, hint)| {
            let (file, line, name) = (lines.rows.name(), lines.rows.line(), quoted(name));
            let error = format!("{file}, line {line}, column '{name}': {what}");
            UserError::usage(error).hint(hint)
        })?;
    }
    Ok(lines.rows.identity())
}

/// What the first rows of a table have in one of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The column's name, without white space around it; empty if it has none.
    pub name: String,
    /// Fields that are numbers.
    pub numbers: usize,
    /// Fields that are neither numbers nor missing values.
    pub others: usize,
}

impl Look {
    /// Whether it holds numbers, and nothing but some missing values besides.
    pub fn has_numbers(&self) -> bool {
        self.numbers > 0 && self.others == 0
    }
}

/// What the first rows of the file `path`, before one that cannot be read, have in each of its columns.
///
/// # Errors
/// Those of [`Rows`] in the first line, and a header with a name twice.
pub fn look(path: &Path, format: TableFormat) -> Result<Vec<Look>, UserError> {
    let (looks, _) = Lines::of(Rows::open(path, format.separator)?, format)?.look();
    Ok(looks)
}

/// The names of the columns of `path` that hold numbers, or nothing but some missing values, by its
/// first rows.
///
/// # Errors
/// Those of [`look`] and of [`Rows`] in these rows, and if no column holds numbers.
pub fn columns_of_numbers(path: &Path, format: TableFormat) -> Result<Vec<String>, UserError> {
    let mut lines = Lines::of(Rows::open(path, format.separator)?, format)?;
    let (looks, unreadable) = lines.look();
    if let Some(error) = unreadable {
        return Err(error);
    }
    let holds = looks.into_iter().filter(|look| look.has_numbers() && !look.name.is_empty());
    let names: Vec<String> = holds.map(|look| look.name).collect();
    if names.is_empty() {
        let name = lines.rows.name();
        let error = format!("{name}: expected columns of numbers below a header, found none");
        let error = UserError::usage(error);
        return Err(match lines.misread() {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    Ok(names)
}

/// The names in `list`, which commas separate; one in double quotes may hold commas.
///
/// # Errors
/// In words, if one is empty or there twice, or a quote is left open.
pub fn names(list: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = vec![String::new()];
    let mut inside = false;
    for character in list.chars() {
        match (character, names.last_mut()) {
            ('"', _) => inside = !inside,
            (',', _) if !inside => names.push(String::new()),
            (_, Some(name)) => name.push(character),
            (_, None) => {}
        }
    }
    if inside {
        return Err("a quote is left open".to_owned());
    }
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err("a name is empty".to_owned());
        }
        if names[..i].contains(name) {
            return Err(format!("'{}' stands there twice", quoted(name)));
        }
    }
    Ok(names)
}

/// `names` as [`names`] reads them.
pub fn list(names: &[String]) -> String {
    let text = |name: &String| match name.contains(',') {
        true => format!("\"{name}\""),
        false => name.clone(),
    };
    names.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The lines of a file below its header.
struct Lines<R> {
    rows: Rows<R>,
    format: TableFormat,
    header: Header,
    fields: Fields,
}

impl<R: Read> Lines<R> {
    fn of(mut rows: Rows<R>, format: TableFormat) -> Result<Self, UserError> {
        let header = Header::read(&mut rows)?;
        Ok(Self { rows, format, header, fields: Fields::default() })
    }

    /// The place of the column called `name`.
    fn column(&self, name: &str) -> Result<usize, UserError> {
        let place = self.header.names().iter().position(|column| column.trim() == name);
        match (place, self.misread()) {
            (Some(place), _) => Ok(place),
            (None, Some(hint)) => {
                let (file, name) = (self.rows.name(), quoted(name));
                Err(UserError::usage(format!("{file}, line 1: no column '{name}'")).hint(hint))
            }
            (None, None) => self.header.find(name),
        }
    }

    /// What helps if the first line is no header as it was read.
    fn misread(&self) -> Option<String> {
        let names = self.header.names();
        let others = [(';', Separator::Semicolon), ('\t', Separator::Tab), (',', Separator::Comma)];
        let only = names.first().filter(|_| names.len() == 1);
        let other = others.into_iter().find(|(mark, separator)| {
            *separator != self.format.separator && only.is_some_and(|name| name.contains(*mark))
        });
        if let Some((_, separator)) = other {
            return Some(format!(
                "its columns may be separated otherwise: --separator {separator}"
            ));
        }
        let numbers = names.iter().all(|name| number(name, self.format.decimal).is_ok());
        let hint = "the first line holds numbers: put one with the columns' names above it";
        numbers.then(|| hint.to_owned())
    }

    /// Reads the next line; false at the end.
    fn next(&mut self) -> Result<bool, UserError> {
        if !self.rows.next(&mut self.fields).map_err(|e| e.refused(self.rows.name()))? {
            return Ok(false);
        }
        let (found, expected) = (self.fields.len(), self.header.names().len());
        if found == expected {
            return Ok(true);
        }
        let (name, line) = (self.rows.name(), self.rows.line());
        let error = format!("{name}, line {line}: {found} fields, but the header has {expected}");
        let error = UserError::usage(error);
        Err(match self.format.separator {
            Separator::Comma if found > expected => error.hint(
                "a field that holds a comma has to stand in double quotes; where decimals have \
                 commas, separate columns by semicolons (--separator semicolon --decimal comma)",
            ),
            _ => error.hint("a line has a field for every column of the header; or --separator"),
        })
    }

    /// What the next rows have in each column, and why it looked no further, if a row cannot be read.
    fn look(&mut self) -> (Vec<Look>, Option<UserError>) {
        let names = self.header.names().iter();
        let mut looks: Vec<Look> = names
            .map(|name| Look { name: name.trim().to_owned(), numbers: 0, others: 0 })
            .collect();
        for _ in 0..LOOKED_AT {
            match self.next() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return (looks, Some(error)),
            }
            for (look, field) in looks.iter_mut().zip(self.fields.iter()) {
                match number(field, self.format.decimal) {
                    Ok(_) | Err(Wrong::OutOfRange) => look.numbers += 1,
                    Err(Wrong::Missing) => {}
                    Err(_) => look.others += 1,
                }
            }
        }
        (looks, None)
    }

    fn field(&self, column: usize) -> &str {
        self.fields.get(column).unwrap_or_default()
    }

    /// The number in `column` of the line, NaN if it is missing.
    fn number(&self, column: usize) -> Result<f64, UserError> {
        match number(self.field(column), self.format.decimal) {
            Ok(number) => Ok(number),
            Err(Wrong::Missing) if self.format.missing != Missing::Refuse => Ok(f64::NAN),
            Err(wrong) => Err(self.complaint(column, wrong)),
        }
    }

    /// The error of what is in `column` of the line.
    fn complaint(&self, column: usize, wrong: Wrong) -> UserError {
        let field = self.field(column).trim();
        let found = match (wrong, field) {
            (Wrong::Missing, "") => "no value".to_owned(),
            (Wrong::Missing, field) => format!("'{}', a missing value", quoted(field)),
            (Wrong::OtherDecimal, field) => {
                let other = if self.format.decimal == Decimal::Point { "comma" } else { "point" };
                format!("'{}', a number with a decimal {other}", quoted(field))
            }
            (Wrong::OutOfRange, field) => {
                format!("'{}', a number out of the range of float32", quoted(field))
            }
            (Wrong::Date, field) => format!("'{}', a date or a time", quoted(field)),
            (Wrong::Text, field) => format!("the text '{}'", quoted(field)),
        };
        let (file, line) = (self.rows.name(), self.rows.line());
        let name = quoted(self.header.names()[column].trim());
        let error =
            format!("{file}, line {line}, column '{name}': expected a number, found {found}");
        UserError::usage(error).hint(self.fix(wrong))
    }

    /// What helps.
    fn fix(&self, wrong: Wrong) -> String {
        match (wrong, self.format.separator) {
            (Wrong::Missing, _) => "--missing says what stands in for missing values: the one before \
                                    (previous), a line between their neighbours (interpolate), or \
                                    nothing (skip_windows)"
                .to_owned(),
            (Wrong::OtherDecimal, _) if self.format.decimal == Decimal::Comma => {
                "--decimal point reads it".to_owned()
            }
            (Wrong::OtherDecimal, Separator::Comma) => "write decimal points, or separate columns by \
                                                        semicolons (--separator semicolon --decimal \
                                                        comma)"
                .to_owned(),
            (Wrong::OtherDecimal, _) => "--decimal comma reads it".to_owned(),
            (Wrong::OutOfRange, _) => "its absolute value may be up to 3.4e38".to_owned(),
            (Wrong::Date | Wrong::Text, _) => self.numbers_instead(),
        }
    }

    /// Which columns could be meant instead, by this line.
    fn numbers_instead(&self) -> String {
        let fields = self.header.names().iter().zip(self.fields.iter());
        let numbers = fields.filter(|(_, field)| number(field, self.format.decimal).is_ok());
        let names: Vec<String> =
            numbers.take(LISTED).map(|(name, _)| format!("'{}'", quoted(name.trim()))).collect();
        let instead = match names.is_empty() {
            true => String::new(),
            false => format!("; in this line these have numbers: {}", names.join(", ")),
        };
        format!("leave the column out of --inputs and --targets, or mend the line{instead}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::error::describe;

    const FORMAT: TableFormat = TableFormat {
        separator: Separator::Comma,
        decimal: Decimal::Point,
        missing: Missing::Refuse,
    };

    /// What is read of a file `t.csv` with this text.
    fn read(text: &str, names: &[&str], format: TableFormat) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let place = format!("{}/", folder.path().display());
        let told = |error: UserError| describe(&error.into()).replace(&place, "");
        Table::read(&path, &names, format).map_err(told)
    }

    fn numeric(text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        columns_of_numbers(&path, FORMAT).map_err(|error| describe(&error.into()))
    }

    #[test]
    fn chosen_columns_are_read_in_the_order_asked_for() {
        let text = "date, a ,\"b, c\",d\n2024-01-01,1,2,x\n2024-01-02,3,-4.5e1,y\n";
        let table = read(text, &["b, c", "a"], FORMAT).unwrap();
        assert_eq!(table.names, ["b, c", "a"]);
        assert_eq!(table.columns, [[2.0, -45.0], [1.0, 3.0]]);
        assert_eq!((table.rows(), table.file.bytes), (2, text.len() as u64));
        let german =
            TableFormat { separator: Separator::Semicolon, decimal: Decimal::Comma, ..FORMAT };
        assert_eq!(read("a;b\n1,5;2\n", &["a", "b"], german).unwrap().columns, [[1.5], [2.0]]);
    }

    #[test]
    fn a_missing_value_is_nan_where_it_may_be() {
        let format = TableFormat { missing: Missing::Previous, ..FORMAT };
        let table = read("a,b\n1,\nNA,2\n", &["a", "b"], format).unwrap();
        assert_eq!(table.columns[0][0], 1.0);
        assert!(table.columns[0][1].is_nan() && table.columns[1][0].is_nan());
    }

    #[test]
    fn every_bad_number_is_told_with_its_place_and_the_fix() {
        let of = |field: &str| format!("day,rain\n1,2\n2,{field}\n");
        for (field, found, fix) in [
            ("", "found no value", "--missing says what"),
            ("nan", "found 'nan', a missing value", "--missing says what"),
            ("inf", "found 'inf', a missing value", "--missing says what"),
            ("NA", "found 'NA', a missing value", "--missing says what"),
            ("\"1,5\"", "found '1,5', a number with a decimal comma", "--separator semicolon"),
            ("1e39", "found '1e39', a number out of the range of float32", "up to 3.4e38"),
            ("2024-01-01", "found '2024-01-01', a date", "leave the column out"),
            ("wet", "found the text 'wet'", "in this line these have numbers: 'day'"),
        ] {
            let told = read(&of(field), &["rain"], FORMAT).unwrap_err();
            let place = "error: t.csv, line 3, column 'rain': expected a number, ";
            assert!(told.starts_with(&format!("{place}{found}")), "{told}");
            assert!(told.contains("\nhint: ") && told.contains(fix), "{told}");
            // What is not asked for is not read.
            assert!(read(&of(field), &["day"], FORMAT).is_ok());
        }
        let tabs = TableFormat { separator: Separator::Tab, ..FORMAT };
        let told = read("a\tb\n1,5\t2\n", &["a"], tabs).unwrap_err();
        assert!(
            told.contains("line 2, column 'a'") && told.contains("--decimal comma reads"),
            "{told}"
        );
        let comma = TableFormat { decimal: Decimal::Comma, ..tabs };
        let told = read("a\tb\n1.5\t2\n", &["a"], comma).unwrap_err();
        assert!(
            told.contains("a decimal point") && told.contains("--decimal point reads"),
            "{told}"
        );
    }

    #[test]
    fn a_header_names_each_column_once_and_all_that_are_asked_for() {
        for (text, says) in [
            ("day,rian\n1,2\n", "line 1: no column 'rain'\nhint: did you mean 'rian'?"),
            ("a,b\n1,2\n", "no column 'rain'\nhint: the columns are 'a', 'b'"),
            (
                "a;rain\n1;2\n",
                "hint: its columns may be separated otherwise: --separator semicolon",
            ),
            ("1,2\n3,4\n", "hint: the first line holds numbers"),
            ("rain,a,rain\n1,2,3\n", "line 1, column 8: a second column 'rain'"),
            ("rain,a,a\n1,2,3\n", "line 1, column 8: a second column 'a'"),
            ("rain,a\n1,2\n3\n", "line 3: 1 fields, but the header has 2"),
            ("rain,a\n1,5,2\n", "line 2: 3 fields, but the header has 2\nhint: a field that holds"),
            ("rain,a\n", "expected numbers below the header, found none"),
        ] {
            let told = read(text, &["rain"], FORMAT).unwrap_err();
            assert!(told.contains(says), "{text:?}: {told}");
        }
        // As programs write that number rows without a name.
        assert!(read(",rain,\n1,2,\n", &["rain"], FORMAT).is_ok());
    }

    #[test]
    fn columns_of_numbers_are_found() {
        let text = "date,a,empty,text,b\n2024-01-01,1,,x,NA\n2024-01-02,,,1,2\n";
        assert_eq!(numeric(text).unwrap(), ["a", "b"]);
        let told = numeric("date;a\n2024-01-01;1\n").unwrap_err();
        assert!(told.contains("found none\nhint: its columns may be separated"), "{told}");
    }

    #[test]
    fn lists_of_names_are_read_as_they_are_written() {
        for text in ["a", "a,b c,d", "\"a,b\",c"] {
            assert_eq!(list(&names(text).unwrap()), text);
        }
        assert_eq!(names(" a , b ").unwrap(), ["a", "b"]);
        assert_eq!(names("a,,b").unwrap_err(), "a name is empty");
        assert_eq!(names("a,b,a").unwrap_err(), "'a' stands there twice");
        assert_eq!(names("\"a,b").unwrap_err(), "a quote is left open");
    }
}
