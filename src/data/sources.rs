//! The sources that a user gives a model to predict from, one a line, read as they come.

use std::io::{self, BufRead, BufReader, Read};

use crate::base::input::quoted;
use crate::config::Config;
use crate::data::files::scaling::{Scale, scaled};
use crate::data::task::Task;
use crate::data::writing::Writing;

/// Bytes that an id or a number and what separates it from the next may take, and those that a line may have
/// besides.
const ID_BYTES: u64 = 32;
const LINE_BYTES: u64 = 1024;

/// So many tokens of a text are always read.
const TOKENS: i64 = 200;

/// Bytes after which the rest of a line that is too long counts as endless.
const ENDLESS: u64 = 1 << 26;

/// Bytes that are read at once, where so many are there.
const BUFFER: usize = 1 << 18;

/// What a model reads.
#[derive(Debug, Clone)]
pub struct Reads {
    task: Task,
    vocab: i64,
    n_in: i64,
    /// The ids of the shortest source.
    least: i64,
    /// The numbers of a time step of a source; `None`: it reads ids.
    features: Option<i64>,
}

/// A source that the model can read.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its ids; none of numbers.
    pub ids: Vec<i64>,
    /// Its numbers, time step by time step; none of ids.
    pub numbers: Vec<f64>,
    /// How it was written, and is to be answered.
    pub writing: Writing,
    /// Its tokens that the model does not know, and reads as one that stands for all of these.
    pub unknown: Vec<String>,
}

impl Reads {
    /// What a model of this configuration reads, whose task is `task`.
    pub fn new(config: &Config, task: Task) -> Self {
        let &Config { vocab, n_in, n_in_min, .. } = config;
        let features = config.features().map(|features| features.source);
        Self { task, vocab, n_in, least: n_in_min.unwrap_or(n_in), features }
    }

    /// What it is asked.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The source in `line`: ids or numbers separated by white space, or what the task reads besides.
    ///
    /// # Errors
    /// If it is no text, or the model reads other ids, more or fewer.
    pub fn parse(&self, line: &[u8]) -> Result<Source, String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("no UTF-8: {e}"))?;
        if let Some(features) = self.features {
            let (ids, numbers) = (Vec::new(), self.numbers(text, features)?);
            return Ok(Source { ids, numbers, writing: Writing::Ids, unknown: Vec::new() });
        }
        let numbers = Vec::new();
        if let Some(ids) = self.task.read(text) {
            let (ids, most) = (ids?, self.most());
            if ids.len() as i64 > most {
                return Err(format!("{} tokens: the model reads {most} at most", ids.len()));
            }
            let has_unknown = ids.iter().any(|id| Some(*id) == self.task.unknown());
            let unknown = if has_unknown { self.task.unknown_tokens(text) } else { Vec::new() };
            return Ok(Source { ids, numbers, writing: Writing::Own, unknown });
        }
        let ids = self.ids(text).map_err(|e| match self.task.question() {
            Some(question) => format!("{e}, or {question}"),
            None => e,
        });
        Ok(Source { ids: ids?, numbers, writing: Writing::Ids, unknown: Vec::new() })
    }

    /// The most tokens of a source. Texts may be longer than any that the model was trained on, as far
    /// as memory is reckoned with.
    fn most(&self) -> i64 {
        if self.task.is_text() { (4 * self.n_in).max(TOKENS) } else { self.n_in }
    }

    fn numbers(&self, text: &str, features: i64) -> Result<Vec<f64>, String> {
        let number = |word: &str| {
            let finite = word.parse::<f64>().ok().filter(|number| number.is_finite());
            finite.ok_or_else(|| format!("'{}' is no number", quoted(word)))
        };
        let numbers: Vec<f64> = text.split_whitespace().map(number).collect::<Result<_, _>>()?;
        if numbers.len() as i64 != self.n_in * features {
            return Err(format!("{} numbers: the model reads {self}", numbers.len()));
        }
        Ok(match self.task.scaling() {
            Some(scaling) => scaled(&numbers, &scaling.inputs, Scale::to_model),
            None => numbers,
        })
    }

    fn ids(&self, text: &str) -> Result<Vec<i64>, String> {
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
        let ids: Vec<i64> = text.split_whitespace().map(id).collect::<Result<_, _>>()?;
        if !(self.least..=self.n_in).contains(&(ids.len() as i64)) {
            return Err(format!("{} ids: the model reads {}", ids.len(), self.lengths()));
        }
        Ok(ids)
    }

    /// How many ids a source has.
    fn lengths(&self) -> String {
        match self.least == self.n_in {
            true => self.n_in.to_string(),
            false => format!("{} to {}", self.least, self.n_in),
        }
    }
}

impl std::fmt::Display for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, last) = (self.lengths(), self.vocab - 1);
        match self.task.is_text() {
            true if self.task.lengths_vary() => {
                return write!(f, "a text of at most {} tokens", self.most());
            }
            true => return write!(f, "a text of {n} tokens"),
            false => {}
        }
        match self.features {
            Some(1) => return write!(f, "{n} numbers"),
            Some(features) => return write!(f, "{n} time steps of {features} numbers each"),
            None => {}
        }
        if let Some(question) = self.task.question() {
            write!(f, "{question}, or ")?;
        }
        write!(f, "{n} ids from 0 to {last}")
    }
}

/// Sources one a line, from an input that may be slow or without end.
#[derive(Debug)]
pub struct Lines<R> {
    reads: Reads,
    input: BufReader<R>,
    line: Vec<u8>,
    /// Lines started so far.
    number: u64,
    /// Whether the rest of the last one, which is too long, is still to be skipped.
    cut: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `input`, for a model that reads `reads`.
    pub fn new(reads: Reads, input: R) -> Self {
        let input = BufReader::with_capacity(BUFFER, input);
        Self { reads, input, line: Vec::new(), number: 0, cut: false }
    }

    /// The next line, waited for, and those behind it that are there already, `most` in all. Each is a
    /// source, or says with its number what is wrong with it. None are left at the end of the input.
    ///
    /// # Errors
    /// If the input cannot be read, or a line has no end.
    pub fn batch(&mut self, most: usize) -> Result<Vec<Result<Source, String>>, String> {
        let mut batch = Vec::new();
        while batch.is_empty() || (batch.len() < most && self.is_there()) {
            let Some(source) = self.next().map_err(|e| self.at(e))? else { break };
            batch.push(source.map_err(|e| self.at(e)));
        }
        Ok(batch)
    }

    /// Whether the next line can be read without waiting for it.
    fn is_there(&self) -> bool {
        !self.cut && self.input.buffer().contains(&b'\n')
    }

    fn at(&self, error: impl std::fmt::Display) -> String {
        format!("line {}: {error}", self.number)
    }

    fn next(&mut self) -> io::Result<Option<Result<Source, String>>> {
        if self.cut && self.pass_over()? == ENDLESS {
            let endless = format!("no end within {ENDLESS} bytes: expected lines of text");
            return Err(io::Error::new(io::ErrorKind::InvalidData, endless));
        }
        self.number += 1;
        self.line.clear();
        let ids = self.reads.most() * self.reads.features.unwrap_or(1);
        let longest = ids as u64 * ID_BYTES + LINE_BYTES;
        let mut line = (&mut self.input).take(longest + 1);
        if line.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.cut = self.line.len() as u64 > longest && !self.line.ends_with(b"\n");
        Ok(Some(if self.cut {
            Err(format!("more than {longest} bytes: the model reads {}", self.reads))
        } else {
            self.reads.parse(&self.line)
        }))
    }

    /// Reads up to the next line, or [`ENDLESS`] bytes; returns how many.
    fn pass_over(&mut self) -> io::Result<u64> {
        let passed = (&mut self.input).take(ENDLESS).skip_until(b'\n')?;
        Ok(passed as u64)
    }
}
