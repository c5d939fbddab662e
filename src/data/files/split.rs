//! Which pairs of a file are held out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::seq::SliceRandom;

use crate::base::rng::{Purpose, Stream};
use crate::data::files::pairs::Pairs;
use crate::data::files::side::Side;

/// The rows of a file that are trained on, validated on and evaluated on, each in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Those trained on.
    pub training: Vec<u32>,
    /// Those validated on.
    pub validation: Vec<u32>,
    /// Those evaluated on.
    pub test: Vec<u32>,
}

impl Split {
    /// All `rows` rows trained on.
    pub fn none(rows: usize) -> Self {
        Self { training: (0..rows as u32).collect(), validation: Vec::new(), test: Vec::new() }
    }

    /// At least the share `validation` and the share `test` of `pairs` held out, as `seed`
    /// determines. All pairs of a source are in the same part: a model that has seen one of them in
    /// training knows the source.
    pub fn drawn(pairs: &Pairs, validation: f64, test: f64, seed: u64) -> Self {
        let rows = pairs.source.len();
        let mut sources = by_source(&pairs.source);
        sources.shuffle(&mut Stream::new(seed, Purpose::Examples).at(0));
        let mut sources = sources.into_iter();
        let mut take = |share: f64| {
            let least = (share * rows as f64).round() as usize;
            let mut part = Vec::new();
            while part.len() < least {
                let Some(source) = sources.next() else { break };
                part.extend(source);
            }
            part.sort_unstable();
            part
        };
        let (test, validation) = (take(test), take(validation));
        let mut training: Vec<u32> = sources.flatten().collect();
        training.sort_unstable();
        Self { training, validation, test }
    }
}

/// The rows of every source, in the order in which the sources first appear.
fn by_source(sources: &Side) -> Vec<Vec<u32>> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut all: Vec<Vec<u32>> = Vec::new();
    for row in 0..sources.len() {
        // Two sources of one hash are held out together, which does no harm.
        let mut hasher = DefaultHasher::new();
        sources.row(row).for_each(|token| token.hash(&mut hasher));
        let place = *places.entry(hasher.finish()).or_insert(all.len());
        match all.get_mut(place) {
            Some(rows) => rows.push(row as u32),
            None => all.push(vec![row as u32]),
        }
    }
    all
}
