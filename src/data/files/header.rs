//! The first line of a file, where it names the columns.

use std::collections::HashSet;
use std::io::Read;

use super::fields::Fields;
use super::reader::Rows;
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::spelling::nearest;

/// The names that a message lists at most.
const LISTED: usize = 20;

/// The names of the columns of a file.
#[derive(Debug, Clone)]
pub struct Header {
    file: String,
    names: Vec<String>,
}

impl Header {
    /// Reads the next record of `rows`, the first, as names.
    ///
    /// # Errors
    /// If it cannot be read, or two columns have one name. Columns without a name may be several.
    pub fn read<R: Read>(rows: &mut Rows<R>) -> Result<Self, UserError> {
        let mut fields = Fields::default();
        rows.next(&mut fields).map_err(|e| e.refused(rows.name()))?;
        let mut seen = HashSet::new();
        for (i, name) in fields.iter().enumerate() {
            if !name.is_empty() && !seen.insert(name) {
                let what = format!("a second column '{}'", quoted(name));
                let hint = "give every column a name of its own";
                return Err(fields.bad(i, what, hint).in_file(rows.name()));
            }
        }
        let names = fields.iter().map(str::to_owned).collect();
        Ok(Self { file: rows.name().to_owned(), names })
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of the column `name`, from 0.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn find(&self, name: &str) -> Result<usize, UserError> {
        let found = self.names.iter().position(|other| other == name && !name.is_empty());
        found.ok_or_else(|| {
            let what = format!("{}, line 1: no column '{}'", self.file, quoted(name));
            UserError::usage(what).hint(match nearest(name, self.given()) {
                Some(near) => format!("did you mean '{}'?", quoted(near)),
                None => format!("the columns are {}", self.listed()),
            })
        })
    }

    fn given(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The names for a message.
    fn listed(&self) -> String {
        let names: Vec<String> =
            self.given().take(LISTED).map(|name| format!("'{}'", quoted(name))).collect();
        let more = self.given().count() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.join(", ") + &more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::describe;
    use crate::config::Separator;

    fn header(text: &str) -> Result<Header, UserError> {
        Header::read(&mut Rows::new("f.csv", text.as_bytes(), Separator::Comma).unwrap())
    }

    fn said<T: std::fmt::Debug>(result: Result<T, UserError>) -> String {
        describe(&result.unwrap_err().into())
    }

    #[test]
    fn columns_are_found_by_name() {
        let header = header("\u{feff}time,\"dew, point\",,\n1,2,3,4\n").unwrap();
        assert_eq!([header.find("time").unwrap(), header.find("dew, point").unwrap()], [0, 1]);
        assert_eq!(
            said(header.find("tiem")),
            "error: f.csv, line 1: no column 'tiem'\nhint: did you mean 'time'?"
        );
        for name in ["", "x"] {
            assert_eq!(
                said(header.find(name)),
                format!(
                    "error: f.csv, line 1: no column '{name}'\n\
                     hint: the columns are 'time', 'dew, point'"
                )
            );
        }
    }

    #[test]
    fn a_name_is_one_column_s() {
        assert_eq!(
            said(header("a,b,a\n")),
            "error: f.csv, line 1, column 5: a second column 'a'\n\
             hint: give every column a name of its own"
        );
        assert!(said(header("\na,b\n")).starts_with("error: f.csv, line 1, column 1: an empty"));
    }
}
