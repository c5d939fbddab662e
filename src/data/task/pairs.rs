//! Pairs: say the target of a source as the lines of a file have them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::LEAVE_OUT;
use super::checks::{check_shares, check_vocabulary};
use super::epoch::Draw;
use super::kind::{Kind, Record};
use super::records::{PARTS, RECORDS, data_record, recorded_vocabulary};
use crate::base::error::UserError;
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Family, Invalid};
use crate::data::files::buckets;
use crate::data::files::corpus::{Corpus, Languages, shares};
use crate::data::files::vocabulary::{END, UNKNOWN};
use crate::data::writing::line;

/// The files of a run's directory that hold what it knows of its data.
const DATA: &str = RECORDS[0].0;
const SOURCE_VOCABULARY: &str = RECORDS[1].0;
const TARGET_VOCABULARY: &str = RECORDS[2].0;

/// Pairs of texts. A target ends with the id [`END`], unless the model says one token whatever the
/// source is.
#[derive(Debug)]
pub(super) struct Pairs {
    /// `None`: only sizes are known.
    corpus: Option<Arc<Corpus>>,
    /// Pairs that are trained on.
    samples: usize,
    batch_size: usize,
    /// Pairs that are validated on and evaluated on.
    held_out: [usize; 2],
    ends: bool,
    /// The target that most pairs to train on have, once somebody asked.
    most_frequent: OnceLock<Option<Vec<i64>>>,
}

impl Kind for Pairs {
    fn check(config: &Config) -> Result<(), Invalid> {
        Self::check_files(config)?;
        check_vocabulary(config)?;
        if config.family == Family::Lstm && config.n_out != 1 {
            let why = ": family lstm says one token, and targets have more";
            let others = "repeat_vector or teacher_forced";
            return Err(Invalid::new("family", config.family, others).because(why));
        }
        Ok(())
    }

    fn check_files(config: &Config) -> Result<(), Invalid> {
        let both = [
            ("validation_fraction", config.validation_fraction, &config.validation, "--validation"),
            ("test_fraction", config.test_fraction, &config.test, "--test"),
        ];
        for (field, fraction, file, flag) in both {
            if let (Some(fraction), Some(_)) = (fraction, file) {
                let why = format!(": the pairs are those of {flag}");
                return Err(Invalid::new(field, fraction, "nothing").because(why));
            }
        }
        if config.validation_fraction == Some(0.0) {
            let why = ": some pairs have to be validated on; or those of a file --validation";
            return Err(Invalid::new("validation_fraction", 0.0, "a number above 0").because(why));
        }
        check_shares(shares(config))
    }

    fn idle(config: &Config) -> Option<Invalid> {
        let seed = config.split_seed.filter(|_| shares(config) == [0.0, 0.0])?;
        let why = ": no pair of --train is held out with --validation and no --test-fraction";
        Some(Invalid::new("split_seed", seed, "nothing").because(why))
    }

    fn new(config: &Config) -> Self {
        let &Config { samples, batch_size, validation_samples, evaluation_samples, .. } = config;
        Self {
            corpus: None,
            samples: samples.unwrap_or(0) as usize,
            batch_size: batch_size as usize,
            held_out: [validation_samples, evaluation_samples].map(|n| n as usize),
            ends: config.family != Family::Lstm,
            most_frequent: OnceLock::new(),
        }
    }

    fn load(config: &Config) -> Result<Self, UserError> {
        let corpus = Corpus::read(config)?;
        check_corpus(config, &corpus)
            .map_err(|invalid| UserError::usage(invalid).hint(LEAVE_OUT))?;
        Ok(Self::new(config).with(corpus))
    }

    fn recorded(
        config: &Config,
        record: &Record<'_>,
        test: Option<&Path>,
    ) -> Result<Self, UserError> {
        let vocabulary = |name, size| recorded_vocabulary(record, name, size);
        let source = vocabulary(SOURCE_VOCABULARY, config.vocab_of_sources())?;
        let target = vocabulary(TARGET_VOCABULARY, config.vocab)?;
        let languages = Languages::known(config, source, target);
        let corpus = Corpus::of_test(config, languages, test)?;
        let known = Self::new(config);
        let held_out = match test {
            Some(_) => [0, corpus.part(Purpose::Evaluation).len()],
            None => known.held_out,
        };
        Ok(Self { held_out, ..known.with(corpus) })
    }

    fn record(&self) -> Vec<(&'static str, String)> {
        let Some(corpus) = &self.corpus else { return Vec::new() };
        let Languages { source, target } = &corpus.languages;
        let of = |purpose| corpus.part(purpose).len();
        let data = data_record(&corpus.files, PARTS.map(of));
        vec![
            (SOURCE_VOCABULARY, source.vocabulary.to_text()),
            (TARGET_VOCABULARY, target.vocabulary.to_text()),
            (DATA, data),
        ]
    }

    fn about(&self) -> Vec<String> {
        let Some(corpus) = &self.corpus else { return Vec::new() };
        let [training, validation, evaluation] = PARTS.map(|purpose| corpus.part(purpose).len());
        let skipped: u64 = corpus.files.iter().map(|file| file.skipped).sum();
        let skipped =
            if skipped > 0 { format!("; {skipped} lines left out") } else { String::new() };
        let about = format!(
            "{training} pairs to train on, {validation} to validate on, {evaluation} to evaluate \
             on{skipped}"
        );
        std::iter::once(about).chain(corpus.warnings()).collect()
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    fn held_out(&self, purpose: Purpose) -> Option<usize> {
        let [validation, evaluation] = self.held_out;
        Some(if purpose == Purpose::Validation { validation } else { evaluation })
    }

    fn longest(&self, purpose: Purpose) -> [usize; 2] {
        let Some(corpus) = &self.corpus else { return [0, 0] };
        let [source, target] = corpus.part(purpose).longest();
        [source, target + usize::from(self.ends)]
    }

    fn lengths_vary(&self) -> bool {
        true
    }

    fn is_text(&self) -> bool {
        true
    }

    fn unknown(&self) -> Option<i64> {
        Some(UNKNOWN)
    }

    fn most_frequent_target(&self, _: u64) -> Option<Vec<i64>> {
        let find = || {
            let part = self.corpus.as_deref()?.part(Purpose::Training);
            part.most_frequent_target()
        };
        self.most_frequent.get_or_init(find).clone()
    }

    fn texts(&self, purpose: Purpose, index: usize) -> Option<[String; 2]> {
        let corpus = self.corpus.as_deref()?;
        corpus.part(purpose).texts(index, &corpus.languages)
    }

    fn fixes(&self, field: &str) -> bool {
        ["vocab", "n_in"].contains(&field)
    }

    /// The order of the epoch's pairs, a number of half the size each.
    fn ids_of_an_epoch(&self) -> usize {
        self.samples / 2
    }

    fn end(&self) -> Option<i64> {
        self.ends.then_some(END)
    }

    /// Training pairs in an order that (seed, epoch) determines, in which batches gather sources of
    /// similar length; others in the order of their file.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let part = self.corpus.as_deref().map(|corpus| corpus.part(purpose));
        let order = part.filter(|_| purpose == Purpose::Training).map(|part| {
            let length = |pair: u32| part.lengths(pair as usize);
            let generator = &mut Stream::new(seed, purpose).at(epoch);
            buckets::order(part.len(), self.batch_size, length, generator)
        });
        Draw::Ids(Box::new(move |index, source, target| {
            let Some(part) = part else { return [1, 1] };
            let pair = order.as_ref().map_or(index, |order| order[index] as usize);
            let ends = self.ends.then_some(END);
            let write = |place: &mut [i64], ids: &mut dyn Iterator<Item = i64>| {
                let written = place.iter_mut().zip(ids).map(|(place, id)| *place = id);
                written.count()
            };
            [
                write(source, &mut part.source(pair)),
                write(target, &mut part.target(pair).chain(ends)),
            ]
        }))
    }

    fn question(&self) -> Option<&'static str> {
        Some("a text")
    }

    fn read(&self, text: &str) -> Option<Result<Vec<i64>, String>> {
        let corpus = self.corpus.as_deref()?;
        let read = corpus.languages.source.ids(line(text));
        Some(read.and_then(|(ids, _)| match ids.is_empty() {
            true => Err("an empty source".to_owned()),
            false => Ok(ids),
        }))
    }

    fn unknown_tokens(&self, text: &str) -> Vec<String> {
        let read = self.corpus.as_deref().map(|corpus| corpus.languages.source.ids(line(text)));
        let (_, unknown) = read.and_then(Result::ok).unwrap_or_default();
        unknown
    }

    fn source(&self, ids: &[i64]) -> String {
        self.corpus.as_deref().map_or_else(String::new, |corpus| corpus.languages.source.text(ids))
    }

    fn target(&self, ids: &[i64]) -> String {
        self.corpus.as_deref().map_or_else(String::new, |corpus| corpus.languages.target.text(ids))
    }
}

impl Pairs {
    fn with(self, corpus: Corpus) -> Self {
        Self { corpus: Some(Arc::new(corpus)), ..self }
    }
}

/// The pairs are what `config` says of them.
///
/// # Errors
/// The first value that is not so.
pub fn check_corpus(config: &Config, corpus: &Corpus) -> Result<(), Invalid> {
    let sizes = Sizes::of(corpus, config.family != Family::Lstm);
    let train = config.train.as_deref().unwrap_or_default();
    for (field, found, expected) in [
        ("samples", config.samples.unwrap_or(0), sizes.samples),
        ("vocab", config.vocab, sizes.vocab),
        ("source_vocab", config.vocab_of_sources(), sizes.source_vocab),
    ] {
        if found != expected {
            let why = format!(", as {train} has");
            return Err(Invalid::new(field, found, expected.to_string()).because(why));
        }
    }
    for (field, found, least) in
        [("n_in", config.n_in, sizes.n_in), ("n_out", config.n_out, sizes.n_out)]
    {
        if found < least {
            let why = format!(", the tokens of the longest in {train}");
            return Err(Invalid::new(field, found, format!("{least} or more")).because(why));
        }
    }
    for (field, found, most, verb) in [
        ("validation_samples", config.validation_samples, sizes.validation, "validate"),
        ("evaluation_samples", config.evaluation_samples, sizes.evaluation, "evaluate"),
    ] {
        if found > most {
            let why = format!(", the pairs to {verb} on");
            return Err(Invalid::new(field, found, format!("1 to {most}")).because(why));
        }
    }
    Ok(())
}

/// What a corpus makes some fields be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Pairs that are trained on.
    pub samples: i64,
    /// Ids of targets.
    pub vocab: i64,
    /// Ids of sources.
    pub source_vocab: i64,
    /// Tokens of the longest source that is trained on.
    pub n_in: i64,
    /// Those of the longest target, with its end if targets end.
    pub n_out: i64,
    /// Pairs that are validated on.
    pub validation: i64,
    /// Pairs that are evaluated on.
    pub evaluation: i64,
}

impl Sizes {
    /// Those of `corpus`, whose targets have an end if they are `ended`.
    pub fn of(corpus: &Corpus, ended: bool) -> Self {
        let Languages { source, target } = &corpus.languages;
        let training = corpus.part(Purpose::Training);
        let [n_in, n_out] = training.longest();
        let of = |purpose| corpus.part(purpose).len() as i64;
        Self {
            samples: training.len() as i64,
            vocab: target.vocabulary.len() as i64,
            source_vocab: source.vocabulary.len() as i64,
            n_in: n_in as i64,
            n_out: n_out as i64 + i64::from(ended),
            validation: of(Purpose::Validation),
            evaluation: of(Purpose::Evaluation),
        }
    }
}
