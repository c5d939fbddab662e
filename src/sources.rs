//! The sources that a user gives a model to predict from: lines of ids.

use std::io::{BufRead, Read};

use crate::input::quoted;

/// The most ids of all sources together, 800 megabytes: all are read before the first is used.
const IDS: i64 = 100_000_000;

/// Bytes that an id and what separates it from the next may take, and those that a line may have
/// besides.
const ID_BYTES: u64 = 32;
const LINE_BYTES: u64 = 1024;

/// What a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// V: ids are below it.
    pub vocab: i64,
    /// Tin.
    pub n_in: i64,
}

impl Reads {
    /// The ids of a source in `line`, separated by white space.
    ///
    /// # Errors
    /// If it is no text, or there are others or more or fewer than the model reads.
    pub fn parse(self, line: &[u8]) -> Result<Vec<i64>, String> {
        let last = self.vocab - 1;
        let id = |word: &str| match word.parse::<i64>() {
            Err(_) => {
                let word = quoted(word);
                Err(format!("'{word}' is no id: expected whole numbers from 0 to {last}"))
            }
            Ok(id) if !(0..=last).contains(&id) => {
                Err(format!("id {id} is outside the vocabulary, 0 to {last}"))
            }
            Ok(id) => Ok(id),
        };
        let text = std::str::from_utf8(line).map_err(|e| format!("no UTF-8: {e}"))?;
        let ids: Vec<i64> = text.split_whitespace().map(id).collect::<Result<_, _>>()?;
        if ids.len() as i64 != self.n_in {
            return Err(format!("{} ids: the model reads {}", ids.len(), self.n_in));
        }
        Ok(ids)
    }

    /// The sources of `input`, one a line.
    ///
    /// # Errors
    /// Those of reading and of [`Reads::parse`], and a line or an input that is too long; the line
    /// is named.
    pub fn lines(self, input: &mut dyn BufRead) -> Result<Vec<Vec<i64>>, String> {
        let longest = self.n_in as u64 * ID_BYTES + LINE_BYTES;
        // What holds a source takes as much as a few ids.
        let most = IDS / (self.n_in + 7);
        let mut sources = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut *input).take(longest + 1).read_until(b'\n', &mut line);
            let number = sources.len() as i64 + 1;
            let at = |e: String| format!("line {number}: {e}");
            if read.map_err(|e| at(e.to_string()))? == 0 {
                return Ok(sources);
            }
            if line.len() as u64 > longest {
                return Err(at(format!("more than {longest} bytes: the model reads {self}")));
            }
            if number > most {
                return Err(at(format!("too many: expected at most {most} sources at a time")));
            }
            sources.push(self.parse(&line).map_err(at)?);
        }
    }
}

impl std::fmt::Display for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, last) = (self.n_in, self.vocab - 1);
        write!(f, "{n} ids from 0 to {last}")
    }
}
