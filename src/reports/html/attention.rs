//! What an attention looked at, as `seqlab inspect` wrote it into a directory of the run.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::example::shortened;
use crate::run::run_dir::RunDir;

/// The file of `seqlab inspect` with the weights.
const WEIGHTS: &str = "attention.weights.csv";
/// Rows of it that are read at most.
const ROWS: usize = 40_000;
/// Sources that are shown of a run.
const MAPS: usize = 4;
/// Steps of a source, and of a target, that are shown.
const STEPS: [usize; 2] = [60, 40];
/// What is too little to be seen.
const FAINT: f64 = 0.005;

/// The side of a weight's square, in pixels.
const SIDE: usize = 20;
/// About the width of a character.
const CHARACTER: usize = 8;

/// A row of [`WEIGHTS`].
#[derive(Debug, Deserialize)]
struct WeightRow {
    source: usize,
    target_step: usize,
    source_step: usize,
    target_token: String,
    source_token: String,
    weight: f64,
}

/// The weights of one source's attention.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Map {
    /// Where it is from.
    pub title: String,
    /// The source's tokens, by step.
    pub sources: BTreeMap<usize, String>,
    /// The tokens of the answer, by step.
    pub targets: BTreeMap<usize, String>,
    /// Weights that can be seen.
    pub weights: Vec<Weight>,
    /// Whether there are more steps.
    pub cut: bool,
}

/// How much of a step of the source is in the context of a step of the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight {
    source: usize,
    target: usize,
    /// From 0 to 1.
    weight: f64,
}

/// The maps in the directories of `run`.
///
/// # Errors
/// If a file of them cannot be read.
pub(super) fn read(run: &RunDir) -> Result<Vec<Map>> {
    let mut maps = Vec::new();
    for folder in run.folders()? {
        let rows: Vec<WeightRow> = run.first_rows(&run.path().join(&folder).join(WEIGHTS), ROWS)?;
        let mut found: BTreeMap<usize, Map> = BTreeMap::new();
        for row in rows.into_iter().filter(|row| row.source < MAPS) {
            found.entry(row.source).or_default().add(row);
        }
        let folder = shortened(&folder.to_string_lossy());
        maps.extend(found.into_iter().map(|(source, map)| {
            let title = format!("{folder}, source {source}");
            Map { title, ..map }
        }));
    }
    maps.truncate(MAPS);
    Ok(maps)
}

impl Map {
    fn add(&mut self, row: WeightRow) {
        let WeightRow { target_step: target, source_step: source, weight, .. } = row;
        if source >= STEPS[0] || target >= STEPS[1] {
            self.cut = true;
            return;
        }
        self.sources.entry(source).or_insert_with(|| shortened(&row.source_token));
        self.targets.entry(target).or_insert_with(|| shortened(&row.target_token));
        if weight >= FAINT {
            self.weights.push(Weight { source, target, weight: weight.min(1.0) });
        }
    }

    /// The room that the longest of `tokens` takes, in pixels.
    fn room(tokens: &BTreeMap<usize, String>) -> usize {
        let longest = tokens.values().map(|token| token.chars().count()).max();
        CHARACTER * longest.unwrap_or(0) + 2 * CHARACTER
    }

    /// The room left of the squares, in pixels.
    pub(super) fn left(&self) -> usize {
        Self::room(&self.targets)
    }

    /// The room above them.
    pub(super) fn top(&self) -> usize {
        Self::room(&self.sources)
    }

    /// Its whole width.
    pub(super) fn width(&self) -> usize {
        self.left() + SIDE * self.sources.len()
    }

    /// Its whole height.
    pub(super) fn height(&self) -> usize {
        self.top() + SIDE * self.targets.len()
    }

    /// Where the square of step `step` begins, behind `from`.
    pub(super) fn place(step: &usize, from: usize) -> usize {
        from + SIDE * step
    }
}

impl Weight {
    /// Its square in `map`: left, top, and how dark it is.
    pub(super) fn square(&self, map: &Map) -> (usize, usize, String) {
        let (x, y) = (map.left() + SIDE * self.source, map.top() + SIDE * self.target);
        (x, y, format!("{:.2}", self.weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_the_first_steps_and_what_can_be_seen() {
        let mut map = Map::default();
        for (target_step, source_step, weight) in [(0, 0, 0.75), (0, 1, 0.004), (0, 60, 0.2)] {
            map.add(WeightRow {
                source: 0,
                target_step,
                source_step,
                target_token: "t".to_owned(),
                source_token: "s".to_owned(),
                weight,
            });
        }
        assert_eq!((map.sources.len(), map.targets.len(), map.cut), (2, 1, true));
        assert_eq!(map.weights, [Weight { source: 0, target: 0, weight: 0.75 }]);
        assert_eq!(map.weights[0].square(&map), (24, 24, "0.75".to_owned()));
    }
}
